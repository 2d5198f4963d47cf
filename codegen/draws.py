"""Random numbers of a rule, as expressions of words: what `normal()` and `uniform()` become.

Element i of a tensor has word i % 4 of the four that Philox4x32-10 makes, once for four elements, of

    counter   i // 4; the draw's place among those of the rule; PURPOSE; the number of the update
    key       the seed; what tells variables apart, which follows from their names

It follows from nothing else: not from threads, rows, or other tensors. Halves of words are exact in float32, so
they come to a loop as its other numbers do. In a tensor of more than 2**34 elements words repeat.

An expression has a word as a leaf, which is the draw itself; a kernel has it of its generator (see `writer.py`).
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Sequence

from .expansions import log
from .expr import Const, Expr, Select, Symbol, call
from .kinds import Kind
from .ops import Fn
from .philox import counter_of_step, keys, philox

PURPOSE = zlib.crc32(b"draws")
"""In the counter, beside what is drawn to round by."""

EACH = 4
"""Elements that one call has words for."""

CALL, PLACE = Symbol(Kind.DRAW, "_four"), Symbol(Kind.DRAW, "_place")
CALLS = TURNS = 1
"""All calls have words of their own: whoever sees them may compare any number of them."""

COUNTERS = (CALL, PLACE)
"""The words that count the calls for a tensor, and that tell draws of a rule apart."""

HALVES, NEAR_ONE = 2.0**-31, 2.0**-24

ROOT_HALF = 0x3F3504F3
"""The bits of the square root of 1/2 in float32; a number's exponent is counted from there."""

LOG_TERMS: tuple[float, ...] = (0.33333331174, -0.24999993993, 0.20000714765, -0.16668057665, 0.14249322787)
LOG_TERMS += (-0.12420140846, 0.1167699874, -0.1151461031, 0.070376836292)
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
"""(log(1 + f) - f + f**2 / 2) / f**3 for float32 (Moshier's Cephes), and ln 2, whose first part has few bits."""

CENTRE: tuple[float, ...] = (1.50140941, 0.246640727, -0.00417768164, -0.00125372503, 0.00021858087)
CENTRE += (-4.39150654e-06, -3.5233877e-06, 3.43273939e-07, 2.81022636e-08)
TAIL: tuple[float, ...] = (4.0064350252, 1.4165906977, 0.013330261828, -0.010896044113, 0.0082285152088)
TAIL += (-0.0048490418153, 0.0016235143362, -0.00015702558167, -3.0170355005e-05)
"""Of x, the inverse error function in w - 2.5 (Giles 2010), and what a normal number is in sqrt(w) - 3, fitted up to
the last word; w = -log(1 - x**2).
"""


@functools.cache
def drawn_words() -> tuple[Expr, ...]:
    """The four words of a call, one for each of four elements."""
    return philox((CALL, PLACE, Const(float(PURPOSE)), counter_of_step()), keys())


def added_words() -> tuple[Expr, ...]:
    """Nothing."""
    return ()


def stream_of(draw: str) -> int:
    """The word that tells a draw from the others of a rule: its place, which its name is."""
    return int(draw)


def drawn(fn: Fn, draw: Symbol, compute: str) -> Expr:
    """The number that an operation makes of a draw, in a program that computes in float32 or float64."""
    return normal(draw, compute) if fn is Fn.NORMAL else uniform(draw)


def uniform(word: Expr) -> Expr:
    """From 0 to below 1, a multiple of 2**-24."""
    return call(Fn.NUMBER, call(Fn.WORD_RIGHT, word, 8)) * NEAR_ONE


def normal(word: Expr, compute: str) -> Expr:
    """The normal number below which a word's share of all is: one of 2**32, symmetric, of at most 6.34 in size.

    Its size is within 1e-6 of itself of the inverse of the distribution. What x lacks to 1 is computed apart, since
    float32 has not the digits for the difference.
    """
    x = (call(Fn.NUMBER, word) + 0.5) * HALVES
    lacking = call(Fn.WORD_XOR, call(Fn.WORD_XOR, word, call(Fn.WORD_SIGNS, word, 31)), (1 << 31) - 1)
    rest = (call(Fn.NUMBER, lacking) + 0.5) * HALVES
    product = rest * (2 - rest)
    w = -(_log_of_float32(product) if compute == "float32" else log(product, False))
    is_central = w < 5
    t = Select(is_central, w - 2.5, call(Fn.SQRT, w) - 3)
    pairs = zip(CENTRE, TAIL, strict=True)
    terms = [Select(is_central, Const(a * math.sqrt(2)), Const(b)) for a, b in pairs]
    return _series(t, terms) * x


def _log_of_float32(x: Expr) -> Expr:
    """The logarithm of a positive normal number below 2, to the last digit but one of 1."""
    bits = call(Fn.WORD_ADD, call(Fn.WORD_BITS, x), 0x3F800000 - ROOT_HALF)
    n = call(Fn.NUMBER, call(Fn.WORD_RIGHT, bits, 23)) - 127
    mantissa = call(Fn.WORD_ADD, call(Fn.WORD_AND, bits, (1 << 23) - 1), ROOT_HALF)
    f = call(Fn.NUMBER_OF_BITS, mantissa) - 1
    square = f * f
    series = _series(f, list(map(Const, LOG_TERMS))) * f * square
    return (f + ((series + n * LN2_LOW) - square * 0.5)) + n * LN2_HIGH


def _series(x: Expr, terms: Sequence[Expr]) -> Expr:
    """The polynomial of these coefficients, lowest first, by Horner's rule."""
    *others, result = terms
    for term in reversed(others):
        result = result * x + term
    return result
