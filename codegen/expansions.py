"""exp, log, tanh and powers as expressions of arithmetic and of operations on bits: the same numbers everywhere.

Numbers of less than float64 are widened first and the result is narrowed, so that it is the nearest one nearly always.
In float64 results are within two units of the last place. The methods are the classical ones (Cody & Waite 1980, and
Ng's FDLIBM): an argument is reduced to a small one, for which a short series is exact enough.

Nothing here divides by zero for a finite argument: on the host that would raise. No step needs a product to be rounded
before it is added to something, so that results stay as close where a compiler contracts. What is computed beside the
point (the logarithm of a negative number) is garbage, which a choice at the end leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .expr import Call, Const, Expr, Select, call
from .ops import Fn

LOG2_E = 1.4426950408889634
LN2_40, LN2_REST = 0.6931471805592082, 7.371002565167799e-13
"""ln 2: its first 40 bits, whose product with an exponent is exact, and the rest."""
LN2 = 0.6931471805599453
LN2_26, LN2_LOW = 0.6931471675634384, 1.2996506893889889e-08
SCALE, SCALE_26, SCALE_LOW = 0.9617966939259756, 0.9617966860532761, 7.872699542894897e-09
"""2 / (3 ln 2): rounded, its first 26 bits, and the rest."""
SQRT_2 = 1.4142135623730951

MAGIC, TWO_52 = 1.5 * 2.0**52, 2.0**52
"""Added and taken off again, they leave whole numbers: MAGIC of small numbers, TWO_52 of positive ones below it."""

ENOUGH = 1200.0
"""2**ENOUGH is infinite and 2**-ENOUGH is zero, whatever they are multiplied with below."""

NEVER_MORE = 2.0**70
"""A power whose exponent is larger is that of this one: 0, 1 or infinite, for 1 is 2**-53 away from its neighbours."""

BIG, SMALL, PLACES = 2.0**60, 2.0**-60, 60.0
"""Factors by which every float64 comes well into the middle of its exponents, and what they add to one."""

PRODUCTS = {1.0, 2.0, 3.0, 4.0, -1.0}
WIDE_PRODUCTS = PRODUCTS | {-2.0, -3.0, -4.0}
"""Exponents of powers that are products, in float64 and for widened numbers, whose products never overflow."""

EXP_TERMS = [1 / math.factorial(k) for k in range(2, 14)]
LOG_TERMS = [2 / (2 * k + 1) for k in range(1, 11)]
POWER_TERMS = [3 / (2 * k + 1) for k in range(2, 15)]
"""Series of (e**x - 1 - x) / x**2, (log(1 + f) - 2 s) / s and 3 (log(1 + f) / 2 s - 1 - s**2 / 3) / s**4, in s**2."""


def expansion(fn: Fn, args: Sequence[Expr], is_wide: bool) -> Expr:
    """What becomes of an operation. is_wide: of numbers of less than float64."""
    operands = [call(Fn.WIDE, arg) for arg in args] if is_wide else args
    result = FUNCTIONS[fn](*operands, is_wide)
    return call(Fn.NARROW, result) if is_wide else result


def exp(x: Expr, is_wide: bool) -> Expr:
    """e**x."""
    x = _held(x, 200.0 if is_wide else 800.0)
    n = _nearest(x * LOG2_E)
    r = (x - n * LN2_40) - n * LN2_REST
    return _scaled(1 + (r + _tail(r, is_wide)), n, is_wide)


def log(x: Expr, is_wide: bool) -> Expr:
    """The natural logarithm."""
    finite = Select(x < math.inf, _log(x, is_wide), x)
    return Select(x > 0, finite, Select(_is(x, 0), Const(-math.inf), x * math.nan))


def tanh(x: Expr, is_wide: bool) -> Expr:
    """The hyperbolic tangent, as d / (d + 2) where d is e**2x - 1; from 25 on it is 1."""
    size = abs(x)
    double = Select(size > 25, Const(25.0), size) * 2
    n = _nearest(double * LOG2_E)
    exact, lost = double - n * LN2_40, n * LN2_REST
    scale = call(Fn.TWO_TO, n)
    large = (scale - 1) + scale * exact
    small = (((scale - 1) - large) + scale * exact) + scale * (_tail(exact - lost, is_wide) - lost)
    d = large + small
    ratio = d / (d + 2)
    if not is_wide:  # what rounding took from the two sums would be a unit in the last place each
        lacks = small - (d - large)
        ratio = ratio + (lacks - ratio * (((2 - (d + 2)) + d) + lacks)) / (d + 2)
    return call(Fn.SIGNED, ratio, x)


def power(x: Expr, y: Expr, is_wide: bool) -> Expr:
    """x**y, with the special values of IEEE 754."""
    asked = _plain(y)
    if isinstance(asked, Const) and asked.value in (WIDE_PRODUCTS if is_wide else PRODUCTS):
        return _product(x, asked.value)
    size, held = abs(x), _held(y, NEVER_MORE)
    general = exp(_log(size, True) * held, True) if is_wide else _precise_power(size, held)
    zero = held - held  # nan if y is
    special = Select(asked < 0, Select(_is(size, 0), Const(math.inf), zero), size + zero)
    result = Select(_is(size, 0) | _is(size, math.inf), special, general)
    return _with_sign(result, _plain(x), asked)


FUNCTIONS: dict[Fn, Callable[..., Expr]] = {Fn.EXP: exp, Fn.LOG: log, Fn.TANH: tanh, Fn.POW: power}


def _is(x: Expr, value: float) -> Expr:
    return call(Fn.EQ, x, value)


def _plain(x: Expr) -> Expr:
    """A constant instead of one that was widened: what is asked of it is known when a rule is lowered."""
    return x.args[0] if isinstance(x, Call) and x.fn is Fn.WIDE and isinstance(x.args[0], Const) else x


def _held(x: Expr, limit: float) -> Expr:
    """Within limits of both signs; nan stays."""
    return Select(x > limit, Const(limit), Select(x < -limit, Const(-limit), x))


def _nearest(x: Expr) -> Expr:
    """The nearest whole number, below 2**51. What was added is not subtracted: IREE 3.13 takes that for x itself."""
    return (x + MAGIC) + -MAGIC


def _series(x: Expr, terms: Sequence[float]) -> Expr:
    """The polynomial of these coefficients, lowest first, by Horner's rule."""
    *others, highest = terms
    result: Expr = Const(highest)
    for term in reversed(others):
        result = result * x + term
    return result


def _tail(r: Expr, is_wide: bool) -> Expr:
    """e**r - 1 - r, for r of at most 0.35 in size."""
    return r * r * _series(r, EXP_TERMS[: 10 if is_wide else None])


def _scaled(x: Expr, n: Expr, is_wide: bool) -> Expr:
    """X * 2**n; in two steps where that can be denormal or infinite, so that it is rounded once."""
    if is_wide:
        return x * call(Fn.TWO_TO, n)
    half = _nearest(n * 0.5)
    return x * call(Fn.TWO_TO, half) * call(Fn.TWO_TO, n - half)


def _split(x: Expr, is_wide: bool) -> tuple[Expr, Expr]:
    """A number m between sqrt(1/2) and sqrt(2), and n, of a positive x = m * 2**n; none is denormal when widened."""
    if is_wide:
        n = call(Fn.EXPONENT, x * SQRT_2)
        return x * call(Fn.TWO_TO, -n), n
    is_small = x < 1
    x = x * Select(is_small, Const(BIG), Const(SMALL))
    n = call(Fn.EXPONENT, x * SQRT_2)
    return x * call(Fn.TWO_TO, -n), n + Select(is_small, Const(-PLACES), Const(PLACES))


def _log(x: Expr, is_wide: bool) -> Expr:
    """The logarithm of a positive finite number."""
    m, n = _split(x, is_wide)
    f = m - 1
    s = f / (f + 2)
    half, square = f * f * 0.5, s * s
    series = square * _series(square, LOG_TERMS[: 7 if is_wide else None])
    return n * LN2_40 - ((half - (s * (half + series) + n * LN2_REST)) - f)


def _product(x: Expr, n: float) -> Expr:
    """A power by multiplication."""
    square = x * x
    powers = {1.0: x, 2.0: square, 3.0: square * x, 4.0: square * square}
    return powers[n] if n > 0 else 1 / powers[-n]


def _with_sign(size: Expr, x: Expr, y: Expr) -> Expr:
    """x**y from the power of the size of x."""
    whole = _is_whole(abs(y))
    is_odd = whole & ~_is_whole(abs(y) * 0.5)
    result = Select((call(Fn.SIGNED, 1, x) < 0) & is_odd, -size, size)
    result = Select((x < 0) & (x > -math.inf) & ~whole, result * math.nan, result)
    return Select(_is(y, 0) | _is(x, 1), Const(1.0), result)


def _is_whole(size: Expr) -> Expr:
    """Whether a positive number is a whole one, as all are from 2**52 on."""
    return (size >= TWO_52) | call(Fn.EQ, (size + TWO_52) + -TWO_52, size)


def _precise_power(x: Expr, y: Expr) -> Expr:
    """x**y of a positive finite x in float64: 2**(y log2 x), of which the whole part takes up to 11 bits.

    So log2 x is needed with 11 bits more than a number has: as a sum of two, whose first has 26 bits, so that products
    are exact.
    """
    high, low = _precise_log2(x)
    first = call(Fn.UPPER, y)
    whole, rest = first * high, (y - first) * high + y * low
    is_out = abs(whole) > ENOUGH
    rest = Select(is_out, Const(0.0), rest)
    whole = _held(whole, ENOUGH)
    n = _nearest(whole + rest)
    whole = whole - n
    t = call(Fn.UPPER, whole + rest)
    u, v = t * LN2_26, (rest - (t - whole)) * LN2 + t * LN2_LOW
    r = u + v
    return _scaled(1 + (r + ((v - (r - u)) + _tail(r, False))), n, False)


def _precise_log2(x: Expr) -> tuple[Expr, Expr]:
    """log2 x of a positive finite x as a number of 26 bits and what it lacks.

    It is 2 / ln 2 times s + s**3 / 3 + s**5 / 5 + ..., s = (m - 1) / (m + 1), here as s (3 + s**2 + ...) / 3.
    """
    m, n = _split(x, False)
    f, inverse = m - 1, 1 / (m + 1)
    s, t = f * inverse, call(Fn.UPPER, m + 1)
    s_high = call(Fn.UPPER, s)
    s_low = ((f - s_high * t) - s_high * (m - (t - 1))) * inverse
    square, exact_square = s * s, s_high * s_high
    more = square * square * _series(square, POWER_TERMS) + s_low * (s_high + s)
    p_high = call(Fn.UPPER, exact_square + 3 + more)
    p_low = more - ((p_high - 3) - exact_square)
    u, v = s_high * p_high, s_low * p_high + p_low * s
    high = call(Fn.UPPER, u + v)
    low = v - (high - u)
    z_high, z_low = high * SCALE_26, high * SCALE_LOW + low * SCALE
    result = call(Fn.UPPER, (z_high + z_low) + n)
    return result, z_low - ((result - n) - z_high)
