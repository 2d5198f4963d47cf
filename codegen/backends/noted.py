"""Noted: the compiled code that asks many tensors what they are, and notes it, or compares it with what was noted.

It asks a function as DLPack's for one tensor after the other, and on the way for what each holds under a name.
"""

from __future__ import annotations

import ctypes
import functools
import re
from enum import IntEnum
from typing import Any

from ..memory import ORDINARY_HEAD


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
    META = 11  # where compiled code finds it by itself, see `inside.Gradient`; 0: it does not
    GRAD = 12
    THING = 13
    STORAGE = 14
    KEEP = 15  # counts a reference to an object
    TENSOR = 16  # a DLTensor, which each tensor in turn fills, and what `shim` wants behind it


OTHER, NOTED = 0, 1
FACTS = 4
"""So many facts of each tensor come before its shape and strides: class, device, kind, whether it is contiguous."""

INT = 0xFFFFFFFF

AHEAD = 4
"""So many tensors before what a tensor leads to is fetched, it is fetched itself. Waiting takes two fifths of the time
where a step has just had the memory of 200 tensors of 1,000 elements (measured)."""

IN_STORAGE = 16
"""So many bytes behind its begin a storage of torch's is fetched, where its address is; elsewhere that helps nobody."""

FETCH = f"""
def fetch_three(at):
    fetch(at)
    fetch(at + 64)
    fetch(at + 128)

def fetch_behind(block_at, i):
    block = ints(block_at)
    objects = ints(block[{Cell.OBJECTS_AT}] + 8 * i)
    if i + {4 * AHEAD} < block[{Cell.COUNT}]:
        fetch(objects[{4 * AHEAD}])
        fetch_three(ints(objects[{3 * AHEAD}])[{ORDINARY_HEAD // 8}])
        at_meta = block[{Cell.META}]
        if at_meta != 0:
            at_grad = block[{Cell.GRAD}]
            at_storage = block[{Cell.STORAGE}]
            inner = ints(objects[{2 * AHEAD}])[{ORDINARY_HEAD // 8}]
            fetch(ints(inner + at_meta)[0] + at_grad)
            fetch(ints(inner + at_storage)[0] + {IN_STORAGE})
            meta = ints(ints(objects[{AHEAD}])[{ORDINARY_HEAD // 8}] + at_meta)[0]
            if meta != 0:
                fetch_three(ints(meta + at_grad)[0])
            meta = ints(ints(objects[{AHEAD // 2}])[{ORDINARY_HEAD // 8}] + at_meta)[0]
            if meta != 0:
                inner = ints(meta + at_grad)[0]
                fetch(ints(inner + block[{Cell.THING}])[0])
                fetch(ints(inner + at_storage)[0] + {IN_STORAGE})
"""
"""What tensors further on will need: each thing when that which leads to it is there, as long as there are more."""

ASK = f"describe(block[{Cell.FUNCTION}], thing, tensor_at)"

NOTE = f"""{FETCH}
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

def held_by(block_at, thing):
    block = ints(block_at)
    if block[{Cell.META}] != 0:
        meta = ints(ints(thing + {ORDINARY_HEAD})[0] + block[{Cell.META}])[0]
        if meta != 0:
            found = ints(ints(meta + block[{Cell.GRAD}])[0] + block[{Cell.THING}])[0]
            if found != 0 and found & 7 == 0:
                keep(block[{Cell.KEEP}], found)
                return found
    return get(block[{Cell.GET}], thing, block[{Cell.CLOSURE}])

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
        fetch_behind(block_at, i)
        for turn in range(block[{Cell.TURNS}]):
            thing = objects[i]
            if turn == 1:
                thing = held_by(block_at, thing)
                if thing == 0:
                    return {OTHER}
                old = held[i]
                held[i] = thing
                drop(block[{Cell.DROP}], old)
            if {ASK} != 0:
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


@functools.cache
def loaded(source: str, own: str | None = None) -> Any:
    """One of these, compiled, to be called with the GIL held.

    own: the source of a function `described`, which is asked instead of one at an address: it becomes part of the code.
    """
    from .cpu import jit  # with llvmlite, which not every step needs

    source = source if own is None else own + source.replace(ASK, "described(thing, tensor_at)")
    return ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(jit.fixed(source).address)
