"""Lists: whether two hold the same objects in the same order, without a touch of any of these.

A copy of a list counts a reference to each object: of 1,000 that nobody looked at lately that takes 175 us (measured),
most of what compiled code then needs to ask all of them everything.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from ..memory import ITEMS, WORD

COMPARE = f"""
def compare(one_at, other_at):
    one = ints(one_at)
    other = ints(other_at)
    count = one[{ITEMS // WORD - 1}]
    if count != other[{ITEMS // WORD - 1}]:
        return 0
    ours = ints(one[{ITEMS // WORD}])
    theirs = ints(other[{ITEMS // WORD}])
    differ = 0
    for i in range(count):
        differ = differ | (ours[i] - theirs[i])
    if differ != 0:
        return 0
    return 1
"""


def hold_the_same(one: list[Any], other: list[Any]) -> bool:
    """Whether they do; where `is_usual`, and of lists of no class of their own."""
    return bool(_comparer()(id(one), id(other)))


@functools.cache
def _comparer() -> Any:
    """The compiled code, to be called with the GIL held, so that no other thread changes a list meanwhile."""
    from .cpu import jit  # with llvmlite, which not every step needs

    return ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(jit.fixed(COMPARE).address)
