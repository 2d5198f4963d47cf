"""Words: integers of 32 bits as processors have them. Numba would compute with 64. Importing this module imports Numba.

They are what `codegen/integers.py` says. Each is one instruction of LLVM's, but for the upper half of a product.
"""

# Numba reads signatures from the functions' return values, which its type hints do not describe.
# mypy: ignore-errors

from __future__ import annotations

from llvmlite import ir
from numba import float32, float64, types, uint32, uint64
from numba.extending import intrinsic

WORD, WIDE, FLOAT32 = ir.IntType(32), ir.IntType(64), ir.FloatType()


def _high(builder, x, y):
    """The upper half of a product, in the form that LLVM knows."""
    product = builder.mul(builder.zext(x, WIDE), builder.zext(y, WIDE))
    return builder.trunc(builder.lshr(product, WIDE(32)), WORD)


TWO = {
    "word_add": lambda builder, x, y: builder.add(x, y),
    "word_mul": lambda builder, x, y: builder.mul(x, y),
    "word_high": _high,
    "word_and": lambda builder, x, y: builder.and_(x, y),
    "word_or": lambda builder, x, y: builder.or_(x, y),
    "word_xor": lambda builder, x, y: builder.xor(x, y),
    "word_left": lambda builder, x, y: builder.shl(x, y),
    "word_right": lambda builder, x, y: builder.lshr(x, y),
    "word_signs": lambda builder, x, y: builder.ashr(x, y),
    "word_most": lambda builder, x, y: builder.select(builder.icmp_unsigned(">", x, y), x, y),
}


def _of_two(kind, make):
    """The function of two words, which are kept in a type, for an instruction."""

    @intrinsic
    def function(_context, x, y):
        return kind(kind, kind), lambda _context, builder, _signature, args: make(builder, *args)

    return function


def _from(kind, result, make):
    """The function from one type to another, or from that of what it is given."""

    @intrinsic
    def function(_context, x):
        given = x if kind is types.Float else kind
        return result(given), lambda _context, builder, _signature, args: make(builder, args[0])

    return function


def _lower(builder, x):
    """The word in 64 bits, of which the upper ones mean nothing."""
    return builder.and_(x, WIDE(0xFFFFFFFF))


LANES = {
    "lane_add": lambda builder, x, y: builder.add(x, y),
    "lane_mul": lambda builder, x, y: builder.mul(_lower(builder, x), _lower(builder, y)),
    "lane_high": lambda builder, x, y: builder.lshr(builder.mul(_lower(builder, x), _lower(builder, y)), WIDE(32)),
    "lane_or": lambda builder, x, y: builder.or_(x, y),
    "lane_and": lambda builder, x, y: builder.and_(x, y),
    "lane_right": lambda builder, x, y: builder.lshr(_lower(builder, x), y),
    "lane_xor": lambda builder, x, y: builder.xor(x, y),
    "lane_left": lambda builder, x, y: builder.shl(x, y),
}
"""The operations of a generator on words in 64 bits: a product has room there, whose halves are then next to free."""


WORDS = {
    **{name: _of_two(uint32, make) for name, make in TWO.items()},
    **{name: _of_two(uint64, make) for name, make in LANES.items()},
    "lane_of": _from(types.Float, uint64, lambda builder, x: builder.zext(builder.fptosi(x, WORD), WIDE)),
    "word_of": _from(types.Float, uint32, lambda builder, x: builder.fptosi(x, WORD)),
    "float32_of_word": _from(uint32, float32, lambda builder, x: builder.sitofp(x, FLOAT32)),
    "float64_of_word": _from(uint32, float64, lambda builder, x: builder.sitofp(x, ir.DoubleType())),
    "word_of_bits": _from(float32, uint32, lambda builder, x: builder.bitcast(x, WORD)),
    "number_of_word_bits": _from(uint32, float32, lambda builder, x: builder.bitcast(x, FLOAT32)),
}
"""By the names under which generated code finds them."""
