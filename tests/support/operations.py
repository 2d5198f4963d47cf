"""
The functions and reductions of the language with what is true of them: one row each, tried on every backend.

A truth of a function is NumPy's, to be computed in more digits than are compared. A truth of a reduction is its value
over some float64 numbers, and the size of what is added up on the way, of which rounding may take its share.
"""

import math
from collections.abc import Callable

import numpy as np
from compare import Array

from rmsprop_jit import codegen
from rmsprop_jit.codegen import Expr, exp, log, rsqrt, tanh

FUNCTIONS: dict[str, tuple[Callable[[Expr], Expr], Callable[[Array], Array]]] = {
    "exp": (lambda x: exp(x), np.exp),
    "log": (lambda x: log(abs(x)), lambda x: np.log(np.abs(x))),
    "tanh": (lambda x: tanh(x), np.tanh),
    "pow": (lambda x: abs(x) ** 0.375, lambda x: np.abs(x) ** 0.375),
    "root": (lambda x: abs(x) ** 0.5, lambda x: np.abs(x) ** 0.5),
    "cube": (lambda x: x**3, lambda x: x**3),
    "reciprocal": (lambda x: x**-1, lambda x: 1 / x),
    "negative_cube": (lambda x: x**-3, lambda x: 1 / (x * x * x)),
    "fifth": (lambda x: x**5, lambda x: x**5),
    "of_base": (lambda x: 2.5**x, lambda x: np.asarray(2.5, x.dtype) ** x),
    "of_itself": (lambda x: abs(x) ** x, lambda x: np.abs(x) ** x),
    "rsqrt": (lambda x: rsqrt(abs(x)), lambda x: 1 / np.sqrt(np.abs(x))),
}
"""Functions that are close to the truth but not correctly rounded, whose bits are the same everywhere."""

TRUTHS: dict[str, Callable[[Array], tuple[float, float]]] = {
    "all_finite": lambda x: (float(np.isfinite(x).all()), 0.0),
    "max_abs": lambda x: (float(np.max(np.abs(x), initial=0.0)), 0.0),
    "max_of": lambda x: (float(np.max(x, initial=-np.inf)), 0.0),
    "min_of": lambda x: (float(np.min(x, initial=np.inf)), 0.0),
    "sum_of": lambda x: (math.fsum(x), math.fsum(np.abs(x))),
    "sum_of_squares": lambda x: (math.fsum(np.square(x)), math.fsum(np.square(x))),
}
"""Reductions; one that is a condition counts as 1 or 0."""

REDUCTIONS: dict[str, Callable[..., Expr]] = {name: getattr(codegen, name) for name in TRUTHS}


def reduced(name: str, x: Expr, over: str) -> Expr:
    """A reduction as a number."""
    made = REDUCTIONS[name](x, over=over)
    return codegen.where(made, 1.0, 0.0) if made.is_condition else made
