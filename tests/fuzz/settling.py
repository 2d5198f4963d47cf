"""What is known before a step, computed once more: flags as truths, and the numbers of a step in float64.

Written from the documents of the language: a flag is a constant; what is chosen by constants is chosen before anything
is computed; numbers of a step are NumPy's float64 and are rounded once, where a loop first uses them.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from . import functions
from .trees import COMPARISONS, CONST, LIBRARY, REDUCTIONS, Node, Rates

Scalar = Any
"""A float64 of NumPy's, or a truth."""


def _minimum(x: Scalar, y: Scalar) -> Scalar:
    return x if x <= y or x != x else y


def _maximum(x: Scalar, y: Scalar) -> Scalar:
    return x if x >= y or x != x else y


MEANINGS: dict[str, Callable[..., Scalar]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "mod": np.mod,
    "neg": operator.neg,
    "sqrt": np.sqrt,
    "square": lambda x: x * x,
    "abs": abs,
    "sign": lambda x: np.float64(1.0) if x > 0 else np.float64(-1.0) if x < 0 else x,
    **{name: functools.partial(functions.of, name) for name in LIBRARY},
    "minimum": _minimum,
    "maximum": _maximum,
    "clip": lambda x, low, high: _minimum(_maximum(x, low), high),
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "not": operator.not_,
    "where": lambda c, a, b: a if c else b,
    **{name: getattr(operator, name) for name in COMPARISONS},
}


class Step:
    """Numbers of a step by node; everything below the node must be known before the step."""

    def __init__(self, numbers: Mapping[str, float], dtype: str) -> None:
        self.numbers, self.dtype = numbers, np.dtype(dtype).type
        self._known: dict[int, tuple[Node, Scalar]] = {}
        self._rates = Rates()

    def value(self, node: Node) -> Scalar:
        """The value of a number or condition."""
        if id(node) not in self._known:
            self._known[id(node)] = node, self._computed(node)
        return self._known[id(node)][1]

    def _computed(self, node: Node) -> Scalar:
        if node.op == "const":
            return np.float64(node.value)
        if node.op == "truth":
            return bool(node.value)
        if node.op == "step":
            return np.float64(self.numbers[node.name])
        values = [self.value(arg) for arg in node.args]
        with np.errstate(all="ignore"):
            if node.op == "rounded":
                return np.float64(self.dtype(values[0]))
            if node.op == "pow":
                return np.float64(functions.of("pow", *values, constant=self._rates.of(node.args[1]) is CONST))
            result = MEANINGS[node.op](*values)
        return bool(result) if isinstance(result, bool | np.bool_) else np.float64(result)


TRUTHS = {True: Node("truth", value=1.0), False: Node("truth", value=0.0)}


class Settling:
    """Trees in which flags are truths, new values are what is stored, and nothing is left to be chosen by constants."""

    def __init__(self, stores: Mapping[str, Node], on: Collection[str]) -> None:
        self.stores, self.on = stores, on
        self._rates, self._constants = Rates(), Step({}, "float64")
        self._known: dict[int, tuple[Node, Node]] = {}

    def settled(self, node: Node) -> Node:
        """A node as it is for these flags."""
        if id(node) not in self._known:
            self._known[id(node)] = node, self._changed(node)
        return self._known[id(node)][1]

    def _changed(self, node: Node) -> Node:
        if node.op == "flag":
            return TRUTHS[node.name in self.on]
        if node.op == "new":
            stored = self.stores.get(node.name)
            return Node("slot", name=node.name) if stored is None else self.settled(stored)
        if not node.args:
            return node
        args = tuple(map(self.settled, node.args))
        truths = [self._truth(arg) for arg in args]
        if node.op == "where" and truths[0] is not None:
            return args[1] if truths[0] else args[2]
        for absorbing, op in ((False, "and"), (True, "or")):
            if node.op == op and absorbing in truths:
                return TRUTHS[absorbing]
            if node.op == op and (not absorbing) in truths:
                return args[1] if truths[0] is (not absorbing) else args[0]
        return replace(node, args=args, origin=node if node.op in REDUCTIONS else None)

    def _truth(self, node: Node) -> bool | None:
        """What a condition of constants alone is; None for anything else."""
        if self._rates.of(node) is not CONST:
            return None
        value = self._constants.value(node)
        return value if isinstance(value, bool) else None
