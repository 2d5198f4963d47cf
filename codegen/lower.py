"""lower(): a rule and a set of flags become a Program.

settle    flags become constants, options fold away                          (simplify.py)
prune     what cannot reach the parameter or a result is dropped: slots by liveness
split     each depth of reductions is a kernel of its own, in front of the last one
hoist     what is the same for a whole step leaves the loop for the host
number    expressions become named single assignments, in evaluation order
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from .expr import Call, Const, Expr, Fn, Kind, Rate, Reduction, Scope, Select, Symbol, walk
from .kernel import Arg, Given, Kernel, Let, Load, Program, Reduce, Scalar, Store
from .printer import FRAME_NAMES
from .rule import PARAMETER, Rule, Slot
from .simplify import settle

Stores = dict[Symbol, Expr]

GENERATED = re.compile(r"([a-z]\d+)|(h_|lanes_|at_|fold_|ptr_|wide_|new_).*|.*_(new|\d+)")
"""The shape of names that numbering and the frames make up."""


def lower(rule: Rule, flags: Collection[str], dtype: str) -> Program:
    """The program of `rule` with exactly the flags in `flags` on, for arrays of `dtype`."""
    stores = prune(rule, settled(rule, flags))
    stages = split(stores)
    writer = _Writer()
    suffix = "".join(f"+{flag}" for flag in rule.flags if flag in flags)
    kernels = tuple(
        writer.kernel(f"{rule.name}.{depth}", stages[depth], stores if depth == len(stages) - 1 else {})
        for depth in range(len(stages))
    )
    scalars = tuple(writer.scalars.values())
    for kernel in kernels:
        kernel.check(scalars)
    return Program(rule.name + suffix, dtype, scalars, kernels, live_slots(rule, stores))


def settled(rule: Rule, flags: Collection[str]) -> Stores:
    """The rule's stores for one set of flags; a slot or parameter stored unchanged is no store."""
    values = {target: settle(value, flags) for target, value in rule.stores.items() if isinstance(target, Symbol)}
    return {target: value for target, value in values.items() if value is not target}


def prune(rule: Rule, stores: Stores) -> Stores:
    """Only the stores whose value can reach the parameter or a result slot, now or at a later step."""
    live = {target for target in stores if target is PARAMETER or rule.slots[target.name].result}
    while True:
        read = {leaf for target in live for leaf in walk(stores[target]) if isinstance(leaf, Symbol)}
        grown = live | (read & stores.keys())
        if grown == live:
            return {target: value for target, value in stores.items() if target in live}
        live = grown


def live_slots(rule: Rule, stores: Stores) -> dict[str, Slot]:
    """The slots that exist: read or stored by what is left after pruning, in the rule's order."""
    symbols = {leaf for value in stores.values() for leaf in walk(value) if isinstance(leaf, Symbol)} | stores.keys()
    names = {symbol.name for symbol in symbols if symbol.kind is Kind.SLOT}
    return {name: slot for name, slot in rule.slots.items() if name in names}


def split(stores: Mapping[Symbol, Expr]) -> list[list[Reduction]]:
    """The reductions of each kernel; the last kernel, which stores, has none."""
    depths: dict[Expr, int] = {}
    stages: list[list[Reduction]] = []
    for node in walk(*stores.values()):
        depth = max((depths[child] for child in node.children), default=0)
        if isinstance(node, Reduction):
            while len(stages) <= depth:
                stages.append([])
            stages[depth].append(node)
            depth += 1
        depths[node] = depth
    return [*stages, []]


def on_host(e: Expr) -> bool:
    """Whether the host can compute `e` before the step: it is the same everywhere and needs no reduction."""
    return e.rate <= Rate.STEP and not any(isinstance(node, Reduction) for node in walk(e))


def _free(name: str) -> str:
    """An array's name as a variable of the generated code, out of the way of the code's own names."""
    taken = name in FRAME_NAMES or name.endswith("_") or GENERATED.fullmatch(name)
    return f"{name}_" if taken else name


class _Writer:
    """Numbers expressions. All kernels of a program share names, so that the next can read a reduction."""

    def __init__(self) -> None:
        self.scalars: dict[Expr, Scalar] = {}
        self.results: dict[Expr, str] = {}

    def kernel(self, name: str, reductions: list[Reduction], stores: Mapping[Symbol, Expr]) -> Kernel:
        """The kernel that computes these reductions and stores."""
        self.givens: dict[Expr, Given] = {}
        self.head: dict[Expr, Let] = {}
        self.loads: dict[Expr, Load] = {}
        self.body: dict[Expr, Let] = {}
        self.wanted = {value: f"{_free(target.name)}_new" for target, value in stores.items()}
        for reduction in reductions:
            self.results[reduction] = f"r{len(self.results)}"
        roots = [*(reduction.arg for reduction in reductions), *stores.values()]
        for node in walk(*roots, into=lambda e: e.rate is Rate.ELEMENT):  # operands first: no deep recursion
            if node.rate is Rate.ELEMENT:
                self.element(node)
        reduces = tuple(Reduce(self.results[r], r.op, self.element(r.arg), r.scope) for r in reductions)
        written = tuple(Store(target.name, self.element(value)) for target, value in stores.items())
        lists = (self.givens, self.head, self.loads, self.body)
        givens, head, loads, body = (tuple(entries.values()) for entries in lists)
        return Kernel(name, givens, head, loads, body, written, reduces)  # type: ignore[arg-type]

    def element(self, e: Expr) -> Arg:
        """The name (or constant) of `e` as the loop sees it."""
        if isinstance(e, Const):
            return float(e.value)
        if e.rate < Rate.ELEMENT:
            return self._condition(e, self.body) if e.is_condition else self.uniform(e)
        if isinstance(e, Symbol):
            return self.loads.setdefault(e, Load(_free(e.name), e.name)).name
        if e not in self.body:
            fn, args = operation(e)
            names = tuple(map(self.element, args))
            self.body[e] = Let(self.wanted.get(e) or f"t{len(self.body)}", fn, names)
        return self.body[e].name

    def uniform(self, e: Expr) -> Arg:
        """The name of `e`, a number that is computed outside the loop."""
        if isinstance(e, Const):
            return float(e.value)
        if on_host(e):
            return self._scalar(e)
        if isinstance(e, Reduction):
            return self.givens.setdefault(e, Given(self.results[e], e.scope)).name
        if isinstance(e, Symbol):
            return self.givens.setdefault(e, Given(f"h_{e.name}", Scope.TENSOR, e.name)).name
        if e not in self.head:
            fn, args = operation(e)
            operands = [self._condition(arg, self.head) if arg.is_condition else self.uniform(arg) for arg in args]
            self.head[e] = Let(f"u{len(self.head)}", fn, tuple(operands))
        return self.head[e].name

    def _condition(self, e: Expr, lets: dict[Expr, Let]) -> Arg:
        """A condition that is the same for all elements: computed outside as 1 or 0, tested where it is used."""
        if lets is self.head and not on_host(e) and not isinstance(e, Symbol):
            return self.uniform(e)
        if e not in lets:
            number = self.uniform(Select(e, Const(1.0), Const(0.0)))
            lets[e] = Let(f"c{len(self.head) + len(self.body)}", Fn.NE, (number, 0.0))
        return lets[e].name

    def _scalar(self, e: Expr) -> str:
        if e not in self.scalars:
            taken = {scalar.name for scalar in self.scalars.values()}
            name = f"h_{e.name}" if isinstance(e, Symbol) else f"k{len(taken)}"
            self.scalars[e] = Scalar(name, e)
        return self.scalars[e].name


def operation(e: Expr) -> tuple[Fn, tuple[Expr, ...]]:
    """`e` as an operation and its operands."""
    if isinstance(e, Select):
        return Fn.WHERE, e.children
    assert isinstance(e, Call), e
    return e.fn, e.args
