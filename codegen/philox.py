"""Philox4x32: four random words of a counter and a key (Salmon, Moraes, Dror & Shaw, SC'11), as operations on words.

Nothing is kept from one call to the next: whoever knows counter and key has the words, in any order and on any device.
"""

from __future__ import annotations

from collections.abc import Sequence

from .expr import Expr, Symbol, call
from .kinds import KEY, SEED, Kind
from .ops import Fn

ROUNDS = 10
"""As published; of 7 on no test of randomness tells the words from random ones."""

HALF = 16
"""Bits of half a word. Halves are exact in float32, so they come to a loop as its other numbers do."""

COUNT = 2.0**HALF
"""What half a word counts to."""

KEYS = {Kind.STEP: SEED, Kind.TENSOR: KEY}

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
"""What words are multiplied with in a round, and what is added to the key after it."""


def philox(counter: Sequence[Expr], key: Sequence[Expr], rounds: int = ROUNDS) -> tuple[Expr, ...]:
    """Four words, of a counter of four words and a key of two."""
    a, b, c, d = counter
    first, second = key
    for i in range(rounds):
        if i:
            first, second = call(Fn.WORD_ADD, first, WEYL[0]), call(Fn.WORD_ADD, second, WEYL[1])
        a, b, c, d = (
            _mixed(call(Fn.WORD_HIGH, c, MULTIPLIERS[1]), b, first),
            call(Fn.WORD_MUL, c, MULTIPLIERS[1]),
            _mixed(call(Fn.WORD_HIGH, a, MULTIPLIERS[0]), d, second),
            call(Fn.WORD_MUL, a, MULTIPLIERS[0]),
        )
    return a, b, c, d


def counter_of_step() -> Expr:
    """The number of the update, as the word of a counter."""
    step = Symbol(Kind.STEP, "step")
    low = step % COUNT
    return _word(low, (step - low) / COUNT % COUNT)


def keys() -> tuple[Expr, Expr]:
    """The seed, and what tells variables apart, as the words of a key."""
    seed, key = (_word(*(Symbol(kind, half) for half in halves)) for kind, halves in KEYS.items())
    return seed, key


def _word(low: Expr, high: Expr) -> Expr:
    """The word of a number that the host has, from its halves."""
    return call(Fn.WORD_OR, call(Fn.WORD, low), call(Fn.WORD_LEFT, call(Fn.WORD, high), HALF))


def _mixed(high: Expr, other: Expr, key: Expr) -> Expr:
    return call(Fn.WORD_XOR, call(Fn.WORD_XOR, high, other), key)
