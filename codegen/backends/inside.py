"""Inside: where torch's tensors keep the count of their writes and their gradients, for compiled code to go there.

Torch's functions for that are written for any caller. To count a write to each of 1,000 tensors takes them 65 us, of
which 8 are the counting, and to fetch 1,000 gradients 60, of which 10 are (measured): the rest are references that are
counted, and the lock and the handler of warnings that are set up anew for each tensor.

Nothing is known of the layout of torch's objects. It is found in this process, in tensors that were made for it: by
what changes in them when they are written, and when they get a gradient. Where exactly one place fits it is relied on,
and else torch's functions are called.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple, cast

import numpy as np

from ..memory import ORDINARY_HEAD, WORD, begin_of, is_usual, items_of
from . import shim

IMPL, META, COUNTER = 10, 10, 6
"""So many words of a tensor of C++'s, and of what autograd knows of it, and words of 4 bytes of the counter that its
views share, are looked through. All versions of torch since 1.12 have more of each."""


AHEAD = 8
"""So many tensors before a write is counted, its counter is fetched: nothing is read while one is written."""


class Gradient(NamedTuple):
    """Where a tensor's gradient is, in bytes.

    meta: in a tensor of C++'s, what autograd knows of it; 0 there for nothing. `grad`: in that, a tensor of C++'s.
    thing: in a tensor of C++'s, the object of Python's that stands for it; 0 there for none yet. `storage`: in such a
    one, what has its memory, to be fetched early; 0 where that is not known.
    """

    meta: int
    grad: int
    thing: int
    storage: int


class Writes(NamedTuple):
    """Where writes to a tensor are counted, in bytes.

    counter: in a tensor of C++'s; 0 there for one that was made for inference. `number`: in that, of 4 bytes.
    """

    counter: int
    number: int


class Cell(IntEnum):
    """What compiled code is passed, in one block."""

    COUNT = 0
    OBJECTS_AT = 1
    COUNTER = 2
    WRITES = 3


COUNT = f"""
def count(block_at):
    block = ints(block_at)
    objects = ints(block[{Cell.OBJECTS_AT}])
    counter = block[{Cell.COUNTER}]
    writes = block[{Cell.WRITES}]
    for i in range(block[{Cell.COUNT}]):
        if i + {AHEAD} < block[{Cell.COUNT}]:
            fetch(ints(ints(objects[i + {AHEAD}] + {ORDINARY_HEAD})[0] + counter)[0])
        counted = ints(ints(objects[i] + {ORDINARY_HEAD})[0] + counter)[0]
        if counted != 0:
            count_one(counted + writes)
"""


def counter(tensors: Sequence[Any]) -> Callable[[], None] | None:
    """What counts a write to each of some tensors, as torch does, when it is called; None where only torch can.

    They are kept alive. Where each has its counter is looked up every time.
    """
    places = writes() if tensors and shim.are_plain(tensors) else None
    if places is None:
        return None
    own = list(tensors)
    block = np.array([len(own), items_of(own), *places], np.int64)
    count: Any = functools.partial(_counting(), begin_of(block))
    count.kept = own, block
    return cast("Callable[[], None]", count)


@functools.cache
def _counting() -> Any:
    """The compiled code, to be called with the GIL held."""
    from .cpu import jit  # with llvmlite, which not every step needs

    return ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(jit.fixed(COUNT).address)


@functools.cache
def writes() -> Writes | None:
    """Where writes are counted; None where that is not known. Torch is imported."""
    torch = sys.modules["torch"]
    if not is_usual():
        return None
    with torch.inference_mode(False):
        one = torch.zeros(1, device="cpu")
        view, apart = one.detach(), one.data  # which have the same memory, and the same counter, or another one
        own, shared, other = map(_impl, (one, view, apart))
        places = [i for i in range(IMPL) if own[i] == shared[i] != other[i] and own[i] and other[i]]
        if len(places) != 1:
            return None
        at, counts = own[places[0]], []
        for written in (one, view, one):
            before = _words(at, COUNTER, ctypes.c_uint32)
            written.zero_()
            counts.append([now - then for now, then in zip(_words(at, COUNTER, ctypes.c_uint32), before, strict=True)])
    place = next((i for i, changed in enumerate(counts[0]) if changed), 0)
    once = [int(i == place) for i in range(COUNTER)]
    return Writes(WORD * places[0], 4 * place) if counts == [once] * 3 else None


@functools.cache
def gradient() -> Gradient | None:
    """Where gradients are; None where that is not known. Torch is imported."""
    torch = sys.modules["torch"]
    if not is_usual():
        return None
    with torch.inference_mode(False):
        one, given = torch.zeros(1, device="cpu"), torch.zeros(1, device="cpu")
        before = _impl(one)
        one.requires_grad_()
        own, other = _impl(one), _impl(given)
        metas = [i for i in range(IMPL) if before[i] == 0 != own[i]]
        things = [i for i in range(IMPL) if (own[i], other[i]) == (id(one), id(given))]
        if len(metas) != 1 or len(things) != 1:
            return None
        data = _impl(one.data)
        storages = [i for i in range(IMPL) if own[i] == data[i] != other[i]]
        at = own[metas[0]]
        nothing, one.grad = _words(at, META), given
        something = _words(at, META)
    grads = [i for i in range(META) if nothing[i] != something[i] == given._cdata]
    if len(grads) != 1 or _words(nothing[grads[0]], IMPL)[things[0]] != 0:
        return None
    return Gradient(WORD * metas[0], WORD * grads[0], WORD * things[0], WORD * storages[0] if len(storages) == 1 else 0)


def _impl(tensor: Any) -> list[int]:
    """The first words of a tensor of C++'s."""
    return _words(tensor._cdata, IMPL)


def _words(at: int, count: int, kind: type[ctypes._SimpleCData[int]] = ctypes.c_int64) -> list[int]:
    return list((kind * count).from_address(at))
