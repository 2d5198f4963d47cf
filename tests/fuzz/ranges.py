"""Arithmetic with ranges of floats: what a result can be where some operation is not exact.

An exact value is a range of one number, and exact operations on it give a range of one number, which is then asked for
bit by bit. What a library or an order of summation may give is a range; as rounding is monotone, the operation on the
ends bounds the operation on whatever lies between. `wild` marks elements of which nothing is known: where a range
reaches a place at which the operation jumps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]


class Range(NamedTuple):
    """All between `lo` and `hi`, both included, of one dtype; anything where `wild`."""

    lo: Array
    hi: Array
    wild: Bools

    def cast(self, dtype: Any) -> Range:
        """As another type, rounded."""
        return Range(self.lo.astype(dtype), self.hi.astype(dtype), self.wild)

    @property
    def is_point(self) -> Bools:
        """Where there is one value; any nan is one."""
        same = (self.lo == self.hi) & (np.signbit(self.lo) == np.signbit(self.hi))
        return np.asarray(same | (np.isnan(self.lo) & np.isnan(self.hi)))

    @property
    def is_nan(self) -> Bools:
        """Where it is nan for sure."""
        return np.asarray(np.isnan(self.lo) & self.is_point & ~self.wild)

    def holds(self, zero: float = 0.0) -> Bools:
        """Where a number is within."""
        return np.asarray((self.lo <= zero) & (zero <= self.hi))


class Truth(NamedTuple):
    """A condition: where it holds for sure, and where it may."""

    sure: Bools
    possible: Bools


@dataclass(frozen=True)
class Machine:
    """What one backend may do to numbers.

    ulps:     how far functions go up and down by rounding, in units of the last place, where they are not one number.
    contracts: it may leave out the rounding between a product and a sum.
    flushes:  it may take denormal numbers for zero.
    adds_in_single: sums of float32 are added up in float32, with what rounding took from them.
    """

    ulps: int = 4
    contracts: bool = False
    flushes: bool = False
    adds_in_single: bool = False


def exact(values: Any) -> Range:
    """What is known to the last bit."""
    array = np.asarray(values)
    return Range(array, array, np.zeros(array.shape, bool))


def _tidied(lo: Array, hi: Array, wild: Bools, points: Bools) -> Range:
    """Results that came from ranges: nan says nothing, and a zero has either sign."""
    lo, hi, wild, points = np.broadcast_arrays(lo, hi, wild, points)
    zero = ~points & (lo == 0) & (hi == 0)
    wild = wild | (~points & (np.isnan(lo) | np.isnan(hi)))
    return Range(np.where(zero, -np.zeros_like(lo), lo), np.where(zero, np.zeros_like(hi), hi), wild)


def corners(
    fn: Callable[[Array, Array], Array], x: Range, y: Range, wild: Any = False, nan_spreads: bool = True
) -> Range:
    """A function of two that is monotone in each; `nan_spreads`: of nan, it is nan."""
    points = x.is_point & y.is_point
    found = [fn(a, b) for a in (x.lo, x.hi) for b in (y.lo, y.hi)]
    any_nan = np.isnan(found[0]) | np.isnan(found[1]) | np.isnan(found[2]) | np.isnan(found[3])
    lo, hi = np.fmin.reduce(found), np.fmax.reduce(found)
    lo, hi = np.where(points, found[0], lo), np.where(points, found[0], hi)
    is_nan = (x.is_nan | y.is_nan) & nan_spreads
    unknown = x.wild | y.wild | (~points & ~is_nan & (any_nan | wild))
    nan = np.full_like(lo, np.nan)
    return _tidied(np.where(is_nan, nan, lo), np.where(is_nan, nan, hi), unknown, points | is_nan)


def add(x: Range, y: Range) -> Range:
    return corners(np.add, x, y)


def subtract(x: Range, y: Range) -> Range:
    return corners(np.subtract, x, y)


def _can_be_infinite(x: Range) -> Bools:
    return np.asarray(np.isinf(x.lo) | np.isinf(x.hi))


def multiply(x: Range, y: Range) -> Range:
    hidden = (x.holds() & _can_be_infinite(y)) | (y.holds() & _can_be_infinite(x))
    return corners(np.multiply, x, y, hidden)


def divide(x: Range, y: Range) -> Range:
    return corners(np.divide, x, y, y.holds() | (_can_be_infinite(x) & _can_be_infinite(y)))


def negative(x: Range) -> Range:
    return Range(-x.hi, -x.lo, x.wild)


def absolute(x: Range) -> Range:
    lo, hi = np.abs(x.lo), np.abs(x.hi)
    inside = ~x.is_point & x.holds()
    small = np.where(inside, np.zeros_like(lo), np.minimum(lo, hi))
    return Range(small, np.maximum(lo, hi), x.wild)


def square(x: Range) -> Range:
    size = absolute(x)
    return Range(size.lo * size.lo, size.hi * size.hi, x.wild)


def monotone(fn: Callable[[Array], Array], x: Range) -> Range:
    """A function of one that grows with it."""
    return _tidied(fn(x.lo), fn(x.hi), x.wild, x.is_point)


def sqrt(x: Range) -> Range:
    return monotone(np.sqrt, x)


def sign(x: Range) -> Range:
    return monotone(lambda a: np.where(a > 0, np.ones_like(a), np.where(a < 0, -np.ones_like(a), a)), x)


def minimum(x: Range, y: Range) -> Range:
    return corners(lambda a, b: np.where((a <= b) | (a != a), a, b), x, y)


def maximum(x: Range, y: Range) -> Range:
    return corners(lambda a, b: np.where((a >= b) | (a != a), a, b), x, y)


def loosened(x: Range, ulps: int) -> Range:
    """A range with so many units in the last place at either end."""
    lo, hi = x.lo, x.hi
    for _ in range(ulps):
        lo, hi = np.nextafter(lo, np.full_like(lo, -np.inf)), np.nextafter(hi, np.full_like(hi, np.inf))
    return Range(lo, hi, x.wild)


def flushed(x: Range) -> Range:
    """A range with zero for what lies too near to it."""
    tiny = np.finfo(x.lo.dtype).tiny
    lo, hi = x.lo, x.hi
    lo = np.where((lo > 0) & (lo < tiny), np.zeros_like(lo), lo)
    hi = np.where((hi < 0) & (hi > -tiny), np.zeros_like(hi), hi)
    lo = np.where((lo == 0) & (hi >= 0), -np.zeros_like(lo), lo)
    return Range(lo, np.where((hi == 0) & (lo <= 0), np.zeros_like(hi), hi), x.wild)


def hull(c: Truth, a: Range, b: Range) -> Range:
    """One of two ranges, or all of both where the choice is open."""
    c, a, b = _alike(c, a, b)
    same = a.is_point & b.is_point & (a.lo.view(f"u{a.lo.itemsize}") == b.lo.view(f"u{b.lo.itemsize}"))
    is_open = c.possible & ~c.sure & ~same
    lo = np.where(c.sure | same, a.lo, np.where(c.possible, np.fmin(a.lo, b.lo), b.lo))
    hi = np.where(c.sure | same, a.hi, np.where(c.possible, np.fmax(a.hi, b.hi), b.hi))
    wild = np.where(c.sure, a.wild, np.where(c.possible, a.wild | b.wild, b.wild))
    nan = np.isnan(a.lo) | np.isnan(b.lo)
    return Range(lo, hi, wild | (is_open & nan & ~(a.is_nan & b.is_nan)))


def _alike(c: Truth, a: Range, b: Range) -> tuple[Truth, Range, Range]:
    parts = [np.ascontiguousarray(part) for part in np.broadcast_arrays(*c, *a, *b)]
    return Truth(*parts[:2]), Range(*parts[2:5]), Range(*parts[5:])


def compared(op: str, x: Range, y: Range) -> Truth:
    """A comparison."""
    if op in ("gt", "ge"):
        return compared({"gt": "lt", "ge": "le"}[op], y, x)
    if op == "ne":
        return negated(compared("eq", x, y))
    if op == "eq":
        sure = (x.lo == x.hi) & (y.lo == y.hi) & (x.lo == y.lo)
        possible = (x.lo <= y.hi) & (y.lo <= x.hi)
    elif op == "lt":
        sure, possible = x.hi < y.lo, x.lo < y.hi
    else:
        sure, possible = x.hi <= y.lo, x.lo <= y.hi
    wild = x.wild | y.wild
    return Truth(np.asarray(sure & ~wild), np.asarray(possible | wild))


def negated(c: Truth) -> Truth:
    return Truth(~c.possible, ~c.sure)
