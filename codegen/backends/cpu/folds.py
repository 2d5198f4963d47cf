"""Many numbers as one, in vectors: lanes as a binary tree, and runs of any length. Importing this module imports Numba.

LLVM re-associates no sum by itself, so that a loop over the elements of a run would wait for each addition.
"""

# Numba reads signatures from the functions' return values, which its type hints do not describe.
# mypy: ignore-errors

from __future__ import annotations

from llvmlite import ir
from numba import float64, int64, types
from numba.core import cgutils
from numba.extending import intrinsic

from ...ops import JOINS, Fn, ReduceOp
from .strips import Strip

INT64, FLOAT, DOUBLE = ir.IntType(64), ir.FloatType(), ir.DoubleType()

WIDE = 32
"""Elements of a run that are joined at a time, each in a lane: enough that no processor waits for the one before."""

FEW = 32
"""So many lanes are used by themselves, by rows that have no more elements: a fold of 128 takes as long as fifty of
their elements do (measured)."""

EACH = 16
"""Elements that are joined at a time each to a number of its own: with more there are too few registers (measured)."""


def _chosen(compare):
    """The first of two where it compares so, or is nan; otherwise the second."""

    def combine(builder, low, high):
        keep = builder.or_(builder.fcmp_ordered(compare, low, high), builder.fcmp_unordered("!=", low, low))
        return builder.select(keep, low, high)

    return combine


COMBINED = {
    Fn.ADD: lambda builder, low, high: builder.fadd(low, high),
    Fn.MAXIMUM: _chosen(">="),
    Fn.MINIMUM: _chosen("<="),
}
"""For each operation that joins partial results, the same of numbers or vectors."""


def _size(builder, value):
    kind, width = (
        (value.type.element, f"v{value.type.count}") if isinstance(value.type, ir.VectorType) else (value.type, "")
    )
    form = ir.FunctionType(value.type, [value.type])
    return builder.call(
        cgutils.get_or_insert_function(builder.module, form, f"llvm.fabs.{width}{kind.intrinsic_name}"), [value]
    )


def _is_finite(builder, value):
    one, zero = _all(value.type, 1.0), _all(value.type, 0.0)
    return builder.select(builder.fcmp_ordered("<", _size(builder, value), _all(value.type, float("inf"))), one, zero)


ELEMENTS = {
    None: lambda builder, value: value,
    Fn.SQUARE: lambda builder, value: builder.fmul(value, value),
    Fn.ABS: _size,
    Fn.FINITE: _is_finite,
}
"""What becomes of an element before it is joined, of one or of a vector of them."""


def _all(kind, value):
    """A constant of a type: a number, or a vector of equal ones."""
    return ir.Constant(kind, [value] * kind.count if isinstance(kind, ir.VectorType) else value)


def _tree(builder, value, combine):
    """A vector of a power of two of numbers as one, as a binary tree over halves."""
    return builder.extract_element(_halved(builder, value, 1, combine), ir.IntType(32)(0))


def _halved(builder, value, end, combine):
    """The tree down to a vector of `end` numbers."""
    width = value.type.count
    while width > end:
        width //= 2
        low, high = (
            builder.shuffle_vector(
                value,
                ir.Constant(value.type, ir.Undefined),
                ir.Constant(ir.VectorType(ir.IntType(32), width), [start + i for i in range(width)]),
            )
            for start in (0, width)
        )
        value = combine(builder, low, high)
    return value


def _fold(combine):
    """An intrinsic that folds `count` (a literal power of two) float64 to one, of which the first `used` are other than
    they began as: at most FEW of those are folded alone. Nothing becomes other by what numbers begin as.
    """

    @intrinsic
    def fold(_context, pointer, count, used):
        if not isinstance(count, types.IntegerLiteral):
            return None
        width = count.literal_value

        def generate(_context, builder, _signature, args):
            def first(number):
                vector = ir.VectorType(DOUBLE, number).as_pointer()
                return builder.load(builder.bitcast(args[0], vector), align=8)

            with builder.if_else(builder.icmp_unsigned(">", args[2], INT64(FEW))) as (many, few):
                with many:
                    halved = _halved(builder, first(width), FEW, combine)
                    behind_many = builder.block
                with few:
                    alone = first(FEW)
                    behind_few = builder.block
            value = builder.phi(halved.type)
            value.add_incoming(halved, behind_many)
            value.add_incoming(alone, behind_few)
            return _tree(builder, value, combine)

        return float64(pointer, count, used), generate

    fold.prefer_literal = True
    return fold


class _Numbers:
    """Numbers behind a pointer of some type of Numba's, from a place on, in vectors or one by one."""

    def __init__(self, builder, kind, pointer, begin):
        self.builder, self.kind, self.pointer, self.begin = builder, kind, pointer, begin
        self.number = pointer.type.pointee

    def _at(self, place, width):
        form = ir.VectorType(self.number, width) if width else self.number
        place = self.builder.gep(self.pointer, [self.builder.add(self.begin, place)])
        return self.builder.bitcast(place, form.as_pointer())

    def _marked(self, access):
        access.align = 4 if self.number == FLOAT else 8
        if isinstance(self.kind, Strip):
            self.kind.mark(self.builder.module, access)
        return access

    def load(self, place, width, number):
        """The one at a place, or a vector of `width`; as a number of another type."""
        found = self._marked(self.builder.load(self._at(place, width)))
        wanted = ir.VectorType(number, width) if width else number
        return found if found.type == wanted else self.builder.fpext(found, wanted)

    def store(self, value, place, width):
        """The same for new values."""
        self._marked(self.builder.store(value, self._at(place, width)))


def _in_turns(builder, count, width, work):
    """`work(place, width)` for vectors of so many numbers, then `work(place, 0)` for each that is left."""
    turns = builder.udiv(count, INT64(width))
    with cgutils.for_range(builder, turns) as turn:
        work(builder.mul(turn.index, INT64(width)), width)
    done = builder.mul(turns, INT64(width))
    with cgutils.for_range(builder, builder.sub(count, done)) as left:
        work(builder.add(done, left.index), 0)


def _whole(op):
    """An intrinsic that reduces numbers from a place on to one: WIDE lanes as a tree, then what is left.

    What chooses one of two loses nothing in the type that the numbers have.
    """
    combine, element = COMBINED[op.join], ELEMENTS[op.element]

    @intrinsic
    def whole(_context, numbers, begin, count):
        def generate(_context, builder, signature, args):
            kept = _Numbers(builder, signature.args[0], *args[:2])
            number = DOUBLE if op.join is Fn.ADD else kept.number
            lanes = cgutils.alloca_once_value(builder, _all(ir.VectorType(number, WIDE), op.identity))
            rest = cgutils.alloca_once_value(builder, _all(number, op.identity))

            def join(place, width):
                into = lanes if width else rest
                value = element(builder, kept.load(place, width, number))
                builder.store(combine(builder, builder.load(into), value), into)

            _in_turns(builder, args[2], WIDE, join)
            with builder.if_then(builder.icmp_unsigned(">=", args[2], INT64(WIDE))):
                found = _tree(builder, builder.load(lanes), combine)
                builder.store(combine(builder, found, builder.load(rest)), rest)
            found = builder.load(rest)
            return found if number == DOUBLE else builder.fpext(found, DOUBLE)

        return float64(numbers, int64, int64), generate

    return whole


def _each(op):
    """An intrinsic that joins to float64 from a place on numbers from another place on, each to one."""
    combine, element = COMBINED[op.join], ELEMENTS[op.element]

    @intrinsic
    def each(_context, totals, place, numbers, begin, count):
        def generate(_context, builder, signature, args):
            into = _Numbers(builder, signature.args[0], *args[:2])
            kept = _Numbers(builder, signature.args[2], *args[2:4])

            def join(place, width):
                value = element(builder, kept.load(place, width, DOUBLE))
                into.store(combine(builder, into.load(place, width, DOUBLE), value), place, width)

            _in_turns(builder, args[4], EACH, join)
            return INT64(0)

        return int64(totals, int64, numbers, int64, int64), generate

    return each


BY_NAME = {
    **{f"fold_{join.name.lower()}": _fold(COMBINED[join]) for join in JOINS},
    **{f"whole_{op.symbol}": _whole(op) for op in ReduceOp},
    **{f"each_{op.symbol}": _each(op) for op in ReduceOp},
}
"""The names under which generated code finds them."""
