"""What is done to the bits of float64 numbers: in NumPy, in Python for Numba, and in MLIR.

A float64 is a sign, 11 bits of exponent and 52 of mantissa. The texts in Python are made of two words that each
compiler has, `bits_of` (a number's bits as an int64) and `number_of` (the number of such bits), so that one text serves
processors and GPUs. No number is converted to an integer: few vector units can. On the host, where a step waits for
them, each is a call of its own.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

TWO_52 = 0x4330000000000000
"""The bits of 2**52; with a small whole number in the lowest ones they are those of their sum."""

UNBIASED = 2.0**52 + 1023.0
BIASED = 1.5 * 2.0**52 + 1023.0
"""A whole number added to it has its sum with 1023, which is an exponent's field, in its lowest bits."""

LOW = 27
"""So many of the 52 bits `upper` clears: two numbers of the 26 bits that are left have an exact product."""


def _bits(x: Any) -> Any:
    return np.asarray(x).view(np.int64)


def exponent(x: Any) -> Any:
    """The field of the exponent without its bias: -1023 for 0 and denormals, 1024 for inf and nan."""
    return (_bits(x) >> 52 & 2047 | TWO_52).view(np.float64) - UNBIASED


EXPONENT_IN_PYTHON = f"number_of(bits_of({{0}}) >> 52 & 2047 | {TWO_52}) - {UNBIASED!r}"
EXPONENT_IN_MLIR = f"""%bits = arith.bitcast {{0}} : f64 to i64
%places = arith.constant 52 : i64
%shifted = arith.shrui %bits, %places : i64
%mask = arith.constant 2047 : i64
%field = arith.andi %shifted, %mask : i64
%start = arith.constant {TWO_52} : i64
%sum = arith.ori %field, %start : i64
%number = arith.bitcast %sum : i64 to f64
%bias = arith.constant {UNBIASED!r} : f64
arith.subf %number, %bias : f64"""


def two_to(n: Any) -> Any:
    """2**n of whole n from -1022 to 1023; 0 for -1023, inf for 1024, and for others whatever bits that gives."""
    return (_bits(n + BIASED) << 52).view(np.float64)


TWO_TO_IN_PYTHON = f"number_of(bits_of({{0}} + {BIASED!r}) << 52)"
TWO_TO_IN_MLIR = f"""%bias = arith.constant {BIASED!r} : f64
%sum = arith.addf {{0}}, %bias : f64
%bits = arith.bitcast %sum : f64 to i64
%places = arith.constant 52 : i64
%shifted = arith.shli %bits, %places : i64
arith.bitcast %shifted : i64 to f64"""


def upper(x: Any) -> Any:
    """The number without the lower half of its mantissa."""
    return (_bits(x) & -(1 << LOW)).view(np.float64)


UPPER_IN_PYTHON = f"number_of(bits_of({{0}}) & {-(1 << LOW)})"
UPPER_IN_MLIR = f"""%bits = arith.bitcast {{0}} : f64 to i64
%mask = arith.constant {-(1 << LOW)} : i64
%kept = arith.andi %bits, %mask : i64
arith.bitcast %kept : i64 to f64"""


def signed(x: Any, y: Any) -> Any:
    """The size of x with the sign of y, also of a zero and of nan."""
    return np.copysign(x, y)


SIGNED_IN_PYTHON = f"number_of(bits_of({{0}}) & {(1 << 63) - 1} | bits_of({{1}}) >> 63 << 63)"
SIGNED_IN_MLIR = f"""%size = arith.bitcast {{0}} : f64 to i64
%rest = arith.constant {(1 << 63) - 1} : i64
%sized = arith.andi %size, %rest : i64
%sign = arith.bitcast {{1}} : f64 to i64
%places = arith.constant 63 : i64
%low = arith.shrui %sign, %places : i64
%high = arith.shli %low, %places : i64
%both = arith.ori %sized, %high : i64
arith.bitcast %both : i64 to f64"""


def _on_host() -> dict[str, Callable[..., float]]:
    """The same of Python's floats, by name."""
    integer, number = struct.Struct("<Q"), struct.Struct("<d")
    pack, unpack, pack_bits, unpack_bits = number.pack, number.unpack, integer.pack, integer.unpack
    kept, places = (1 << 64) - (1 << LOW), (1 << 12) - 1

    def host_exponent(x: float) -> float:
        return float((unpack_bits(pack(x))[0] >> 52 & 2047) - 1023)

    def host_two_to(n: float) -> float:
        result: float = unpack(pack_bits((unpack_bits(pack(n + BIASED))[0] & places) << 52))[0]
        return result

    def host_upper(x: float) -> float:
        result: float = unpack(pack_bits(unpack_bits(pack(x))[0] & kept))[0]
        return result

    return {"exponent": host_exponent, "two_to": host_two_to, "upper": host_upper, "signed": math.copysign}


ON_HOST = _on_host()
