"""Attribute: what many objects hold under one name, fetched all at once by the C function that stands behind the name.

Python takes 80 to 150 ns to look up `tensor.grad`, half of it on the way to the function. Compiled code calls that for
one object after the other.
"""

from __future__ import annotations

import ctypes
import functools
import operator
import types
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any

import numpy as np

from ..memory import ORDINARY_HEAD, begin_of, is_usual, items_of

DEFINITION = ORDINARY_HEAD + 3 * 8
"""Where in a getset descriptor CPython keeps the address of its definition: after the class and two names."""


class Definition(ctypes.Structure):
    """PyGetSetDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("get", ctypes.c_void_p),
        ("set", ctypes.c_void_p),
        ("doc", ctypes.c_char_p),
        ("closure", ctypes.c_void_p),
    )


class Cell(IntEnum):
    """What compiled code is passed, in one block."""

    GET = 0
    CLOSURE = 1
    DROP = 2  # gives up a reference to an object
    COUNT = 3
    OBJECTS_AT = 4
    FOUND_AT = 5  # objects, which are given up for those that are found


TAKE = f"""
def take(block_at):
    block = ints(block_at)
    objects = ints(block[{Cell.OBJECTS_AT}])
    found = ints(block[{Cell.FOUND_AT}])
    for i in range(block[{Cell.COUNT}]):
        thing = get(block[{Cell.GET}], objects[i], block[{Cell.CLOSURE}])
        if thing == 0:
            return 1
        old = found[i]
        found[i] = thing
        drop(block[{Cell.DROP}], old)
    return 0
"""


class Attribute:
    """What some objects hold under a name; called, it lists that. Objects do not change their classes.

    is_quick: whether compiled code fetches it.
    """

    def __init__(self, name: str, objects: Sequence[Any]) -> None:
        self.name, self.objects = name, list(objects)
        self._each = operator.attrgetter(name)
        self._definition = _definition(name, set(map(type, self.objects)))
        self.is_quick = self._definition is not None

    def functions(self) -> tuple[int, int, int]:
        """The addresses of what gets it, of what that is passed beside an object, and of what gives up an object."""
        if self._definition is None:
            raise TypeError("an attribute that only Python can look up")
        drop = ctypes.cast(ctypes.pythonapi.Py_DecRef, ctypes.c_void_p).value or 0
        return self._definition.get, self._definition.closure or 0, drop

    def __call__(self) -> list[Any]:
        """What they hold now."""
        if not self.is_quick:
            return list(map(self._each, self.objects))
        found: list[Any] = [None] * len(self.objects)
        get, closure, drop = self.functions()
        cells = {
            Cell.GET: get,
            Cell.CLOSURE: closure,
            Cell.DROP: drop,
            Cell.COUNT: len(found),
            Cell.OBJECTS_AT: items_of(self.objects),
            Cell.FOUND_AT: items_of(found),
        }
        _taker()(begin_of(np.array([cells[cell] for cell in Cell], np.int64)))  # raises what the function raises
        return found


class Held(Sequence[Any]):
    """What objects hold now: fetched when it is first asked for, unless compiled code did already."""

    def __init__(self, attribute: Attribute) -> None:
        self.attribute = attribute
        self.found: list[Any] | None = None

    def _all(self) -> list[Any]:
        if self.found is None:
            self.found = self.attribute()
        return self.found

    def __len__(self) -> int:
        return len(self.attribute.objects)

    def __getitem__(self, i: Any) -> Any:
        return self._all()[i]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all())


@functools.cache
def _taker() -> Any:
    """The compiled code, to be called with the GIL held."""
    from .cpu import jit  # with llvmlite, which not every step needs

    return ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(jit.fixed(TAKE).address)


def _definition(name: str, kinds: set[type]) -> Definition | None:
    """The functions behind the name in all of these classes; None where Python must look it up."""
    usual: object = object.__getattribute__
    if not is_usual() or any(kind.__getattribute__ is not usual for kind in kinds):
        return None
    found = [next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None) for kind in kinds]
    if len({*map(id, found)}) != 1 or type(found[0]) is not types.GetSetDescriptorType:
        return None
    definition = Definition.from_address(ctypes.c_void_p.from_address(id(found[0]) + DEFINITION).value or 0)
    return definition if definition.name == name.encode() and definition.get else None
