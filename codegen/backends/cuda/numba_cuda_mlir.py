"""The frame's words for numba-cuda-mlir, and its way to PTX. Needs no GPU and no driver.

This module is imported only where numba-cuda-mlir is the compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba_cuda_mlir
from numba_cuda_mlir import compiler, cuda, tools, types
from numba_cuda_mlir._mlir import ir
from numba_cuda_mlir._mlir.dialects import arith, llvm, vector
from numba_cuda_mlir._mlir.extras import types as mlir_types
from numba_cuda_mlir.extending import intrinsic

from ... import integers
from .words import with_values, words

GLOBAL = 1
"""The address space of device memory: an access that names it is `ld.global`, not the slower generic `ld`."""

VERSION = f"numba-cuda-mlir {numba_cuda_mlir.__version__}"

MLIR_TYPES = {
    types.float32: mlir_types.f32,
    types.float64: mlir_types.f64,
    types.int64: mlir_types.i64,
    types.uint32: mlir_types.i32,
}


INT8, INT16, INT32 = mlir_types.i8, mlir_types.i16, mlir_types.i32


def _with_zeros(half: Any) -> Any:
    """A float32 of a bfloat16."""
    return arith.bitcast(mlir_types.f32(), arith.shli(arith.extui(INT32(), half), _sixteen()))


def _upper_half(number: Any) -> Any:
    """A bfloat16 of a float32 that is one."""
    return arith.trunci(INT16(), arith.shrui(arith.bitcast(INT32(), number), _sixteen()))


def _sixteen() -> Any:
    return arith.constant(INT32(), 16)


def _widened(half: Any) -> Any:
    """A float32 of a float16."""
    return arith.extf(mlir_types.f32(), arith.bitcast(mlir_types.f16(), half))


def _number(byte: Any) -> Any:
    """A float32 of a byte with sign."""
    return arith.sitofp(mlir_types.f32(), byte)


def _count(byte: Any) -> Any:
    """A float32 of a byte without sign."""
    return arith.uitofp(mlir_types.f32(), byte)


def _lowest(word: Any) -> Any:
    """The lowest byte of a word."""
    return arith.trunci(INT8(), word)


def _byte(number: Any) -> Any:
    """A byte of a whole number."""
    return arith.trunci(INT8(), arith.fptosi(INT32(), number))


CODED: dict[str, Any] = {
    "byte": (INT8, _number, _byte, 1),
    "int8": (INT8, _number, _lowest, 1),
    "uint8": (INT8, _count, _lowest, 1),
    "bfloat16": (INT16, _with_zeros, _upper_half, 2),
    "float16": (INT16, _widened, None, 2),
}
"""Of storages that are no type by themselves: an element in memory, what is loaded of it, what is stored (of those that
are only loaded nothing is), its bytes."""


def _kept(kind: Any, kept: str) -> Any:
    """An element in memory, what makes a number of it, and it of a number, and its bytes."""
    return CODED.get(kept) or (MLIR_TYPES[kind], lambda value: value, lambda value: value, kind.bitwidth // 8)


def _pointer(address: Any) -> Any:
    return llvm.inttoptr(llvm.PointerType.get(address_space=GLOBAL), address)


def _load(kind: Any, kept: str, lanes: int) -> Any:
    """`load(address) -> lanes numbers`, in one access."""
    element, decoded, _, itemsize = _kept(kind, kept)
    result = kind if lanes == 1 else types.UniTuple(kind, lanes)

    def load(typing_context: Any, address: Any) -> Any:
        def generate(builder: Any, target: Any, args: Any, keywords: Any) -> None:
            (at,) = builder.load_vars(args)
            memory = element() if lanes == 1 else ir.VectorType.get([lanes], element())
            value = llvm.load(memory, _pointer(at), alignment=itemsize * lanes)
            each = [vector.extract(value, [], [lane]) for lane in range(lanes)] if lanes > 1 else [value]
            parts = tuple(map(decoded, each))
            builder.store_var(target, parts if lanes > 1 else parts[0])

        return result(types.int64), generate

    return intrinsic(load)


def _store(kind: Any, kept: str, lanes: int) -> Any:
    """`store(address, *numbers)`, in one access."""
    _, _, coded, itemsize = _kept(kind, kept)
    signature = types.void(types.int64, *[kind] * lanes)

    def generate(builder: Any, target: Any, args: Any, keywords: Any) -> None:
        at, *numbers = builder.load_vars(args)
        values = [*map(coded, numbers)]
        (value,) = values if lanes == 1 else [vector.from_elements(ir.VectorType.get([lanes], values[0].type), values)]
        llvm.store(value, _pointer(at), alignment=itemsize * lanes)
        builder.store_var(target, None)

    return intrinsic(with_values(lanes, lambda: (signature, generate)))


def _cast(kind: Any, other: Any) -> Any:
    """The bits of a number as one of another type."""

    def cast(typing_context: Any, x: Any) -> Any:
        def generate(builder: Any, target: Any, args: Any, keywords: Any) -> None:
            (value,) = builder.load_vars(args)
            builder.store_var(target, llvm.bitcast(MLIR_TYPES[other](), value))

        return other(kind), generate

    return intrinsic(cast)


PRODUCTS = {
    types.float32: ("mul.rn.f32 $0, $1, $2;", "=f,f,f"),
    types.float64: ("mul.rn.f64 $0, $1, $2;", "=d,d,d"),
}
"""PTX of products that are rounded, whatever becomes of them; this compiler has no way to call LLVM's own."""


def _product(typing_context: Any, x: Any, y: Any) -> Any:
    """Of two numbers of one type."""

    def generate(builder: Any, target: Any, args: Any, keywords: Any) -> None:
        builder.store_var(target, llvm.inline_asm(MLIR_TYPES[x](), builder.load_vars(args), *PRODUCTS[x]))

    return x(x, x), generate


def _of_integers() -> dict[str, Any]:
    """The operations on words, by MLIR's names for them. (A constant from 2**31 on, made wider, is negative.)"""
    two = {name: getattr(arith, mlir.removeprefix("arith.")) for name, (_, mlir) in integers.TWO.items() if mlir}
    return {
        **{name: _of_two(make) for name, make in two.items()},
        "word_high": _of_two(_high),
        "word_of": intrinsic(_word_of),
        "float32_of_word": _number_of(types.float32),
        "float64_of_word": _number_of(types.float64),
    }


def _of_two(make: Callable[[Any, Any], Any]) -> Any:
    def word(typing_context: Any, x: Any, y: Any) -> Any:
        def generate(builder: Any, target: Any, args: Any, keywords: Any) -> None:
            builder.store_var(target, make(*builder.load_vars(args)))

        word = types.uint32
        return word(word, word), generate

    return intrinsic(word)


def _high(x: Any, y: Any) -> Any:
    """The upper half of a product of 64 bits."""
    wide = mlir_types.i64()
    product = arith.muli(arith.extui(wide, x), arith.extui(wide, y))
    return arith.trunci(INT32(), arith.shrui(product, arith.constant(wide, integers.BITS)))


def _word_of(typing_context: Any, x: Any) -> Any:
    """Of a whole number in float32 or float64."""

    def generate(builder: Any, target: Any, args: Any, keywords: Any) -> None:
        (number,) = builder.load_vars(args)
        builder.store_var(target, arith.fptosi(INT32(), number))

    return types.uint32(x), generate


def _number_of(kind: Any) -> Any:
    """Of a word, as an integer with a sign."""

    def number(typing_context: Any, x: Any) -> Any:
        def generate(builder: Any, target: Any, args: Any, keywords: Any) -> None:
            (word,) = builder.load_vars(args)
            builder.store_var(target, arith.sitofp(MLIR_TYPES[kind](), word))

        return kind(types.uint32), generate

    return intrinsic(number)


NAMES = words(cuda, cuda.jit(device=True), types, _load, _store, _cast, intrinsic(_product), integers=_of_integers())
"""What generated source may name."""


def _signature(arguments: Sequence[str]) -> Any:
    """Of a kernel with arguments of these types."""
    return types.void(*[getattr(types, name) for name in arguments])


def compile_ptx(kernel: Callable[..., None], arguments: Sequence[str], arch: tuple[int, int]) -> str:
    """The PTX of a kernel with arguments of these types, for an architecture as (9, 0)."""
    _name_target(arch)
    result = compiler.compile_ptx(kernel, _signature(arguments), cc=arch)
    return str(result[0] if isinstance(result, tuple) else result)


def compile_mlir(kernel: Callable[..., None], arguments: Sequence[str], arch: tuple[int, int]) -> str:
    """The kernel as the compiler's own MLIR, before it is lowered."""
    _name_target(arch)
    return str(compiler.compile_mlir(kernel, _signature(arguments)))


def _name_target(arch: tuple[int, int]) -> None:
    """Compiling asks the driver for the GPU at hand, even when it is told another one; without one, tell it here."""
    if tools._cached_cc is None:
        tools._cached_cc = arch
