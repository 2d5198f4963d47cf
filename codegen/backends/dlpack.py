"""DLPack: what many tensors say of themselves at once, by the C function that their class offers for it.

A question takes 30 to 80 ns for each of torch's tensors when Python asks it, and a call must ask every tensor anew: its
memory can be exchanged while the object, and its version, stay. A class can offer a table of C functions
(`__dlpack_c_exchange_api__`, DLPack 1.3; torch from 2.10), one of which describes a tensor without making anything;
compiled code calls it for one tensor after the other.

Nothing here knows where tensors lie, nor what is wanted of them: they are compared with what others said before.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any

import numpy as np

from ..memory import begin_of, data_of, is_usual

ATTRIBUTE, CAPSULE = "__dlpack_c_exchange_api__", b"dlpack_exchange_api"
MAJOR = 1
"""The version of the table that is known here. What a later minor version adds stands behind what is read."""


class Table(ctypes.Structure):
    """DLPackExchangeAPI: its header (version, an older table), and its functions up to the one that is called."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("older", ctypes.c_void_p),
        ("managed_tensor_allocator", ctypes.c_void_p),
        ("managed_tensor_from_py_object_no_sync", ctypes.c_void_p),
        ("managed_tensor_to_py_object_no_sync", ctypes.c_void_p),
        ("dltensor_from_py_object_no_sync", ctypes.c_void_p),
    )


class Field(IntEnum):
    """DLTensor, in units of 8 bytes."""

    DATA = 0
    DEVICE = 1  # its type and its number
    KIND = 2  # the lower 4 bytes: how many dimensions; the upper ones: the dtype
    SHAPE_AT = 3  # int64[dimensions]
    STRIDES_AT = 4  # int64[dimensions], in elements; before DLPack 1.2 it may be 0: contiguous
    OFFSET = 5  # bytes from DATA to the first element


class Cell(IntEnum):
    """What compiled code is passed, in one block: an argument costs as much as the look at a tensor."""

    FUNCTION = 0
    COUNT = 1
    OBJECTS_AT = 2  # the tensors' objects
    BEGINS_AT = 3  # int64[count]
    FACTS_AT = 4  # int64[room]
    ROOM = 5
    TENSOR = 6  # a DLTensor, which each tensor in turn fills


OTHER, NOTED = 0, 1
FACTS = 3
"""So many facts of each tensor come before its shape and strides: the device, the kind, whether it is contiguous."""

INT = 0xFFFFFFFF

Layout = tuple[tuple[int, ...], tuple[int, ...] | None]
"""The shape of a tensor, and its strides in elements, 0 along axes of one element; None if it is contiguous."""

NOTE = f"""
def is_contiguous(tensor_at):
    tensor = ints(tensor_at)
    ndim = tensor[{Field.KIND}] & {INT}
    if ndim == 0 or tensor[{Field.STRIDES_AT}] == 0:
        return 1
    shape = ints(tensor[{Field.SHAPE_AT}])
    strides = ints(tensor[{Field.STRIDES_AT}])
    dense = 1
    step = 1
    for back in range(ndim):
        size = shape[ndim - 1 - back]
        if size == 0:
            return 1
        if size != 1:
            if strides[ndim - 1 - back] != step:
                dense = 0
            step = step * size
    return dense

def note(block_at):
    block = ints(block_at)
    objects = ints(block[{Cell.OBJECTS_AT}])
    begins = ints(block[{Cell.BEGINS_AT}])
    facts = ints(block[{Cell.FACTS_AT}])
    tensor_at = block_at + {8 * Cell.TENSOR}
    tensor = ints(tensor_at)
    at = 0
    for i in range(block[{Cell.COUNT}]):
        if describe(block[{Cell.FUNCTION}], objects[i], tensor_at) != 0:
            return {OTHER}
        ndim = tensor[{Field.KIND}] & {INT}
        if at + {FACTS} + 2 * ndim > block[{Cell.ROOM}]:
            return {OTHER}
        begins[i] = tensor[{Field.DATA}] + tensor[{Field.OFFSET}]
        facts[at] = tensor[{Field.DEVICE}]
        facts[at + 1] = tensor[{Field.KIND}]
        facts[at + 2] = is_contiguous(tensor_at)
        at = at + {FACTS}
        shape = ints(tensor[{Field.SHAPE_AT}])
        strides = ints(tensor[{Field.STRIDES_AT}])
        for axis in range(ndim):
            facts[at + axis] = shape[axis]
            facts[at + ndim + axis] = 0
            if facts[at - 1] == 0 and shape[axis] != 1:
                facts[at + ndim + axis] = strides[axis]
        at = at + 2 * ndim
    if at != block[{Cell.ROOM}]:
        return {OTHER}
    return {NOTED}
"""


class Said:
    """What some tensors say of themselves: where they begin; and in a row each one's device, kind, shape and strides.

    Strides that mean nothing are 0: those of contiguous tensors, and of axes along which there is one element.
    """

    __slots__ = ("begins", "facts", "words")

    def __init__(self, count: int, room: int) -> None:
        self.words = np.empty(count + room, np.int64)
        self.begins, self.facts = self.words[:count], self.words[count:]

    def is_like(self, other: Said | None) -> bool:
        """Whether they said all of it another time."""
        return other is not None and np.array_equal(self.words, other.words)

    def layouts(self) -> list[Layout]:
        """How each lies."""
        facts, found, at = self.facts.tolist(), [], 0
        while at < len(facts):
            begin, end = at + FACTS, at + FACTS + (facts[at + 1] & INT)
            strides = None if facts[at + 2] else tuple(facts[end : 2 * end - begin])
            found.append((tuple(facts[begin:end]), strides))
            at = 2 * end - begin
        return found


class Tensors:
    """Some tensors, kept alive, to be asked at any time.

    function:   describes each of them (see `describer`).
    dimensions: of all of them together. With more or fewer nothing is said.
    """

    def __init__(self, function: int, tensors: Sequence[Any], dimensions: int) -> None:
        self._note = _noter()
        self._tensors = np.fromiter(tensors, object, len(tensors))
        self._sizes = len(tensors), FACTS * len(tensors) + 2 * dimensions
        cells = {
            Cell.FUNCTION: function,
            Cell.COUNT: len(tensors),
            Cell.OBJECTS_AT: data_of(self._tensors),
            Cell.ROOM: self._sizes[1],
        }
        self._block = np.zeros(Cell.TENSOR + len(Field), np.int64)
        for cell, value in cells.items():
            self._block[cell] = value

    def say(self) -> Said | None:
        """What all say now; None if one cannot, or has another number of dimensions than was expected.

        The function sets an exception where it fails, which ctypes raises. Whoever asks with care finds out the reason.
        """
        said = Said(*self._sizes)
        block, begins_at = self._block.copy(), begin_of(said.words)  # another thread may ask at the same time
        block[Cell.BEGINS_AT], block[Cell.FACTS_AT] = begins_at, begins_at + 8 * self._sizes[0]
        try:
            return said if self._note(begin_of(block)) == NOTED else None
        except Exception:
            return None


@functools.cache
def _noter() -> Any:
    """The compiled code, to be called with the GIL held."""
    from .cpu import jit  # with llvmlite, which a step on a GPU does not need otherwise

    return ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(jit.fixed(NOTE).address)


def describer(kinds: Iterable[type]) -> int | None:
    """The address of the C function that describes tensors of all these classes; None where there is none."""
    found = {_function_of(kind) for kind in kinds} if is_usual() else set()
    return found.pop() if len(found) == 1 else None


def _function_of(kind: type) -> int | None:
    """What a class offers. A subclass may behave otherwise than the table says: it must offer one itself."""
    capsule = getattr(kind, ATTRIBUTE, None)
    if ATTRIBUTE not in vars(kind) and kind is not _parameter():
        return None
    if not _prototype(ctypes.c_int)(("PyCapsule_IsValid", ctypes.pythonapi))(capsule, CAPSULE):
        return None
    at = _prototype(ctypes.c_void_p)(("PyCapsule_GetPointer", ctypes.pythonapi))(capsule, CAPSULE)
    while at:
        table = Table.from_address(at)
        if table.major == MAJOR:
            function: int | None = table.dltensor_from_py_object_no_sync
            return function
        at = table.older
    return None


def _prototype(result: Any) -> Any:
    return ctypes.PYFUNCTYPE(result, ctypes.py_object, ctypes.c_char_p)


def _parameter() -> object:
    """The class of torch's parameters, which are described as tensors are; torch is not imported."""
    return getattr(getattr(sys.modules.get("torch"), "nn", None), "Parameter", None)
