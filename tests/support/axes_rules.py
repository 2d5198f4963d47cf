"""Rules with numbers over axes, each with the same in NumPy on tensors of two axes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from compare import Array

from rmsprop_jit.codegen import (
    Expr,
    Rule,
    Slot,
    all_finite,
    block,
    but,
    ema,
    max_abs,
    max_of,
    maximum,
    mean_of,
    min_of,
    minimum,
    rsqrt,
    sqrt,
    square,
    sum_of,
    sum_of_squares,
    where,
)
from rmsprop_jit.codegen.names import Names

State = dict[str, Array]
Hypers = dict[str, float]


class Case(NamedTuple):
    """A rule and the same in NumPy: the tensor after a step, of which the state has slots by name."""

    rule: Rule
    update: Callable[[Array, Array, State, Hypers], Array]


def adafactor(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Rows, columns, what is reduced of rows, and of elements of these."""
    squares = square(g) + 1e-30
    r, c = ema(h.beta, s.r, mean_of(squares, over=-1)), ema(h.beta, s.c, mean_of(squares, over=-2))
    u = g * rsqrt(r / mean_of(r, over=(-2, -1))) * rsqrt(c)
    return {s.r: r, s.c: c, p: p - h.learning_rate * u / maximum(1.0, sqrt(mean_of(square(u))))}


def numpy_adafactor(p: Array, g: Array, s: State, h: Hypers) -> Array:
    squares = g**2 + 1e-30
    s["r"] = h["beta"] * s.get("r", 0.0) + (1 - h["beta"]) * squares.mean(-1)
    s["c"] = h["beta"] * s.get("c", 0.0) + (1 - h["beta"]) * squares.mean(-2)
    u = g / np.sqrt(np.outer(s["r"] / s["r"].mean(), s["c"]))
    return np.asarray(p - h["learning_rate"] * u / max(1.0, float(np.sqrt((u**2).mean()))))


ADAFACTOR = Case(
    Rule("adafactor", adafactor, slots={"r": Slot(over=-1), "c": Slot(over=-2)}, hypers={"beta": 0.9}), numpy_adafactor
)


def sm3(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """All but one axis, by maxima."""
    nu = minimum(s.row, s.column) + square(g)
    return {
        s.row: max_of(nu, over=but(0)),
        s.column: max_of(nu, over=but(1)),
        p: p - h.learning_rate * g / sqrt(nu + 1e-8),
    }


def numpy_sm3(p: Array, g: Array, s: State, h: Hypers) -> Array:
    row, column = s.get("row", np.zeros(p.shape[0])), s.get("column", np.zeros(p.shape[1]))
    nu = np.minimum(row[:, None], column[None, :]) + g**2
    s["row"], s["column"] = nu.max(1), nu.max(0)
    return np.asarray(p - h["learning_rate"] * g / np.sqrt(nu + 1e-8))


SM3 = Case(Rule("sm3", sm3, slots={"row": Slot(over=but(0)), "column": Slot(over=but(1))}), numpy_sm3)


def blocks(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """A number a block, and elements beside it."""
    m, v = ema(h.beta, s.m, g), ema(h.beta, s.v, mean_of(square(g), over=block(100)))
    return {s.m: m, s.v: v, p: p - h.learning_rate * m / (sqrt(v) + 1e-8)}


def numpy_blocks(p: Array, g: Array, s: State, h: Hypers) -> Array:
    flat = g.ravel() ** 2
    means = np.array([flat[i : i + 100].mean() for i in range(0, flat.size, 100)])
    s["m"] = h["beta"] * s.get("m", 0.0) + (1 - h["beta"]) * g
    s["v"] = h["beta"] * s.get("v", 0.0) + (1 - h["beta"]) * means
    each = np.repeat(s["v"], 100)[: flat.size].reshape(p.shape)
    return np.asarray(p - h["learning_rate"] * s["m"] / (np.sqrt(each) + 1e-8))


BLOCKS = Case(Rule("blocks", blocks, slots={"m": 0.0, "v": Slot(over=block(100))}, hypers={"beta": 0.9}), numpy_blocks)


def every(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Each reduction over rows and over columns, without a slot."""
    x = 1.0 + 0.1 * g
    row = sum_of(x, over=-1) / (1 + sum_of_squares(x, over=-1)) + max_abs(x, over=-1) * min_of(x, over=-1)
    column = sum_of(x, over=0) / (1 + sum_of_squares(x, over=0)) + max_of(x, over=0) * max_abs(x, over=0)
    return {p: p - h.learning_rate * where(all_finite(g, over=0), x * row - column, 0.0)}


def numpy_every(p: Array, g: Array, s: State, h: Hypers) -> Array:
    x = 1.0 + 0.1 * g
    row = x.sum(1) / (1 + (x**2).sum(1)) + np.abs(x).max(1) * x.min(1)
    column = x.sum(0) / (1 + (x**2).sum(0)) + x.max(0) * np.abs(x).max(0)
    return np.asarray(p - h["learning_rate"] * (x * row[:, None] - column))


EVERY = Case(Rule("every", every), numpy_every)

CASES = [ADAFACTOR, SM3, BLOCKS, EVERY]

MOVED = {"adafactor": 1 + 1 + 2 + 1, "sm3": 1 + 2 + 1, "blocks": 1 + 3 + 2, "every": 1 + 2 + 1}
"""Arrays that elements are loaded from and stored to, by hand."""
