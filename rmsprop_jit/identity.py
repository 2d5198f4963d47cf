"""Whether the same objects come again: asked of all gradients in every call, and so of their addresses at once."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Collection
from operator import is_
from typing import Any

_WORD = ctypes.sizeof(ctypes.c_void_p)
_ITEMS = 3 * _WORD
"""Where in a list CPython keeps the address of its items: after the count of references, the type and the length."""

_IS_KNOWN = sys.implementation.name == "cpython" and list.__basicsize__ == 5 * _WORD
"""Whether lists are laid out like that; not without a global lock, whose objects begin with more."""

FEW = 64
"""Fewer are asked one by one in no more time."""


def same(passed: Collection[Any], own: list[Any]) -> bool:
    """Whether as many objects are the same ones in the same order. Nobody else may change `own`.

    Of 1,000, one by one takes 18 us, and comparing lists by `==` would ask arrays whether their elements are equal.
    """
    if not _IS_KNOWN:
        return all(map(is_, passed, own))
    return _addresses(list(passed)) == _addresses(own)  # a copy, which no other thread can make shorter meanwhile


def _addresses(objects: list[Any]) -> bytes:
    at = ctypes.c_void_p.from_address(id(objects) + _ITEMS).value
    return ctypes.string_at(at, len(objects) * _WORD) if at else b""
