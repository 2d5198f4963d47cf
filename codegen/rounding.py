"""Rounding by chance: what is stored with fewer bits than it is computed with becomes one of its two neighbours.

The chance of each is such that the number stays what it is on average: rounding to nearest would forget what changes by
less than half a step, weight decay say, however often it does. The bits come from Philox, keyed by the seed and the
variable's name, counted by the step, the array and the element: the same on every backend, in any order. One call has
them for eight elements, and makes those of seven more calls.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping

from .axes import Axes
from .blocks import bounded
from .dtypes import BLOCK, storage
from .errors import OptionError
from .expr import Const, Expr, Select, Symbol, call
from .kinds import Kind, Space
from .ops import Fn
from .parts import Slot
from .philox import counter_of_step, keys, philox
from .program import Array, Kernel, scale_of

EACH = 8
"""Elements that one call has bits for."""

ROUNDS = 7
"""Of Philox: as few as no test tells from random ones (Salmon et al. 2011, table 2)."""

CALLS, TURNS = 8, 8
"""On processors Philox was most of the work that a slot of bfloat16 is. So of 64 calls eight have words of their own,
the others sums of these, each with multiples of the next one. Any two of the 512 elements that have them are as good
as independent (Carter & Wegman 1979; where turns are 2, 4 or 6 apart words share their last bit or two of 32), three
in a row of turns are not: a mean of roundings has the variance of independent ones. In every step an element has new
bits."""

BITS = 3
"""Of the place of a call among `CALLS`, and of its turn."""

CALL, STREAM = Symbol(Kind.DRAW, "_call"), Symbol(Kind.DRAW, "_stream")
COUNTERS = (CALL, STREAM)
"""The words that count the calls for an array, and that tell arrays apart."""

UPPER = 0xFFFF0000
PURPOSE = zlib.crc32(b"rounding")
"""In the counter, beside what else is drawn."""


def bfloat16(value: Expr, random: Expr) -> Expr:
    """A float32 as one that bfloat16 holds: its bits and a random half below, of which the upper half is kept."""
    sum_of_bits = call(Fn.WORD_ADD, call(Fn.WORD_BITS, value), random)
    kept = call(Fn.NUMBER_OF_BITS, call(Fn.WORD_AND, sum_of_bits, UPPER))
    return Select(call(Fn.EQ, value, value), kept, Const(math.nan))


CODECS: Mapping[str, Callable[[Expr, Expr], Expr]] = {"bfloat16": bfloat16}
"""What storages make of a number, and of 16 random bits; of those in blocks see `blocks.py`."""


def rounded(stores: Mapping[Symbol, Expr], kept: Mapping[str, str], compute: str) -> dict[Symbol, Expr]:
    """Stores of what their storages hold. Raises OptionError where a program computes in another type than they know.

    kept: the storage of each array, by name; others are kept as they are computed.
    """
    made = dict(stores)
    for target, value in stores.items():
        name = "parameter" if target.kind is Kind.PARAMETER else target.name
        row = storage(kept.get(name, compute))
        if not row.is_rounded:
            continue
        if row.compute != compute:
            raise OptionError(
                f"{row.name} is a storage of what is computed in {row.compute}. Received: {name!r} in {row.name}, "
                f"where the program computes in {compute}. Keep {name!r} in {compute}, or use {row.compute} variables."
            )
        made[target] = bounded(value, row.name) if row.is_coded else CODECS[row.name](value, Symbol(Kind.DRAW, name))
    return made


def arrays_of(
    kernels: Iterable[Kernel], names: Iterable[str], slots: Mapping[str, Slot], dtype: str, kept: Mapping[str, str]
) -> Iterator[Array]:
    """Those of some arrays that kernels touch, in order; slots are kept as they are computed, or as `kept` says."""
    usual = storage(dtype).compute
    touched = {array for kernel in kernels for array in (*kernel.arrays, *kernel.numbers)}
    for name in names:
        if name in touched:
            space = slots[name].space if name in slots else Space.ELEMENT
            own = kept.get(name, usual if name in slots else dtype)
            own = "float64" if space in (Space.TENSOR, Space.ALL) else own
            yield Array(name, storage(own).name, space)
    for name in slots:
        if scale_of(name) in touched:
            yield Array(scale_of(name), usual, Axes(length=BLOCK))


def stream_of(array: str) -> int:
    """The word that tells an array from the others of a variable."""
    return zlib.crc32(array.encode())


@functools.cache
def drawn_words() -> tuple[Expr, ...]:
    """The four words of a call, which have the bits of eight elements: each its lower half, then its upper one."""
    turn = call(Fn.WORD_AND, call(Fn.WORD_RIGHT, CALL, BITS), TURNS - 1)
    pairs = zip(own_words(), added_words(), strict=True)
    return tuple([call(Fn.WORD_ADD, own, call(Fn.WORD_MUL, turn, added)) for own, added in pairs])


def added_words() -> tuple[Expr, ...]:
    """What is added to the words of a call from turn to turn: each time the next one."""
    first, *others = own_words()
    return (*others, first)


@functools.cache
def own_words() -> tuple[Expr, ...]:
    """The words of Philox, which calls of all turns have in common."""
    group = call(Fn.WORD_LEFT, call(Fn.WORD_RIGHT, CALL, 2 * BITS), BITS)
    own = call(Fn.WORD_OR, group, call(Fn.WORD_AND, CALL, CALLS - 1))
    counter = (own, STREAM, Const(float(PURPOSE)), counter_of_step())
    return philox(counter, keys(), ROUNDS)
