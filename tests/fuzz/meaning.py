"""What a random rule computes, in NumPy alone: for each array that it stores, what may come out.

Elements are computed in the parameter's type, from numbers that are rounded to it once; what is the same for a tensor
is computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import functions, ranges
from .ranges import Machine, Range, Truth, exact
from .reducing import reduced
from .settling import Settling, Step
from .trees import COMPARISONS, CONST, ELEMENT, LIBRARY, REDUCTIONS, STEP, Node, Rates, Spec, is_condition

Array = npt.NDArray[Any]
Tensor = Mapping[str, Array]

ARITHMETIC: dict[str, Callable[..., Range]] = {
    "add": ranges.add,
    "sub": ranges.subtract,
    "mul": ranges.multiply,
    "div": ranges.divide,
    "neg": ranges.negative,
    "abs": ranges.absolute,
    "square": ranges.square,
    "sqrt": ranges.sqrt,
    "sign": ranges.sign,
    "minimum": ranges.minimum,
    "maximum": ranges.maximum,
    "clip": lambda x, low, high: ranges.minimum(ranges.maximum(x, low), high),
}


class Meaning:
    """One step of a rule on some tensors, before it is made."""

    def __init__(self, spec: Spec, tensors: Sequence[Tensor], machine: Machine) -> None:
        self.spec, self.tensors, self.machine = spec, tensors, machine
        settlings = {kind.on: Settling(spec.stores, kind.on) for kind in spec.kinds}
        steps = {kind.dtype: Step(spec.steps, kind.dtype) for kind in spec.kinds}
        self.settlings = [settlings[kind.on] for kind in spec.kinds]
        self.steps = [steps[kind.dtype] for kind in spec.kinds]
        self.rates = Rates()
        self._known: dict[tuple[int, int], tuple[Node, Any]] = {}

    def stored(self, target: str, tensor: int) -> Range:
        """What may be in an array after the step."""
        value = self.settlings[tensor].settled(self.spec.stores[target])
        with np.errstate(all="ignore"):
            found = self._element(value, tensor)
        shape = self.tensors[tensor]["parameter"].shape
        return Range(*(np.broadcast_to(part, shape) for part in found))

    def _element(self, node: Node, tensor: int) -> Range:
        """A number as the loop sees it."""
        value: Range = self._value(node, tensor)
        return value if self.rates.of(node) == ELEMENT else self._flushed(value.cast(self.spec.kinds[tensor].dtype))

    def _flushed(self, x: Range) -> Range:
        return ranges.flushed(x) if self.machine.flushes else x

    def _value(self, node: Node, tensor: int) -> Any:
        """A number or a condition, in the type that it is computed in."""
        key = id(node), tensor
        if key not in self._known:
            self._known[key] = node, self._computed(node, tensor)
        return self._known[key][1]

    def _computed(self, node: Node, tensor: int) -> Any:
        rate = self.rates.of(node)
        if rate <= STEP:
            known = self.steps[tensor].value(node)
            return Truth(np.asarray(known), np.asarray(known)) if isinstance(known, bool) else exact(known)
        if not node.args:
            return self._leaf(node, tensor)
        if node.op in REDUCTIONS:
            return reduced(node.op, [self._whole(arg, i) for i, arg in self._places(node, tensor)], self.machine)
        read = self._element if rate == ELEMENT else self._value
        values = [self._value(a, tensor) if is_condition(a) else read(a, tensor) for a in node.args]
        return self._operation(node, values)

    def _places(self, node: Node, tensor: int) -> list[tuple[int, Node]]:
        """The tensors that a reduction goes over, and what each gives to it, whatever its flags."""
        if node.name == "tensor" or node.origin is None:
            return [(tensor, node.args[0])]
        return [(i, own.settled(node.origin).args[0]) for i, own in enumerate(self.settlings)]

    def _whole(self, node: Node, tensor: int) -> Range:
        """A number for every element, also where it is the same for all."""
        shape = self.tensors[tensor]["parameter"].shape
        return Range(*(np.broadcast_to(part, shape) for part in self._element(node, tensor)))

    def _leaf(self, node: Node, tensor: int) -> Range:
        if node.op == "own":
            return exact(np.float64(self.spec.owns[node.name][tensor]))
        array = self.tensors[tensor][node.name if node.op == "slot" else node.op]
        return self._flushed(exact(array.astype(self.spec.kinds[tensor].dtype)))

    def _operation(self, node: Node, values: Sequence[Any]) -> Any:
        if node.op in COMPARISONS:
            return ranges.compared(node.op, *values)
        if node.op == "and":
            return Truth(values[0].sure & values[1].sure, values[0].possible & values[1].possible)
        if node.op == "or":
            return Truth(values[0].sure | values[1].sure, values[0].possible | values[1].possible)
        if node.op == "not":
            return ranges.negated(values[0])
        if node.op == "where":
            return self._chosen(*values)
        if node.op in LIBRARY or node.op == "pow":
            return self._flushed(self._library(node, *values))
        found = ARITHMETIC[node.op](*values)
        if self.machine.contracts and node.op in ("mul", "square"):
            found = ranges.loosened(found, 1)
        return self._flushed(found)

    def _chosen(self, c: Truth, a: Any, b: Any) -> Any:
        if isinstance(a, Range):
            return ranges.hull(c, a, b)
        sure = np.where(c.sure, a.sure, np.where(c.possible, a.sure & b.sure, b.sure))
        possible = np.where(c.sure, a.possible, np.where(c.possible, a.possible | b.possible, b.possible))
        return Truth(sure, possible)

    def _library(self, node: Node, x: Range, y: Range | None = None) -> Range:
        """A function: one number for one operand, but where the machine contracts what it is made of."""
        op, known = node.op, {"constant": self.rates.of(node.args[1]) == CONST} if y is not None else {}
        if y is None:
            found = ranges.monotone(lambda a: functions.of(op, a), x)
            special = ~np.isfinite(x.lo) | (x.lo == 0) | ~np.isfinite(found.lo)
            points = x.is_point
        else:
            negative = ~(x.is_point & y.is_point) & ~(x.lo > 0)
            found = ranges.corners(lambda a, b: functions.of(op, a, b, **known), x, y, negative, nan_spreads=False)
            found = found._replace(wild=found.wild | negative)
            points = x.is_point & y.is_point
            special = ~np.isfinite(x.lo) | ~np.isfinite(y.lo) | (x.lo == 0) | (y.lo == 0) | np.isnan(found.lo)
        loose = self._within(op, ranges.loosened(found, self.machine.ulps))
        keep = points & special if self.machine.contracts else points
        return Range(np.where(keep, found.lo, loose.lo), np.where(keep, found.hi, loose.hi), loose.wild)

    def _within(self, op: str, x: Range) -> Range:
        """A loosened result within what the function can give."""
        zero, one = np.zeros_like(x.lo), np.ones_like(x.lo)
        if op == "exp":
            return x._replace(lo=np.maximum(x.lo, zero))
        if op == "tanh":
            return x._replace(lo=np.maximum(x.lo, -one), hi=np.minimum(x.hi, one))
        return x
