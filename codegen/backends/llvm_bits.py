"""LLVM's instructions for the bits of numbers that are kept in fewer. Importing this module imports llvmlite."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

INT8, INT16, INT32, INT64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)


def upper_half(builder: Any, number: Any) -> Any:
    """A bfloat16 of a float32 that is one: the bits in front."""
    return builder.trunc(builder.lshr(builder.bitcast(number, INT32), INT32(16)), INT16)


def with_zeros(builder: Any, half: Any) -> Any:
    """A float32 of a bfloat16."""
    return builder.bitcast(builder.shl(builder.zext(half, INT32), INT32(16)), ir.FloatType())


def byte_of(builder: Any, number: Any) -> Any:
    """A byte of a whole number."""
    return builder.trunc(builder.fptosi(number, INT32), INT8)
