"""Rules with functions outside, and the same in plain NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from compare import Array

from rmsprop_jit.codegen import Expr, Flag, Hyper, Rule, ema, mean_of, outside, sqrt, square, sum_of_squares, where
from rmsprop_jit.codegen.names import Names

State = dict[str, Array]
Update = Callable[[Array, Array, State, dict[str, float]], Array]
"""What a parameter becomes of its gradient, its slots, which are changed, and numbers."""


def reversed_(array: Any) -> Any:
    """Of the whole tensor: no element of it depends on itself alone."""
    return array[::-1].copy()


def halved_here(array: Any) -> Any:
    """In place."""
    array[...] = array * array.dtype.type(0.5)
    return array


def scaled(array: Any, factor: float, step: float) -> Any:
    """With numbers of the step, as floats."""
    assert type(factor) is type(step) is float
    return array * array.dtype.type(factor / step)


class Offset:
    """Something that is called and is no function."""

    def __call__(self, array: Any) -> Any:
        return array - array.dtype.type(-0.25)


OFFSET = Offset()


def once(p: Expr, g: Expr, s: Names, h: Names) -> dict[Expr, Expr]:
    """One function, and a slot that its argument is made of."""
    m = ema(h.beta, s.m, g)
    return {s.m: m, p: p - h.learning_rate * outside(reversed_, m)}


def once_in_numpy(p: Array, g: Array, s: State, h: dict[str, float]) -> Array:
    """The same."""
    s["m"][...] = h["beta"] * s["m"] + (1 - h["beta"]) * g
    return p - h["learning_rate"] * s["m"][::-1]


def within(p: Expr, g: Expr, s: Names, h: Names) -> dict[Expr, Expr]:
    """A function of another's, with sums before, between and after."""
    inner = outside(reversed_, g / (1 + sqrt(sum_of_squares(g))))
    middle = inner / (1 + mean_of(square(inner)))
    outer = outside(scaled, middle + s.m, h.beta, h.step)
    return {s.m: s.m + outer, p: p - h.learning_rate * outer / (1 + sqrt(sum_of_squares(outer)))}


def within_in_numpy(p: Array, g: Array, s: State, h: dict[str, float]) -> Array:
    """The same."""

    def squares(x: Array) -> float:
        return float(np.sum(np.square(x.astype(np.float64))))

    inner = (g / g.dtype.type(1 + squares(g) ** 0.5))[::-1]
    middle = inner / inner.dtype.type(1 + squares(inner) / max(inner.size, 1))
    outer = (middle + s["m"]) * g.dtype.type(h["beta"] / h["step"])
    s["m"] += outer
    moved: Array = h["learning_rate"] * outer / g.dtype.type(1 + squares(outer) ** 0.5)
    return p - moved


def beside(p: Expr, g: Expr, s: Names, h: Names) -> dict[Expr, Expr]:
    """Two functions of equal depth, one of them in place, of what is stored too; and what is called but no function."""
    m = s.m + g
    return {s.m: m, p: p - h.learning_rate * (outside(halved_here, m) + outside(reversed_, m) + outside(OFFSET, g))}


def beside_in_numpy(p: Array, g: Array, s: State, h: dict[str, float]) -> Array:
    """The same."""
    s["m"] += g
    return p - h["learning_rate"] * (s["m"] * 0.5 + s["m"][::-1] + (g + 0.25))


def by_shape(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Of matrices alone."""
    m = ema(h.beta, s.m, g)
    return {s.m: m, p: p - h.learning_rate * where(on.matrix, outside(reversed_, m), m)}


def by_shape_in_numpy(p: Array, g: Array, s: State, h: dict[str, float]) -> Array:
    """The same."""
    s["m"][...] = h["beta"] * s["m"] + (1 - h["beta"]) * g
    return p - h["learning_rate"] * (s["m"][::-1] if p.ndim > 1 else s["m"])


class Made(NamedTuple):
    """A rule, and what it is in NumPy."""

    rule: Rule
    update: Update
    flags: tuple[str, ...] = ()


def is_matrix(shape: tuple[int, ...]) -> bool:
    """What has rows."""
    return len(shape) > 1


def _rule(name: str, equations: Callable[..., dict[Expr, Expr]], **flags: Flag) -> Rule:
    return Rule(name, equations, slots={"m": 0.0}, hypers={"beta": Hyper(0.75)}, flags=flags)


ONCE = Made(_rule("once", once), once_in_numpy)
WITHIN = Made(_rule("within", within), within_in_numpy)
BESIDE = Made(_rule("beside", beside), beside_in_numpy)
BY_SHAPE = Made(_rule("by_shape", by_shape, matrix=Flag(of=is_matrix)), by_shape_in_numpy, ("matrix",))
ALL = {one.rule.name: one for one in (ONCE, WITHIN, BESIDE, BY_SHAPE)}
