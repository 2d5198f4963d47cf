"""What each operation means, in NumPy: the definition that every backend is tested against.

The functions work on scalars and arrays of any float dtype and keep it; each is correctly rounded but exp, log and pow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .expr import Fn, ReduceOp

MEANING: dict[Fn, Callable[..., Any]] = {
    Fn.ADD: lambda x, y: x + y,
    Fn.SUB: lambda x, y: x - y,
    Fn.MUL: lambda x, y: x * y,
    Fn.DIV: lambda x, y: x / y,
    Fn.POW: lambda x, y: x**y,
    Fn.MOD: np.mod,
    Fn.NEG: lambda x: -x,
    Fn.SQRT: np.sqrt,
    Fn.SQUARE: lambda x: x * x,
    Fn.ABS: np.abs,
    Fn.SIGN: lambda x: np.where(x > 0, np.ones_like(x), np.where(x < 0, -np.ones_like(x), x)),
    Fn.EXP: np.exp,
    Fn.LOG: np.log,
    Fn.MINIMUM: lambda x, y: np.where((x <= y) | (x != x), x, y),
    Fn.MAXIMUM: lambda x, y: np.where((x >= y) | (x != x), x, y),
    Fn.LT: lambda x, y: x < y,
    Fn.LE: lambda x, y: x <= y,
    Fn.GT: lambda x, y: x > y,
    Fn.GE: lambda x, y: x >= y,
    Fn.EQ: lambda x, y: x == y,
    Fn.NE: lambda x, y: x != y,
    Fn.AND: np.logical_and,
    Fn.OR: np.logical_or,
    Fn.NOT: np.logical_not,
    Fn.WHERE: np.where,
}

REDUCTION: dict[ReduceOp, Callable[[Any], float]] = {
    ReduceOp.SUM: lambda x: float(np.sum(x.astype(np.float64))),
    ReduceOp.SUM_OF_SQUARES: lambda x: float(np.sum(np.square(x.astype(np.float64)))),
    ReduceOp.MAX_ABS: lambda x: float(np.max(np.abs(x.astype(np.float64)), initial=0.0)),
    ReduceOp.ALL_FINITE: lambda x: float(np.all(np.isfinite(x))),
}

COMBINE: dict[ReduceOp, Callable[[float, float], float]] = {
    ReduceOp.SUM: lambda a, b: a + b,
    ReduceOp.SUM_OF_SQUARES: lambda a, b: a + b,
    ReduceOp.MAX_ABS: lambda a, b: float(np.maximum(a, b)),
    ReduceOp.ALL_FINITE: lambda a, b: min(a, b),
}
"""How the results of two pieces become the result of both."""

IDENTITY = {
    ReduceOp.SUM: 0.0,
    ReduceOp.SUM_OF_SQUARES: 0.0,
    ReduceOp.MAX_ABS: 0.0,
    ReduceOp.ALL_FINITE: 1.0,
}
"""What a reduction of no elements gives."""


def scalar(fn: Fn, *values: float) -> float | bool:
    """The operation on Python numbers, in float64, by IEEE rules: 1/0 is inf, sqrt(-1) is nan, nothing raises."""
    operands = [np.float64(value) if isinstance(value, float) else value for value in values]
    with np.errstate(all="ignore"):
        result = MEANING[fn](*operands)
    return bool(result) if np.asarray(result).dtype == bool else float(result)
