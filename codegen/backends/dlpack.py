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
import re
import sys
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from ..memory import ORDINARY_HEAD, begin_of, equal, is_usual, items_of
from . import shim
from .attribute import Attribute

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]

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
    TURNS = 6  # 1; or 2: also what each object holds under a name is asked
    GET = 7  # what gives this, `CLOSURE` and `DROP`: see `attribute`
    CLOSURE = 8
    DROP = 9
    HELD_AT = 10  # what is held
    TENSOR = 11  # a DLTensor, which each tensor in turn fills, and what `shim` wants behind it


OTHER, NOTED = 0, 1
FACTS = 4
"""So many facts of each tensor come before its shape and strides: class, device, kind, whether it is contiguous."""

INT = 0xFFFFFFFF

AHEAD = 8
"""So many tensors before one is asked, its memory is fetched: waiting takes most of the time where nobody had it."""

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
    held = ints(block[{Cell.HELD_AT}])
    tensor_at = block_at + {8 * Cell.TENSOR}
    tensor = ints(tensor_at)
    at = 0
    other = 0
    for i in range(block[{Cell.COUNT}]):
        if i + {2 * AHEAD} < block[{Cell.COUNT}]:
            fetch(objects[i + {2 * AHEAD}])
            inner = ints(objects[i + {AHEAD}])[{ORDINARY_HEAD // 8}]
            fetch(inner)
            fetch(inner + 64)
            fetch(inner + 128)
        for turn in range(block[{Cell.TURNS}]):
            thing = objects[i]
            if turn == 1:
                thing = get(block[{Cell.GET}], objects[i], block[{Cell.CLOSURE}])
                if thing == 0:
                    return {OTHER}
                old = held[i]
                held[i] = thing
                drop(block[{Cell.DROP}], old)
            if describe(block[{Cell.FUNCTION}], thing, tensor_at) != 0:
                return {OTHER}
            ndim = tensor[{Field.KIND}] & {INT}
            if at + {FACTS} + 2 * ndim > block[{Cell.ROOM}]:
                return {OTHER}
            begins[turn * block[{Cell.COUNT}] + i] = tensor[{Field.DATA}] + tensor[{Field.OFFSET}]
            dense = is_contiguous(tensor_at)
            PUT(at, ints(thing)[1])
            PUT(at + 1, tensor[{Field.DEVICE}])
            PUT(at + 2, tensor[{Field.KIND}])
            PUT(at + 3, dense)
            at = at + {FACTS}
            shape = ints(tensor[{Field.SHAPE_AT}])
            strides = ints(tensor[{Field.STRIDES_AT}])
            for axis in range(ndim):
                stride = 0
                if dense == 0 and shape[axis] != 1:
                    stride = strides[axis]
                PUT(at + axis, shape[axis])
                PUT(at + ndim + axis, stride)
            at = at + 2 * ndim
        if other != 0:
            return {OTHER}
    if at != block[{Cell.ROOM}]:
        return {OTHER}
    return {NOTED}
"""

WRITTEN = re.sub(r"PUT\((.*), (.*)\)\n", r"facts[\1] = \2\n", NOTE)
COMPARED = re.sub(r"PUT\((.*), (.*)\)\n", r"other = other | (facts[\1] - \2)\n", NOTE)
"""The code that writes what is found, and the code that compares it with what was."""


class Said:
    """What is said of some tensors: where they begin; and in a row each one's class, device, kind, shape and strides.

    Strides that mean nothing are 0: those of contiguous tensors, and of axes along which there is one element.
    """

    __slots__ = ("begins", "facts")

    def __init__(self, begins: Int64, facts: Int64) -> None:
        self.begins, self.facts = begins, facts

    def layouts(self) -> list[Layout]:
        """How each lies."""
        facts, found, at = self.facts.tolist(), [], 0
        while at < len(facts):
            begin, end = at + FACTS, at + FACTS + (facts[at + 2] & INT)
            strides = None if facts[at + 3] else tuple(facts[end : 2 * end - begin])
            found.append((tuple(facts[begin:end]), strides))
            at = 2 * end - begin
        return found


class Tensors:
    """Some tensors, kept alive, to be asked at any time.

    function:   describes each of them (see `describer`).
    dimensions: of all of them together. With more or fewer nothing is said.
    attribute:  of the same objects; what they hold is asked, too, and each one's comes behind its own in `facts`, and
                that of all behind all in `begins`.
    """

    def __init__(
        self, function: int, tensors: Sequence[Any], dimensions: int, attribute: Attribute | None = None
    ) -> None:
        self._tensors, self._turns = list(tensors), 1 if attribute is None else 2
        self._room = self._turns * FACTS * len(tensors) + 2 * dimensions
        cells = {
            Cell.FUNCTION: function,
            Cell.COUNT: len(tensors),
            Cell.OBJECTS_AT: items_of(self._tensors),
            Cell.ROOM: self._room,
            Cell.TURNS: self._turns,
        }
        if attribute is not None:
            get, closure, drop = attribute.functions()
            cells |= {Cell.GET: get, Cell.CLOSURE: closure, Cell.DROP: drop}
        more = shim.behind() if function == shim.describer() else None
        self._block = np.array([0] * (Cell.TENSOR + len(Field)) + list(more or ()), np.int64)
        self._block[list(cells)] = list(cells.values())

    def say(self) -> Said | None:
        """What all say now; None if one cannot, or has another number of dimensions than was expected."""
        facts = np.empty(self._room, np.int64)
        begins = self._begins(_writer(), facts, [None] * len(self._tensors))
        return None if begins is None else Said(begins, facts)

    def where_alike(self, said: Said, held: list[Any] | None = None) -> Int64 | None:
        """Where they begin, if they say all else as others did; else None. What they hold is put into `held`."""
        if said.facts.size != self._room:
            return None
        return self._begins(_comparer(), said.facts, [None] * len(self._tensors) if held is None else held)

    def say_again(self, said: Said) -> bool:
        """Whether they say the same, and begin at the same places."""
        begins = self.where_alike(said)
        return begins is not None and equal(begins, said.begins)

    def _begins(self, code: Any, facts: Int64, held: list[Any]) -> Int64 | None:
        """Where all begin; and what they say beside is written, or compared.

        The function sets an exception where it fails, which ctypes raises. Whoever asks with care finds out the reason.
        """
        begins = np.empty(self._turns * len(self._tensors), np.int64)
        block = self._block.copy()  # another thread may ask at the same time
        block[Cell.BEGINS_AT], block[Cell.FACTS_AT] = begin_of(begins), begin_of(facts)
        block[Cell.HELD_AT] = items_of(held)
        try:
            return begins if code(begin_of(block)) == NOTED else None
        except Exception:
            return None


@functools.cache
def _writer() -> Any:
    return _loaded(WRITTEN)


@functools.cache
def _comparer() -> Any:
    return _loaded(COMPARED)


def _loaded(source: str) -> Any:
    """The compiled code, to be called with the GIL held."""
    from .cpu import jit  # with llvmlite, which not every step needs

    return ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(jit.fixed(source).address)


def describer(kinds: Iterable[type]) -> int | None:
    """The address of the C function that describes tensors of all these classes; None where there is none."""
    found = {shim.describer_of(kind) or _function_of(kind) for kind in kinds} if is_usual() else set()
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
