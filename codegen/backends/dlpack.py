"""DLPack: what many tensors say of themselves at once, by the C function that their class offers for it.

A question takes 30 to 80 ns for each of torch's tensors when Python asks it, and a call must ask every tensor anew: its
memory can be exchanged while the object, and its version, stay. A class can offer a table of C functions
(`__dlpack_c_exchange_api__`, DLPack 1.3; torch from 2.10), one of which describes a tensor without making anything;
compiled code calls it for one tensor after the other.

Nothing here knows where tensors lie, nor what is wanted of them: they are compared with what others said before.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..memory import begin_of, equal, is_usual, items_of
from . import inside, shim
from .attribute import Attribute
from .noted import COMPARED, FACTS, INT, NOTED, WRITTEN, Cell, Field, loaded

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


Layout = tuple[tuple[int, ...], tuple[int, ...] | None]
"""The shape of a tensor, and its strides in elements, 0 along axes of one element; None if it is contiguous."""


class Said:
    """What is said of some tensors: where they begin; and in a row each one's class, device, kind, shape and strides.

    Strides that mean nothing are 0: those of contiguous tensors, and of axes along which there is one element.
    """

    __slots__ = ("at", "begins", "facts")

    def __init__(self, begins: Int64, facts: Int64) -> None:
        self.begins, self.facts, self.at = begins, facts, begin_of(facts)

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
            cells |= _inside(function, attribute.name)
        is_own = function == shim.describer()
        more, self._own = shim.behind() if is_own else None, shim.DESCRIBE if is_own else None
        self._block = np.array([0] * (Cell.TENSOR + len(Field)) + list(more or ()), np.int64)
        self._block[list(cells)] = list(cells.values())

    def say(self) -> Said | None:
        """What all say now; None if one cannot, or has another number of dimensions than was expected."""
        facts = np.empty(self._room, np.int64)
        begins = self._begins(WRITTEN, begin_of(facts), [None] * len(self._tensors))
        return None if begins is None else Said(begins, facts)

    def where_alike(self, said: Said, held: list[Any] | None = None) -> Int64 | None:
        """Where they begin, if they say all else as others did; else None. What they hold is put into `held`."""
        if said.facts.size != self._room:
            return None
        return self._begins(COMPARED, said.at, [None] * len(self._tensors) if held is None else held)

    def say_again(self, said: Said) -> bool:
        """Whether they say the same, and begin at the same places."""
        begins = self.where_alike(said)
        return begins is not None and equal(begins, said.begins)

    def _begins(self, code: str, facts_at: int, held: list[Any]) -> Int64 | None:
        """Where all begin; and what they say beside is written, or compared.

        The function sets an exception where it fails, which ctypes raises. Whoever asks with care finds out the reason.
        """
        size = len(self._block)
        block = np.empty(size + self._turns * len(self._tensors), np.int64)  # another thread may ask at the same time
        block[:size], begins, at = self._block, block[size:], begin_of(block)
        block[Cell.BEGINS_AT], block[Cell.FACTS_AT], block[Cell.HELD_AT] = at + 8 * size, facts_at, items_of(held)
        try:
            return begins if loaded(code, self._own)(at) == NOTED else None
        except Exception:
            return None


def _inside(function: int, name: str) -> dict[Cell, int]:
    """Where compiled code finds by itself what tensors hold under a name; nothing where it has to ask."""
    known = inside.gradient() if name == "grad" and function == shim.describer() else None
    if known is None:
        return {}
    keep = ctypes.cast(ctypes.pythonapi.Py_IncRef, ctypes.c_void_p).value or 0
    places = Cell.META, Cell.GRAD, Cell.THING, Cell.STORAGE
    return {**dict(zip(places, known, strict=True)), Cell.KEEP: keep}


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
