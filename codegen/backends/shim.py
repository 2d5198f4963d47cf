"""Shim: torch's stable C interface, which tells of a tensor what DLPack's function of its class does, in half the time.

That function, written for any caller, takes the lock, and a reference to the tensor, for each question. The interface
takes the address of a tensor of C++'s (`at::Tensor`), the first thing behind the head of an object of Python's;
whether that is so is looked up in two objects before anybody relies on it.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import Any

from ..memory import ORDINARY_HEAD

LIBRARIES = ("libtorch_cpu.so", "libtorch_cpu.dylib", "torch_cpu.dll")


class Ask(IntEnum):
    """The functions that are asked, int32 (tensor, where the answer goes)."""

    LAYOUT = 0
    DIM = 1
    DTYPE = 2
    DEVICE_TYPE = 3
    DEVICE_INDEX = 4
    SIZES = 5
    STRIDES = 6
    DATA_PTR = 7


class Behind(IntEnum):
    """What stands behind the DLTensor that is to be filled: the functions, by `Ask`, and then these."""

    TENSOR_AT = len(Ask)  # the class of tensors, by the address of its object
    PARAMETER_AT = len(Ask) + 1
    LAYOUT = len(Ask) + 2  # 0 of tensors with strides


DLTENSOR = 6
"""Its size in units of 8 bytes: data, device, kind, where shape and strides are, offset."""

DESCRIBE = f"""
def described(thing, tensor_at):
    tensor = ints(tensor_at)
    behind_at = tensor_at + {8 * DLTENSOR}
    behind = ints(behind_at)
    kind = ints(thing)[1]
    if kind != behind[{Behind.PARAMETER_AT}]:
        if kind != behind[{Behind.TENSOR_AT}]:
            return 1
    at = thing + {ORDINARY_HEAD}
    failed = describe(behind[{Ask.LAYOUT}], at, behind_at + {8 * Behind.LAYOUT})
    if failed + behind[{Behind.LAYOUT}] != 0:
        return 1
    failed = describe(behind[{Ask.DIM}], at, tensor_at + 16)
    failed = failed | describe(behind[{Ask.DTYPE}], at, tensor_at + 20)
    failed = failed | describe(behind[{Ask.DEVICE_TYPE}], at, tensor_at + 8)
    failed = failed | describe(behind[{Ask.DEVICE_INDEX}], at, tensor_at + 12)
    failed = failed | describe(behind[{Ask.SIZES}], at, tensor_at + 24)
    failed = failed | describe(behind[{Ask.STRIDES}], at, tensor_at + 32)
    failed = failed | describe(behind[{Ask.DATA_PTR}], at, tensor_at)
    return failed
"""
"""A DLTensor of a tensor; the data begin where its first element is, and dtypes and devices are numbers of torch's."""


def behind() -> tuple[int, ...] | None:
    """What is to stand behind the DLTensor; None where torch lacks some of it, or lays its objects out otherwise.

    And None without torch, which may be imported later.
    """
    return None if sys.modules.get("torch") is None else _behind()


@functools.cache
def _behind() -> tuple[int, ...] | None:
    torch: Any = sys.modules["torch"]
    try:
        asks = [_function(f"aoti_torch_get_{ask.name.lower()}") for ask in Ask]
        kinds = torch.Tensor, torch.nn.Parameter
        probes = [torch.empty(1, device="cpu"), torch.nn.Parameter(torch.empty(1, device="cpu"))]
        if any(ctypes.c_void_p.from_address(id(one) + ORDINARY_HEAD).value != one._cdata for one in probes):
            return None
    except (AttributeError, OSError, TypeError):
        return None
    return (*asks, *map(id, kinds), 0)


def are_plain(tensors: Iterable[Any]) -> bool:
    """Whether all are of torch's own two classes, with objects laid out as `behind` found; not without torch."""
    known = behind()
    return known is not None and {*map(id, map(type, tensors))} <= {*known[Behind.TENSOR_AT : Behind.LAYOUT]}


def _function(name: str) -> int:
    """Where a function of torch's is, whose library is loaded already. Raises AttributeError or OSError."""
    return ctypes.cast(getattr(library(), name), ctypes.c_void_p).value or 0


@functools.cache
def library() -> ctypes.CDLL:
    """The library of torch's that has them. Raises OSError where there is none."""
    folder = Path(sys.modules["torch"].__file__ or "", "..", "lib").resolve()
    return ctypes.CDLL(str(next((path for name in LIBRARIES if (path := folder / name).exists()), folder)))


def describer() -> int | None:
    """The address of a function as DLPack's, for a DLTensor that `behind` stands behind; None where there is none."""
    return None if behind() is None else _compiled()


@functools.cache
def _compiled() -> int:
    from .cpu import jit  # with llvmlite, which not every step needs

    return jit.fixed(DESCRIBE).address


def describer_of(kind: type) -> int | None:
    """The same for tensors of a class; subclasses may behave otherwise."""
    torch = sys.modules.get("torch")
    kinds = getattr(torch, "Tensor", None), getattr(getattr(torch, "nn", None), "Parameter", None)
    return describer() if kind in kinds else None
