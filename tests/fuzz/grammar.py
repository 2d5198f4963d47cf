"""Random rules and their arrays: seeds in, the same case out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from compare import SPECIAL

from .trees import COMPARISONS, ELEMENT, LIBRARY, LOGIC, REDUCTIONS, STEP, TENSOR, Kind, Node, Rates, Spec

T = TypeVar("T")

CONSTANTS = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 3.0, 0.1, 0.9, 1e-8, -0.3, 7.0]
EXTREMES = [1e30, -1e30, 1e-30, 1e39, -1e39, 1e308, 1e-40, 5e-324, -5e-324, float("inf"), -float("inf"), float("nan")]
FINITE = [value for value in EXTREMES if abs(value) < float("inf")]
SIZES = [0, 1, 2, 3, 7, 31, 127, 128, 129, 1023, 1025]
LARGE = 65_537
"""More than one row of a compiled kernel."""


def ordinary(rng: np.random.Generator, size: int) -> npt.NDArray[Any]:
    return rng.normal(size=size)


def special(rng: np.random.Generator, size: int) -> npt.NDArray[Any]:
    values = rng.normal(size=size)
    return np.where(rng.integers(3, size=size) == 0, rng.choice(SPECIAL, size=size), values)


def whole(rng: np.random.Generator, size: int) -> npt.NDArray[Any]:
    """Small whole numbers, of which many are alike, and whose sums are exact."""
    return rng.integers(-3, 4, size=size).astype(np.float64)


def scattered(rng: np.random.Generator, size: int) -> npt.NDArray[Any]:
    """Numbers of all sizes that float32 has."""
    return rng.choice([-1.0, 1.0], size=size) * 2.0 ** rng.uniform(-150, 128, size=size)


MAKERS: dict[str, Callable[[np.random.Generator, int], npt.NDArray[Any]]] = {
    maker.__name__: maker for maker in (ordinary, special, whole, scattered)
}


@dataclass(frozen=True)
class Style:
    """What may occur.

    tame:    no extreme number, and no division, root or power but of what suits it: for compilers that contract.
    joint:   tensors of several kinds in one step, which share what is reduced over all.
    """

    tame: bool = False
    sizes: tuple[int, ...] = tuple(SIZES)
    large: bool = True
    joint: bool = True


class Grammar:
    """Makes trees by chance. `nodes` that were made may be used again, so that rules share what they compute."""

    def __init__(self, rng: np.random.Generator, style: Style) -> None:
        self.rng, self.style = rng, style
        self.leaves: dict[int, list[Node]] = {}
        self.flags: list[Node] = []
        self.made: dict[int, list[Node]] = {rate: [] for rate in (STEP, TENSOR, ELEMENT)}
        self.rates = Rates()

    def one_of(self, some: Sequence[T]) -> T:
        return some[int(self.rng.integers(len(some)))]

    def chance(self, part: float) -> bool:
        return bool(self.rng.random() < part)

    def constant(self) -> Node:
        pool = CONSTANTS if self.style.tame or self.chance(0.8) else EXTREMES
        return Node("const", value=self.one_of(pool) if self.chance(0.7) else round(float(self.rng.normal()), 3))

    def leaf(self, rate: int) -> Node:
        known = [node for slower in range(STEP, rate + 1) for node in self.leaves.get(slower, [])]
        fast = self.leaves.get(rate, [])
        if self.chance(0.2) or not known:
            return self.constant()
        return self.one_of(fast if fast and self.chance(0.7) else known)

    def number(self, rate: int, depth: int) -> Node:
        """A number that changes no faster than `rate`."""
        if depth <= 0 or self.chance(0.1):
            return self.leaf(rate)
        if self.made[rate] and self.chance(0.15):
            return self.one_of(self.made[rate])
        node = self.operation(rate, depth - 1)
        self.made[rate].append(node)
        return node

    def slower(self, rate: int) -> int:
        """The rate of an operand."""
        return rate if rate <= STEP or self.chance(0.7) else self.one_of([STEP, *range(STEP, rate), rate - 1])

    def operation(self, rate: int, depth: int) -> Node:
        kinds = ["infix"] * 5 + ["one"] * 3 + ["choice"] * 3 + ["where"] * 3 + ["library"] * 2
        kinds += ["reduction"] * 8 if rate == TENSOR else []
        kinds += ["whole"] if rate == STEP else []
        kind = self.one_of(kinds)
        if kind == "reduction":
            return self.reduced(depth)
        if kind == "where":
            same = self.chance(0.15)
            a = self.number(STEP, depth) if same and self.chance(0.5) else self.operand(rate, depth)
            b = a if same else self.operand(rate, depth)
            return Node("where", (self.condition(rate, depth), a, b))
        x, y = self.operand(rate, depth), self.operand(rate, depth)
        if kind == "one":
            return self.of_one(x)
        if kind == "choice":
            return Node(op := self.one_of(["minimum", "maximum", "clip"]), (x, y, x)[: 3 if op == "clip" else 2])
        if kind == "whole":
            return Node("rounded", (x,)) if self.chance(0.5) else Node("mod", (x, y))
        if kind == "library":
            return self.of_library(x, y)
        op = self.one_of(["add", "sub", "mul", "div"])
        return Node(op, (x, self.positive(y) if op == "div" and self.style.tame else y))

    def operand(self, rate: int, depth: int) -> Node:
        return self.number(self.slower(rate), depth)

    def of_one(self, x: Node) -> Node:
        op = self.one_of(["neg", "sqrt", "square", "abs", "sign"])
        return Node(op, (self.positive(x) if op == "sqrt" and self.style.tame else x,))

    def of_library(self, x: Node, y: Node) -> Node:
        op = self.one_of([*LIBRARY, "pow"])
        if self.style.tame:
            x = self.positive(x) if op in ("log", "pow") else Node("clip", (x, _number(-9.0), _number(9.0)))
            y = self.constant()
        return Node(op, (x, y) if op == "pow" else (x,))

    def positive(self, x: Node) -> Node:
        return Node("add", (Node("abs", (x,)), _number(0.5)))

    def reduced(self, depth: int, ops: Sequence[str] = REDUCTIONS[:-1]) -> Node:
        """A reduction of elements; zeros of both signs have no order, so that the largest of them is made one."""
        x = self.number(ELEMENT, depth)
        if self.rates.of(x) < ELEMENT:
            x = Node("add", (x, self.one_of(self.leaves[ELEMENT])))
        made = Node(op := self.one_of(ops), (x,), self.one_of(["tensor", "all"]))
        return Node("add", (made, _number(0.0))) if op in ("max_of", "min_of") else made

    def condition(self, rate: int, depth: int) -> Node:
        """A condition that changes no faster than `rate`."""
        if self.flags and self.chance(0.25):
            return self.one_of(self.flags)
        if depth > 0 and self.chance(0.35):
            x, y = self.condition(rate, depth - 1), self.condition(self.slower(rate), depth - 1)
            op = self.one_of([*LOGIC, "not", "where"])
            if op == "where":
                return Node(op, (self.condition(rate, depth - 1), x, y))
            return Node(op, (x,) if op == "not" else (x, y))
        if rate >= TENSOR and self.chance(0.15):
            return self.reduced(depth - 1, REDUCTIONS[-1:])
        return Node(self.one_of([*COMPARISONS]), (self.operand(rate, depth - 1), self.operand(rate, depth - 1)))


def _number(value: float) -> Node:
    return Node("const", value=value)


def named(kind: str, names: Sequence[str]) -> list[Node]:
    return [Node(kind, name=name) for name in names]


def spec(seed: int, style: Style = Style()) -> Spec:
    """The case of a seed."""
    rng = np.random.default_rng(seed)
    grammar = Grammar(rng, style)
    slots = [f"x{i}" for i in range(rng.integers(0, 4))]
    steps = ["step", "learning_rate", *(f"a{i}" for i in range(rng.integers(0, 3)))]
    owns = [f"b{i}" for i in range(rng.integers(0, 2))]
    flags = tuple(f"f{i}" for i in range(rng.integers(0, 3)))
    grammar.leaves[STEP], grammar.leaves[TENSOR] = named("step", steps), named("own", owns)
    grammar.leaves[ELEMENT] = [Node("parameter"), Node("gradient"), *named("slot", slots)]
    grammar.flags = named("flag", flags)
    stores = {}
    for target in [*rng.permutation(slots).tolist(), "parameter"]:
        stores[target] = grammar.number(ELEMENT, int(rng.integers(2, 6)))
        if target != "parameter":  # those that come later may use it, so that there is no circle
            grammar.leaves[ELEMENT].append(Node("new", name=target))
    sizes = [*rng.choice(style.sizes, size=rng.integers(1, 6)).tolist()]
    if style.large and grammar.chance(0.03):
        sizes.append(LARGE)
    numbers = CONSTANTS if style.tame else CONSTANTS + FINITE
    return Spec(
        seed=seed,
        stores=stores,
        slots={name: grammar.one_of([0.0, 1.0, 0.1, -2.5]) for name in slots},
        steps={name: grammar.one_of(numbers) for name in steps} | {"step": float(rng.integers(1, 5))},
        owns={name: [grammar.one_of(numbers) for _ in sizes] for name in owns},
        flags=flags,
        sizes=tuple(sizes),
        kinds=kinds(grammar, flags, len(sizes)),
        values="ordinary" if style.tame else grammar.one_of([*MAKERS]),
    )


def kinds(grammar: Grammar, flags: Sequence[str], count: int) -> tuple[Kind, ...]:
    """Of the tensors, mostly one for all."""
    found = []
    for _ in range(2):
        dtype = grammar.one_of(["float32", "float64"])
        gradient = dtype if grammar.chance(0.6) else grammar.one_of(["float32", "float64"])
        found.append(Kind(dtype, gradient, frozenset(flag for flag in flags if grammar.chance(0.5))))
    first = int(grammar.rng.integers(1, count)) if grammar.style.joint and count > 1 and grammar.chance(0.3) else count
    return (*[found[0]] * first, *[found[1]] * (count - first))
