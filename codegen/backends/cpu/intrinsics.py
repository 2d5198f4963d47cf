"""The few operations that generated CPU code needs and Numba does not offer, made with LLVM builders (as `strips.py`).

Arithmetic goes straight to LLVM's intrinsics, which the vectoriser understands. Addresses come from a table of
integers, so arrays are plain pointers here: no array structures, no reference counts, no bounds.
Importing this module imports Numba.
"""

# Numba reads signatures from the functions' return values, which its type hints do not describe.
# mypy: ignore-errors

from __future__ import annotations

from llvmlite import ir
from numba import float32, float64, int64, types, uint32
from numba.core import cgutils
from numba.extending import intrinsic

from ...ops import FUNCTIONS
from . import folds
from .abreast import abreast
from .claims import BACK, StretchCell
from .strips import STRIPS
from .words import WORDS

INT64 = ir.IntType(64)


def _function(name):
    """A function of a number: `llvm.<name>`."""

    def generate(_context, builder, _signature, args):
        return builder.call(builder.module.declare_intrinsic(f"llvm.{name}", [args[0].type]), args)

    return intrinsic(lambda _context, x: (x(x), generate))


@intrinsic
def bits_of(_context, number):
    """The bits of a float64 as an integer; `number_of` is its inverse."""
    return int64(float64), lambda _context, builder, _signature, args: builder.bitcast(args[0], INT64)


@intrinsic
def number_of(_context, bits):
    """The float64 of some bits."""
    return float64(int64), lambda _context, builder, _signature, args: builder.bitcast(args[0], ir.DoubleType())


def _pointer_to(element):
    """An intrinsic that reads an integer as the address of `element`s."""

    @intrinsic
    def pointer(_context, address):
        def generate(context, builder, _signature, args):
            return builder.inttoptr(args[0], context.get_value_type(element).as_pointer())

        return types.CPointer(element)(address), generate

    return pointer


at_float32, at_float64, at_int64 = map(_pointer_to, (float32, float64, int64))


def _buffer_of(element, kept):
    """An intrinsic that makes a buffer of `count` (a literal) elements on the stack.

    Nothing can alias it, so loops over it vectorise.
    """

    @intrinsic
    def buffer(_context, count):
        if not isinstance(count, types.IntegerLiteral):
            return None
        width = count.literal_value

        def generate(_context, builder, _signature, _args):
            buffer = cgutils.alloca_once(builder, kept, size=width)
            buffer.align = 64  # a vector that straddles two cache lines costs twice
            return buffer

        return types.CPointer(element)(count), generate

    buffer.prefer_literal = True
    return buffer


lanes, singles = _buffer_of(float64, ir.DoubleType()), _buffer_of(float32, ir.FloatType())
words = _buffer_of(uint32, ir.IntType(32))


@intrinsic
def half(_context, pointer, place):
    """The `place`-th half of a buffer of words, the lower one of each first, as a word."""

    def generate(_context, builder, _signature, args):
        halves = builder.bitcast(args[0], ir.IntType(16).as_pointer())
        return builder.zext(builder.load(builder.gep(halves, [args[1]])), ir.IntType(32))

    return uint32(pointer, int64), generate


@intrinsic
def take_turns(_context, pointer, begin, added, stride, turns):
    """Store after `stride` words from `begin` on these with others added, and so on; `stride`, `turns` are literals.

    In vectors at once: LLVM takes a loop of so few for one that is better written out, word by word.
    """
    if not (isinstance(stride, types.IntegerLiteral) and isinstance(turns, types.IntegerLiteral)):
        return None
    width, times = stride.literal_value, turns.literal_value

    def generate(_context, builder, _signature, args):
        vector = ir.VectorType(ir.IntType(32), width).as_pointer()

        def at(pointer, place):
            return builder.bitcast(builder.gep(pointer, [place]), vector)

        value, step = builder.load(at(args[0], args[1]), align=4), builder.load(at(args[2], INT64(0)), align=4)
        for turn in range(1, times):
            value = builder.add(value, step)
            builder.store(value, at(args[0], builder.add(args[1], INT64(turn * width))), align=4)
        return INT64(0)

    return int64(pointer, int64, added, stride, turns), generate


take_turns.prefer_literal = True


@intrinsic
def fill(_context, pointer, count, value, used):
    """Set `count` (a literal) float64 to a value, by stores: LLVM must not see that it is zero, or it calls memset.

    The first few alone, where no more are `used`; see `folds`.
    """
    if not isinstance(count, types.IntegerLiteral):
        return None
    width = count.literal_value

    def generate(_context, builder, _signature, args):
        pointer, _, value, used = args
        bits = builder.bitcast(value, INT64)
        hidden = builder.asm(ir.FunctionType(INT64, [INT64]), "", "=r,0", [bits], side_effect=False)
        value = builder.bitcast(hidden, ir.DoubleType())

        def store(places):
            for i in places:
                builder.store(value, builder.gep(pointer, [ir.IntType(32)(i)]))

        store(range(folds.FEW))
        with builder.if_then(builder.icmp_unsigned(">", used, INT64(folds.FEW))):
            store(range(folds.FEW, width))
        return cgutils.get_null_value(INT64)

    return int64(pointer, count, float64, used), generate


fill.prefer_literal = True


@intrinsic
def take_claim(_context, stretch, way):
    """A claim that nobody else has, from this end of a stretch (an address, see `claims`); -1 if there is none left."""

    def generate(_context, builder, _signature, args):
        cells = builder.inttoptr(args[0], INT64.as_pointer())

        def cell(entry):
            return builder.gep(cells, [INT64(entry)])

        taken = builder.atomic_rmw("add", cell(StretchCell.TAKEN), args[1], "seq_cst")
        front, back = builder.and_(taken, INT64(BACK - 1)), builder.lshr(taken, INT64(32))
        first, count = builder.load(cell(StretchCell.FIRST)), builder.load(cell(StretchCell.COUNT))
        from_back = builder.sub(builder.sub(count, INT64(1)), back)
        place = builder.select(builder.icmp_unsigned("<", args[1], INT64(BACK)), front, from_back)
        is_left = builder.icmp_unsigned("<", builder.add(front, back), count)
        return builder.select(is_left, builder.add(first, place), INT64(-1))

    return int64(int64, int64), generate


BY_NAME = {
    **{name: _function(name) for name in FUNCTIONS},
    **{"bits_of": bits_of, "number_of": number_of},
    **folds.BY_NAME,
    **STRIPS,
    **WORDS,
    **{"take_claim": take_claim, "fill": fill, "lanes": lanes, "singles": singles, "words": words, "half": half},
    **{"abreast": abreast, "take_turns": take_turns},
    **{"at_float32": at_float32, "at_float64": at_float64, "at_int64": at_int64},
}
"""The names under which generated code finds these operations."""
