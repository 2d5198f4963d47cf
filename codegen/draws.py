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
import zlib
from collections.abc import Sequence

from .expansions import LOG2_E, log
from .expr import Const, Expr, Symbol, call
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

DIGITS = 23
"""Of a float32, in its bits below the exponent."""

PLACES = 62
"""Binary places by which the product of both shares is too large, in which nothing is scaled."""

LOG_TERMS = (-1.4427135, 0.72113186, -0.479348, 0.36748996, -0.32215482, 0.20659177)
"""-log2(1 + f) / f for f from sqrt(1/2) - 1 to sqrt(2) - 1, whose product with f is within 2.2e-6."""

NUMERATOR: tuple[float, ...] = (7767654.5, 1943441.25, 267485.84, 24509.672, 1429.7966, 29.043869)
DENOMINATOR: tuple[float, ...] = (6197691.0, 425986.47, 97283.4, 4705.46, 242.90295, 1.0)
"""In w = -log2(1 - x**2), two polynomials whose quotient is within 1.2e-7 of what a normal number is in x: x is twice
the share of numbers below it, less 1. Fitted up to the last word; all terms are positive, so that none cancels.
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
    """The normal number below which a word's share of all is: one of 2**32, of at most 6.34 in size.

    They are symmetric: in float32 up to the last digit, since a long word is rounded before 0.5 is added to it.
    Its size is within 1e-6 of itself of the inverse of the distribution. What x lacks to 1 is computed apart, since
    float32 has not the digits for the difference. Nothing is chosen between, and divided once.
    """
    x = call(Fn.NUMBER, word) + 0.5
    lacking = call(Fn.WORD_XOR, call(Fn.WORD_XOR, word, call(Fn.WORD_SIGNS, word, 31)), (1 << 31) - 1)
    rest = call(Fn.NUMBER, lacking) + 0.5
    product = rest * (2.0**32 - rest)
    w = _places_of_float32(product) if compute == "float32" else log(product * 2.0**-PLACES, False) * -LOG2_E
    return _series(w, [HALVES * term for term in NUMERATOR]) * x / _series(w, DENOMINATOR)


def _places_of_float32(x: Expr) -> Expr:
    """The binary logarithm of 2**PLACES / x, for x from 2**31 to 2**PLACES."""
    bits = call(Fn.WORD_ADD, call(Fn.WORD_BITS, x), -(ROOT_HALF + (PLACES << DIGITS)) % 2**32)
    n = call(Fn.NUMBER, call(Fn.WORD_SIGNS, bits, DIGITS))
    mantissa = call(Fn.WORD_ADD, call(Fn.WORD_AND, bits, (1 << DIGITS) - 1), ROOT_HALF)
    f = call(Fn.NUMBER_OF_BITS, mantissa) - 1
    return _series(f, LOG_TERMS) * f - n


def _series(x: Expr, terms: Sequence[float]) -> Expr:
    """The polynomial of these coefficients, lowest first, by Horner's rule."""
    *others, highest = terms
    result: Expr = Const(highest)
    for term in reversed(others):
        result = result * x + term
    return result
