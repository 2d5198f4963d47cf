"""
The few operations that generated CPU code needs and Numba does not offer; the only file with LLVM builders.

Arithmetic goes straight to LLVM's intrinsics, which the vectoriser understands. Addresses come from a table of
integers, so arrays are plain pointers here: no array structures, no reference counts, no bounds.
Importing this module imports Numba.
"""

# Numba reads signatures from the functions' return values, which its type hints do not describe.
# mypy: ignore-errors

from __future__ import annotations

from llvmlite import ir
from numba import float32, float64, int64, types
from numba.core import cgutils
from numba.extending import intrinsic

INT64 = ir.IntType(64)


def _elementwise(name):
    """An intrinsic of one float type: `llvm.<name>`."""

    @intrinsic
    def operation(_context, x):
        def generate(_context, builder, _signature, args):
            return builder.call(builder.module.declare_intrinsic(f"llvm.{name}", [args[0].type]), args)

        return x(x), generate

    return operation


sqrt, exp, log, fabs = (_elementwise(name) for name in ("sqrt", "exp", "log", "fabs"))


@intrinsic
def power(_context, x, y):
    """`x ** y` in the type of x."""

    def generate(_context, builder, _signature, args):
        return builder.call(builder.module.declare_intrinsic("llvm.pow", [args[0].type]), args)

    return x(x, y), generate


def _pointer_to(element):
    """An intrinsic that reads an integer as the address of `element`s."""

    @intrinsic
    def pointer(_context, address):
        def generate(context, builder, _signature, args):
            return builder.inttoptr(args[0], context.get_value_type(element).as_pointer())

        return types.CPointer(element)(address), generate

    return pointer


at_float32, at_float64, at_int64 = map(_pointer_to, (float32, float64, int64))


@intrinsic
def lanes(_context, count):
    """A buffer of `count` float64 on the stack (a literal): nothing can alias it, so loops over it vectorise."""

    def generate(_context, builder, _signature, _args):
        return cgutils.alloca_once(builder, ir.DoubleType(), size=count.literal_value)

    if not isinstance(count, types.IntegerLiteral):
        return None
    return types.CPointer(float64)(count), generate


lanes.prefer_literal = True


@intrinsic
def add_shared(_context, pointer, amount):
    """Atomically `pointer[0] += amount`, seen by all threads in one order; returns the old value."""

    def generate(_context, builder, _signature, args):
        return builder.atomic_rmw("add", args[0], args[1], "seq_cst")

    return int64(pointer, int64), generate


@intrinsic
def swap_shared(_context, pointer, value):
    """Atomically `pointer[0] = value`, seen by all threads in one order; returns the old value."""

    def generate(_context, builder, _signature, args):
        return builder.atomic_rmw("xchg", args[0], args[1], "seq_cst")

    return int64(pointer, int64), generate


@intrinsic
def call_step(_context, address, table):
    """Call the compiled step at `address` with the address of its table."""

    def generate(_context, builder, _signature, args):
        kind = ir.FunctionType(ir.VoidType(), [INT64.as_pointer()])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [builder.inttoptr(args[1], INT64.as_pointer())])
        return cgutils.get_null_value(INT64)

    return int64(int64, int64), generate
