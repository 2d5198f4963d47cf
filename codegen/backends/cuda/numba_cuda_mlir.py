"""The frame's words for numba-cuda-mlir, and its way to PTX. Needs no GPU and no driver.

This module is imported only where numba-cuda-mlir is the compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba_cuda_mlir
from numba_cuda_mlir import compiler, cuda, tools, types
from numba_cuda_mlir._mlir import ir
from numba_cuda_mlir._mlir.dialects import llvm, vector
from numba_cuda_mlir._mlir.extras import types as mlir_types
from numba_cuda_mlir.extending import intrinsic

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


def _pointer(address: Any) -> Any:
    return llvm.inttoptr(llvm.PointerType.get(address_space=GLOBAL), address)


def _load(kind: Any, lanes: int) -> Any:
    """`load(address) -> lanes numbers`, in one access."""
    result = kind if lanes == 1 else types.UniTuple(kind, lanes)

    def load(typing_context: Any, address: Any) -> Any:
        def generate(builder: Any, target: Any, args: Any, keywords: Any) -> None:
            (at,) = builder.load_vars(args)
            size = MLIR_TYPES[kind]()
            memory = size if lanes == 1 else ir.VectorType.get([lanes], size)
            value = llvm.load(memory, _pointer(at), alignment=kind.bitwidth // 8 * lanes)
            parts = tuple(vector.extract(value, [], [lane]) for lane in range(lanes)) if lanes > 1 else value
            builder.store_var(target, parts)

        return result(types.int64), generate

    return intrinsic(load)


def _store(kind: Any, lanes: int) -> Any:
    """`store(address, *numbers)`, in one access."""
    signature = types.void(types.int64, *[kind] * lanes)

    def generate(builder: Any, target: Any, args: Any, keywords: Any) -> None:
        at, *values = builder.load_vars(args)
        (value,) = values if lanes == 1 else [vector.from_elements(ir.VectorType.get([lanes], values[0].type), values)]
        llvm.store(value, _pointer(at), alignment=kind.bitwidth // 8 * lanes)
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


NAMES = words(cuda, cuda.jit(device=True), types, _load, _store, _cast)
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
