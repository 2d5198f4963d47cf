"""The frame's words for numba-cuda, and its way to PTX. Needs no GPU and no driver.

This module is imported only where numba-cuda is the compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.ir as ll
import numba_cuda
from numba import cuda, types
from numba.core import cgutils
from numba.cuda.extending import intrinsic

from ..llvm_bits import INT8, INT16, INT32, INT64, byte_of, upper_half, with_zeros
from .words import with_values, words

GLOBAL = 1
"""The address space of device memory: an access that names it is `ld.global`, not the slower generic `ld`."""

VERSION = f"numba-cuda {numba_cuda.__version__}"

LLVM_TYPES = {
    types.float32: ll.FloatType(),
    types.float64: ll.DoubleType(),
    types.int64: INT64,
    types.uint32: INT32,
}


def _widened(builder: Any, half: Any) -> Any:
    """A float32 of a float16."""
    return builder.fpext(builder.bitcast(half, ll.HalfType()), ll.FloatType())


def _number(builder: Any, byte: Any) -> Any:
    """A float32 of a byte with sign."""
    return builder.sitofp(byte, ll.FloatType())


def _count(builder: Any, byte: Any) -> Any:
    """A float32 of a byte without sign."""
    return builder.uitofp(byte, ll.FloatType())


def _lowest(builder: Any, word: Any) -> Any:
    """The lowest byte of a word."""
    return builder.trunc(word, INT8)


CODED: dict[str, Any] = {
    "byte": (INT8, _number, byte_of),
    "int8": (INT8, _number, _lowest),
    "uint8": (INT8, _count, _lowest),
    "bfloat16": (INT16, with_zeros, upper_half),
    "float16": (INT16, _widened, None),
}
"""Of storages that are no type by themselves: an element in memory, what is loaded of it, and what is stored (of those
that are only loaded nothing is)."""


def _kept(kind: Any, kept: str) -> Any:
    """An element in memory, what makes a number of it, and it of a number."""
    return CODED.get(kept) or (LLVM_TYPES[kind], lambda builder, value: value, lambda builder, value: value)


def _load(kind: Any, kept: str, lanes: int) -> Any:
    """`load(address) -> lanes numbers`, in one access."""
    size, decoded, _ = _kept(kind, kept)
    memory = size if lanes == 1 else ll.VectorType(size, lanes)
    result = kind if lanes == 1 else types.UniTuple(kind, lanes)

    def load(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], memory.as_pointer(GLOBAL))
            value = builder.load(pointer, align=_bytes(kind, kept) * lanes)
            if lanes == 1:
                return decoded(builder, value)
            parts = [decoded(builder, builder.extract_element(value, _index(lane))) for lane in range(lanes)]
            return context.make_tuple(builder, signature.return_type, parts)

        return result(types.int64), generate

    return intrinsic(load)


def _store(kind: Any, kept: str, lanes: int) -> Any:
    """`store(address, *numbers)`, in one access."""
    size, _, coded = _kept(kind, kept)
    memory = size if lanes == 1 else ll.VectorType(size, lanes)
    signature = types.void(types.int64, *[kind] * lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = coded(builder, args[1])
        if lanes > 1:
            value = ll.Constant(memory, ll.Undefined)
            for lane in range(lanes):
                value = builder.insert_element(value, coded(builder, args[1 + lane]), _index(lane))
        pointer = builder.inttoptr(args[0], memory.as_pointer(GLOBAL))
        builder.store(value, pointer, align=_bytes(kind, kept) * lanes)
        return context.get_dummy_value()

    return intrinsic(with_values(lanes, lambda: (signature, generate)))


def _cast(kind: Any, other: Any) -> Any:
    """The bits of a number as one of another type."""

    def cast(typing_context: Any, x: Any) -> Any:
        return other(kind), lambda context, builder, signature, args: builder.bitcast(args[0], LLVM_TYPES[other])

    return intrinsic(cast)


def _bytes(kind: Any, kept: str) -> int:
    """Of an element in memory."""
    return int(CODED[kept][0].width if kept in CODED else kind.bitwidth) // 8


def _index(lane: int) -> Any:
    return ll.Constant(ll.IntType(32), lane)


def _of_integers() -> dict[str, Any]:
    """The operations on words, an instruction or two each.

    As Python functions they would be inlined by Numba, hundreds of them into one kernel, for most of a minute.
    """

    def wide(operation: str, extend: str = "zext", shift: int = 0) -> Callable[..., Any]:
        """In 64 bits: a shift by 32 or more leaves nothing, and a product has an upper half."""

        def generate(builder: Any, x: Any, y: Any) -> Any:
            result = getattr(builder, operation)(getattr(builder, extend)(x, INT64), builder.zext(y, INT64))
            return builder.trunc(builder.lshr(result, INT64(shift)) if shift else result, INT32)

        return generate

    def plain(operation: str) -> Callable[..., Any]:
        return lambda builder, x, y: getattr(builder, operation)(x, y)

    pairs = {name: plain(name) for name in ("add", "mul", "and_", "or_", "xor")}
    pairs["most"] = lambda builder, x, y: builder.select(builder.icmp_unsigned(">", x, y), x, y)
    pairs |= {"high": wide("mul", shift=32), "left": wide("shl"), "right": wide("lshr"), "signs": wide("ashr", "sext")}
    return {
        **{f"word_{name.removesuffix('_')}": _of_two(make) for name, make in pairs.items()},
        "word_of": intrinsic(_word_of),
        "float32_of_word": _number_of(types.float32),
        "float64_of_word": _number_of(types.float64),
    }


def _of_two(make: Callable[..., Any]) -> Any:
    def word(typing_context: Any, x: Any, y: Any) -> Any:
        word = types.uint32
        return word(word, word), lambda context, builder, signature, args: make(builder, *args)

    return intrinsic(word)


def _word_of(typing_context: Any, x: Any) -> Any:
    """Of a whole number in any type."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.cast(builder, args[0], signature.args[0], types.int32)

    return types.uint32(x), generate


def _number_of(kind: Any) -> Any:
    """Of a word, as an integer with a sign."""

    def number(typing_context: Any, x: Any) -> Any:
        return kind(types.uint32), lambda context, builder, signature, args: builder.sitofp(args[0], LLVM_TYPES[kind])

    return intrinsic(number)


PRODUCTS = {types.float32: "llvm.nvvm.mul.rn.f", types.float64: "llvm.nvvm.mul.rn.d"}
"""LLVM's names of products that are rounded, whatever becomes of them."""


def _product(typing_context: Any, x: Any, y: Any) -> Any:
    """Of two numbers of one type."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = LLVM_TYPES[x]
        function = cgutils.get_or_insert_function(builder.module, ll.FunctionType(kind, [kind, kind]), PRODUCTS[x])
        return builder.call(function, args)

    return x(x, x), generate


DEVICE = cuda.jit(device=True, inline="always")
"""Inlined by Numba itself: compiled apart, a function asks the driver for the GPU at hand."""

NAMES = words(cuda, DEVICE, types, _load, _store, _cast, intrinsic(_product), integers=_of_integers())
"""What generated source may name."""


def _signature(arguments: Sequence[str]) -> Any:
    """Of a kernel with arguments of these types."""
    return types.void(*[getattr(types, name) for name in arguments])


def compile_ptx(kernel: Callable[..., None], arguments: Sequence[str], arch: tuple[int, int]) -> str:
    """The PTX of a kernel with arguments of these types, for an architecture as (9, 0)."""
    signature = _signature(arguments)
    ptx, _ = cuda.compile_ptx(kernel, signature, cc=arch, device=False, abi="numba")
    return str(ptx)
