"""What lies beside a parameter: the error of its bfloat16, or a copy in bfloat16 for who computes with that.

A parameter of 24 bits is a float32 without its last 8: the bfloat16 that is nearest to it, which is what a model holds,
and in a byte beside it how many 256ths of its last place it is away from that. So it costs three bytes, and no error
means that it is what the model holds. New values are rounded to 24 bits by chance.

A copy is the nearest bfloat16 (ties to even) of the new value of a parameter that is kept in float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from .expr import Const, Expr, Select, Symbol, call
from .kinds import Kind
from .news import PARAMETER
from .ops import Fn
from .pieces import COPY, ERROR
from .walk import rewrite

SHORT, PLACES = 8, 24
"""Bits that a parameter lacks of float32, and those that it has."""

HALF = 16

Stores = dict[Symbol, Expr]


def read(values: Mapping[Symbol, Expr], kept: Mapping[str, str]) -> Stores:
    """Values in which a parameter is what its error says, too, where it has one."""
    if ERROR not in kept:
        return dict(values)
    whole = _whole()
    found = rewrite(values.values(), lambda e: whole if e is PARAMETER else e)
    return {target: found[value] for target, value in values.items()}


def written(stores: Stores, kept: Mapping[str, str]) -> Stores:
    """Stores with those of what lies beside the parameter."""
    if PARAMETER not in stores or not {ERROR, COPY} & kept.keys():
        return stores
    value = stores[PARAMETER]
    if ERROR in kept:
        return {**stores, **_parts(value, Symbol(Kind.DRAW, "parameter"))}
    return {**stores, _beside(COPY): nearest(value)}


def nearest(value: Expr) -> Expr:
    """A float32 as the nearest one that bfloat16 holds."""
    bits = call(Fn.WORD_BITS, value)
    odd = call(Fn.WORD_AND, call(Fn.WORD_RIGHT, bits, HALF), 1)
    moved = call(Fn.WORD_ADD, call(Fn.WORD_ADD, bits, (1 << HALF - 1) - 1), odd)
    upper = call(Fn.NUMBER_OF_BITS, call(Fn.WORD_AND, moved, 0xFFFF0000))
    return Select(call(Fn.EQ, value, value), upper, Const(math.nan))


def _beside(name: str) -> Symbol:
    return Symbol(Kind.SLOT, name)


def _whole() -> Expr:
    """A parameter of 24 bits, of its halves.

    Only who writes zeros into the model's array alone makes a zero with an error below it: it stays zero then.
    """
    error = _beside(ERROR)
    own = Select(call(Fn.EQ, PARAMETER, 0.0), call(Fn.MAXIMUM, error, 0.0), error)
    below = call(Fn.WORD_LEFT, call(Fn.WORD, own), SHORT)
    return call(Fn.NUMBER_OF_BITS, call(Fn.WORD_ADD, call(Fn.WORD_BITS, PARAMETER), below))


def _parts(value: Expr, random: Expr) -> Stores:
    """What is stored of a new value: the sum of its bits and 8 random ones below, without the last 8."""
    known = Select(call(Fn.EQ, value, value), value, Const(math.nan))  # of one kind of nan, whose bits stay one
    chance = call(Fn.WORD_RIGHT, random, HALF - SHORT)
    bits = call(Fn.WORD_RIGHT, call(Fn.WORD_ADD, call(Fn.WORD_BITS, known), chance), SHORT)
    upper = call(Fn.WORD_RIGHT, call(Fn.WORD_ADD, bits, 1 << SHORT - 1), SHORT)
    lower = call(Fn.WORD_SIGNS, call(Fn.WORD_LEFT, bits, PLACES), PLACES)
    seen = call(Fn.NUMBER_OF_BITS, call(Fn.WORD_LEFT, upper, HALF))
    return {PARAMETER: seen, _beside(ERROR): call(Fn.NUMBER, lower)}
