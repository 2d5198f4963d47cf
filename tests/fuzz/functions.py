"""exp, log, tanh and powers once more, in NumPy: the same series of the same reduced arguments, so the same bits.

Where the package works on bits, this takes NumPy's functions. Numbers of float32 are computed in float64, with fewer
terms, and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def _in_two(value: Decimal, bits: int) -> tuple[float, float]:
    """A number's first bits after the point, and the rest."""
    first = math.floor(value * 2**bits) / 2**bits
    return first, float(value - Decimal(first))


with localcontext(prec=60):
    LOG_2 = Decimal(2).ln()
    LN2, LOG2_E, SCALE = float(LOG_2), float(1 / LOG_2), float(2 / (3 * LOG_2))
    LN2_40, LN2_26, SCALE_26 = _in_two(LOG_2, 40), _in_two(LOG_2, 26), _in_two(2 / (3 * LOG_2), 26)


def _sum(x: Array, terms: Sequence[float]) -> Array:
    result = np.full_like(x, terms[-1])
    for term in terms[-2::-1]:
        result = result * x + term
    return result


def _rounded(x: Array) -> Array:
    return np.asarray(np.rint(x) + 0.0)


def _times_two_to(x: Array, n: Array) -> Array:
    return np.ldexp(x, np.where(np.isfinite(n), n, 0).astype(np.int64))


def _tail(r: Array, short: bool) -> Array:
    return np.asarray(r * r * _sum(r, [1 / math.factorial(k) for k in range(2, 12 if short else 14)]))


def _exp(x: Array, short: bool) -> Array:
    x = np.clip(x, -800, 800)
    n = _rounded(x * LOG2_E)
    r = (x - n * LN2_40[0]) - n * LN2_40[1]
    return _times_two_to(1 + (r + _tail(r, short)), n)


def _split(x: Array) -> tuple[Array, Array]:
    part, places = np.frexp(x)
    below = np.frexp(part * np.sqrt(2.0))[1] - 1
    return np.ldexp(part, -below), (places + below).astype(np.float64)


def _log_of_positive(x: Array, short: bool) -> Array:
    m, n = _split(x)
    f = m - 1
    s = f / (f + 2)
    half, square = f * f * 0.5, s * s
    series = square * _sum(square, [2 / (2 * k + 1) for k in range(1, 8 if short else 11)])
    return np.asarray(n * LN2_40[0] - ((half - (s * (half + series) + n * LN2_40[1])) - f))


def _log(x: Array, short: bool) -> Array:
    usual = (x > 0) & np.isfinite(x)
    return np.where(usual, _log_of_positive(np.where(usual, x, 1.0), short), np.log(x))


def _tanh(x: Array, short: bool) -> Array:
    double = 2 * np.minimum(np.abs(x), 25.0)
    n = _rounded(double * LOG2_E)
    scale = _times_two_to(np.ones_like(x), n)
    part, lost = double - n * LN2_40[0], n * LN2_40[1]
    large = (scale - 1) + scale * part
    small = (((scale - 1) - large) + scale * part) + scale * (_tail(part - lost, short) - lost)
    d = large + small
    ratio = d / (d + 2)
    if not short:
        lacks = small - (d - large)
        ratio = ratio + (lacks - ratio * (((2 - (d + 2)) + d) + lacks)) / (d + 2)
    return np.copysign(ratio, x)


def _upper(x: Array) -> Array:
    part, places = np.frexp(x)
    return np.asarray(np.ldexp(np.trunc(np.ldexp(part, 26)), places - 26))


def _log2(x: Array) -> tuple[Array, Array]:
    m, n = _split(x)
    f, inverse = m - 1, 1 / (m + 1)
    s, t = f * inverse, _upper(m + 1)
    s_high = _upper(s)
    s_low = ((f - s_high * t) - s_high * (m - (t - 1))) * inverse
    square = s * s
    more = square * square * _sum(square, [3 / (2 * k + 1) for k in range(2, 15)]) + s_low * (s_high + s)
    p_high = _upper(s_high * s_high + 3 + more)
    p_low = more - ((p_high - 3) - s_high * s_high)
    u, v = s_high * p_high, s_low * p_high + p_low * s
    high = _upper(u + v)
    z, z_low = high * SCALE_26[0], high * SCALE_26[1] + (v - (high - u)) * SCALE
    result = _upper((z + z_low) + n)
    return result, z_low - ((result - n) - z)


def _long_power(x: Array, y: Array) -> Array:
    high, low = _log2(x)
    first = _upper(y)
    whole, rest = first * high, (y - first) * high + y * low
    rest, whole = np.where(np.abs(whole) > 1200, 0.0, rest), np.clip(whole, -1200, 1200)
    n = _rounded(whole + rest)
    whole = whole - n
    t = _upper(whole + rest)
    u, v = t * LN2_26[0], (rest - (t - whole)) * LN2 + t * LN2_26[1]
    r = u + v
    return _times_two_to(1 + (r + ((v - (r - u)) + _tail(r, False))), n)


def _pow(x: Array, y: Array, short: bool, constant: bool = False) -> Array:
    """`constant`: the exponent is one, so that a small whole one is so many products."""
    x, y = np.broadcast_arrays(x, y)
    special = np.power(x, y)
    usual = np.isfinite(x) & (x != 0) & ~np.isnan(y) & (y != 0) & (np.abs(x) != 1) & ~((x < 0) & np.isnan(special))
    size, n = np.where(usual, np.abs(x), 2.0), np.clip(np.where(usual, y, 1.0), -(2.0**70), 2.0**70)
    found = _exp(_log_of_positive(size, True) * n, True) if short else _long_power(size, n)
    result = np.where(usual, np.copysign(found, special), special)
    if constant and y.size and abs(y.flat[0]) in (1, 2, 3, 4) and (short or y.flat[0] >= -1):
        square = x * x
        result = [x, square, square * x, square * square][int(abs(y.flat[0])) - 1]
        result = 1 / result if y.flat[0] < 0 else result
    return np.asarray(result)


def of(op: str, *operands: Any, **more: bool) -> Array:
    """A function on numbers of one type, in that type."""
    arrays = [np.asarray(operand) for operand in operands]
    kept = arrays[0].dtype
    known: dict[str, Callable[..., Array]] = {"exp": _exp, "log": _log, "tanh": _tanh, "pow": _pow}
    with np.errstate(all="ignore"):
        found = known[op](*(array.astype(np.float64) for array in arrays), short=kept != np.float64, **more)
        return found.astype(kept)
