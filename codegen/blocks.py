"""Blocks: numbers in 8 bits each, as parts of the largest size in their block.

Codes have equal distances of the square root: code k of `most` says that a number is (k / most)**2 of its block's
scale, which lies beside the codes as a float32. Between two codes chance decides, such that the number stays what it is
on average, without a division.

A block of zeros stays one, and the largest number of a block stays what it is, a block of equal ones thus, too. What is
below `TINY` becomes zero. An inf or nan makes nan of its whole block. Where no number is below zero a code has no sign;
what is below zero then becomes zero.

Backends know words, numbers and their kernel's `blocks`: all of the format is here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from .dtypes import dtype, storage
from .expr import Const, Expr, Select, Symbol, call
from .kinds import Kind
from .ops import Fn
from .parts import Slot
from .pieces import scale_of
from .walk import rewrite, walk

TINY = 2.0**-110
"""Of smaller scales the inverse would be no number of float32."""

HALF = 16
SIZE_BITS, SIGN_BIT = 0x7FFFFFFF, 0x80000000
BETWEEN = 0x3F800000 | 1 << 22 - HALF
"""The bits of 1, and of half a step of what random bits make of it."""
SURE = 2.0**-14
"""The least chance that counts: that of less is what rounding leaves, and takes no number away from its own code."""

VALUE, RANDOM, LARGEST = (Symbol(Kind.DRAW, name) for name in ("_value", "_random", "_largest"))
"""What is stored, 16 random bits for it, and the largest word of its block."""


def chosen(kept: Mapping[str, str], slots: Mapping[str, Slot]) -> dict[str, str]:
    """Storages by name, those without sign for slots that are never below zero. Raises OptionError for unknown ones."""
    found = {}
    for name, wanted in kept.items():
        if name == "gradient" or name.startswith("x."):
            dtype(wanted)
        is_free = name in slots and slots[name].nonnegative
        found[name] = (storage(wanted).unsigned if is_free else "") or wanted
    return found


def is_of_block(e: Expr) -> bool:
    """Whether a part of a code is the same for its whole block."""
    leaves = [node for node in walk(e) if not node.children]
    return bool(e.children) and not {VALUE, RANDOM} & {*leaves}


def decoded(values: Mapping[Symbol, Expr], kept: Mapping[str, str]) -> dict[Symbol, Expr]:
    """Stores, with what codes mean wherever slots are read that are kept in blocks."""
    coded = {name: storage(one) for name, one in kept.items() if storage(one).is_coded}
    if not coded:
        return dict(values)

    def meant(e: Expr) -> Expr:
        if not isinstance(e, Symbol) or e.kind is not Kind.SLOT or e.name not in coded:
            return e
        row = coded[e.name]
        size = e if row.is_unsigned else call(Fn.ABS, e)
        return e * size * (1.0 / row.most**2) * Symbol(Kind.SLOT, scale_of(e.name))

    made = rewrite(values.values(), meant)
    return {target: made[value] for target, value in values.items()}


def bounded(value: Expr, kept: str) -> Expr:
    """What of a number a storage can have: without sign nothing below zero, but nan."""
    return Select(value < 0.0, Const(0.0), value) if storage(kept).is_unsigned else value


def size() -> Expr:
    """A number's size as a word: of two sizes the larger has the larger word, and that of nan is the largest."""
    return call(Fn.WORD_AND, call(Fn.WORD_BITS, VALUE), SIZE_BITS)


def scale() -> Expr:
    """The scale of a block."""
    found = call(Fn.NUMBER_OF_BITS, LARGEST)
    return Select(found < math.inf, Select(found >= TINY, found, Const(0.0)), Const(math.nan))


def inverse(most: int) -> Expr:
    """What a number of a block is multiplied with: the next after the quotient, so that the largest has all of it."""
    largest, quotient = scale(), call(Fn.WORD_BITS, float(most**2) / scale())
    return Select(largest > 0.0, call(Fn.NUMBER_OF_BITS, call(Fn.WORD_ADD, quotient, 1)), Const(0.0))


def code(most: int, has_sign: bool) -> Expr:
    """The code of a number, a word: the lower of the two beside it, or the upper one.

    Of codes k and k + 1 the upper one is right if the random u is below (part - k**2) / (2 k + 1), which is where
    (k + u)**2 <= part - u (1 - u). So a root has the chance in it, and what it lacks to the next whole number is added.
    In float32 a part of exactly k**2 may be a bit more, and the sum of a root and what is nearly 1 may be rounded up.
    """
    absolute = call(Fn.ABS, VALUE) if has_sign else VALUE
    chance = call(Fn.NUMBER_OF_BITS, call(Fn.WORD_OR, call(Fn.WORD_LEFT, RANDOM, 23 - HALF), BETWEEN))  # 1 + u
    lacking = Select(2.0 - chance < 1.0 - SURE, 2.0 - chance, Const(1.0 - SURE))
    under = absolute * inverse(most) - (lacking - lacking * lacking)
    found = call(Fn.SQRT, Select(under > 0.0, under, Const(0.0))) + lacking  # without nan, too
    found = Select(found < float(most), found, Const(float(most)))
    if has_sign:
        sign = call(Fn.WORD_AND, call(Fn.WORD_BITS, VALUE), SIGN_BIT)
        found = call(Fn.NUMBER_OF_BITS, call(Fn.WORD_OR, call(Fn.WORD_BITS, found), sign))
    return call(Fn.WORD, found)
