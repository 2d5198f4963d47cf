"""Whether the same objects come again: asked of all gradients in every call, and so of their addresses at once."""

from __future__ import annotations

import ctypes
from collections.abc import Collection
from operator import is_
from typing import Any

from .codegen.backends.lists import hold_the_same
from .codegen.memory import WORD, is_usual, items_of, lists_are_known

_IS_KNOWN, _IS_USUAL = lists_are_known(), is_usual()

FEW = 64
"""Fewer are asked one by one in no more time."""


def same(passed: Collection[Any], own: list[Any]) -> bool:
    """Whether as many objects are the same ones in the same order. Nobody else may change `own`.

    Of 1,000, one by one takes 18 us, and comparing lists by `==` would ask arrays whether their elements are equal.
    """
    if _IS_USUAL and type(passed) is list:
        return hold_the_same(passed, own)
    if not _IS_KNOWN:
        return all(map(is_, passed, own))
    return _addresses(list(passed)) == _addresses(own)  # a copy, which no other thread can make shorter meanwhile


def _addresses(objects: list[Any]) -> bytes:
    at = items_of(objects)
    return ctypes.string_at(at, len(objects) * WORD) if at else b""
