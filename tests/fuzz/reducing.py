"""What a reduction can be: exactly rounded sums, with as much room as another order of summation may take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .ranges import Machine, Range, Truth, absolute, exact, square

Array = npt.NDArray[Any]

UNSAFE = {"float32": 1e38, "float64": 1e300}
"""Where adding up may overflow in one order and not in another."""


def reduced(op: str, parts: Sequence[Range], machine: Machine) -> Range | Truth:
    """A reduction of the elements of one tensor or several, in float64."""
    single = machine.adds_in_single and any(part.lo.dtype == np.float32 for part in parts)
    x = Range(*(np.concatenate([np.atleast_1d(part[i]).ravel() for part in parts]) for i in range(3)))
    x = Range(x.lo, x.hi, x.wild.astype(bool))
    if op == "all_finite":
        bounded = np.isfinite(x.lo) & np.isfinite(x.hi)
        unknown = x.wild | (~bounded & ~x.is_point)
        return Truth(np.asarray((bounded & ~x.wild).all()), np.asarray((bounded | unknown).all()))
    wide = x.cast(np.float64)
    if op in ("sum_of", "sum_of_squares"):
        terms = square(wide) if op == "sum_of_squares" else wide
        return _summed(terms, machine, single, op == "sum_of_squares")
    if op == "min_of":
        least = _largest(Range(-wide.hi, -wide.lo, wide.wild), -math.inf)
        return Range(-least.hi, -least.lo, least.wild)
    if op == "max_abs":
        return _largest(absolute(wide), 0.0)
    return _largest(wide, -math.inf)


def _largest(x: Range, identity: float) -> Range:
    """The largest element; a zero may have either sign, but for absolute values."""
    if x.wild.any():
        return _anything()
    if np.isnan(x.lo).any():
        return exact(np.float64(math.nan))
    lo, hi = float(np.max(x.lo, initial=identity)), float(np.max(x.hi, initial=identity))
    if identity and lo == 0.0 == hi:
        lo, hi = -0.0, 0.0
    return Range(np.asarray(lo), np.asarray(hi), np.asarray(False))


def _summed(x: Range, machine: Machine, single: bool, squares: bool) -> Range:
    if x.wild.any() or (np.isinf(x.lo) != np.isinf(x.hi)).any():
        return _anything()
    size = float(np.sum(np.maximum(np.abs(x.lo), np.abs(x.hi)), where=np.isfinite(x.lo)))
    if not size < UNSAFE["float32" if single else "float64"]:
        return _anything()
    if not np.isfinite(x.lo).all():
        with np.errstate(all="ignore"):
            return exact(np.float64(np.sum(x.lo)))
    lo, hi = math.fsum(x.lo), math.fsum(x.hi)
    if not single and not machine.flushes and _is_exact(x.lo, size) and _is_exact(x.hi, size):
        return Range(np.asarray(lo), np.asarray(hi), np.asarray(False))
    share = 2e-6 if single and squares else 1e-11 if single else 4e-16 * max(x.lo.size, 4)
    room = size * share + (1e-290 if single or machine.flushes else 0.0)
    return Range(np.asarray(lo - room), np.asarray(hi + room), np.asarray(False))


def _is_exact(values: Array, size: float) -> bool:
    """Whether every order of summation gives the same: all are multiples of a number that is not too small."""
    present = values[values != 0]
    if not present.size:
        return True
    fractions, exponents = np.frexp(present)
    whole = np.abs(fractions * 2.0**53).astype(np.int64)
    lowest = int(np.min(exponents - 53 + np.log2(whole & -whole).astype(np.int64)))
    return math.log2(size) - lowest < 52


def _anything() -> Range:
    return Range(np.asarray(0.0), np.asarray(0.0), np.asarray(True))
