"""Columns: what many arrays of one library say of themselves, one question after the other.

Asking all arrays one question is one call of `map`; asking each array everything takes three times as long. Whether the
answers are good is learned by comparison with those of arrays that were looked at with care.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

CANNOT_SAY = (AttributeError, TypeError, ValueError, RuntimeError, BufferError)
"""What arrays raise that have no memory of their own, or none that can be reached."""

_dtype, _shape, _device, _data, _ptr, _index, _device_id = map(
    operator.attrgetter, ("dtype", "shape", "device", "data", "ptr", "device_id", "device.id")
)


class Said(NamedTuple):
    """Where arrays begin; and what must be equal for arrays to be alike: dtypes, shapes, contiguity, devices."""

    begins: list[int]
    facts: tuple[list[Any], ...]


class Asked(Protocol):
    """How the arrays of a library are asked."""

    def ask(self, arrays: Sequence[Any]) -> Said:
        """Everything."""

    def begins(self, arrays: Sequence[Any]) -> list[int]:
        """Where they begin."""

    def layout(self, arrays: Sequence[Any]) -> tuple[list[Any], ...]:
        """What can become different of the same objects though they begin where they did; nothing if nothing can."""


def names_in(kind: type, memory: type) -> tuple[str, str]:
    """What tells of CuPy's arrays whether they are contiguous, and the number of their device.

    `flags` and `device` make objects, and are ten and three times as slow as what CuPy keeps the same facts in; the
    first of these is not public, and may go.
    """
    contiguous = "_c_contiguous" if hasattr(kind, "_c_contiguous") else "flags.c_contiguous"
    return contiguous, "data.device_id" if hasattr(memory, "device_id") else "device.id"


class OfCuPy:
    """CuPy's arrays."""

    def __init__(self, kind: type, memory: type) -> None:
        contiguous, index = names_in(kind, memory)
        self._contiguous, self._has_index = operator.attrgetter(contiguous), index.startswith("data.")

    def ask(self, arrays: Sequence[Any]) -> Said:
        """Where they begin, and on which device, is known to their memory."""
        memory = list(map(_data, arrays))
        indices = list(map(_index, memory)) if self._has_index else list(map(_device_id, arrays))
        facts = list(map(_dtype, arrays)), list(map(_shape, arrays)), list(map(self._contiguous, arrays)), indices
        return Said(list(map(_ptr, memory)), facts)

    def begins(self, arrays: Sequence[Any]) -> list[int]:
        """Where they begin."""
        return [array.data.ptr for array in arrays]

    def layout(self, arrays: Sequence[Any]) -> tuple[list[Any], ...]:
        """Nobody changes them in place."""
        return ()


class OfTorch:
    """torch's tensors, and what answers as they do. Methods are taken from the class, and bound to nothing."""

    def __init__(self, kind: Any) -> None:
        self.begin, self._contiguous = kind.data_ptr, kind.is_contiguous
        self._count, self._index = getattr(kind, "numel", _shape), getattr(kind, "get_device", None)

    def ask(self, arrays: Sequence[Any]) -> Said:
        """All that a kernel needs to be true."""
        facts = list(map(_dtype, arrays)), list(map(_shape, arrays)), list(map(self._contiguous, arrays))
        return Said(list(map(self.begin, arrays)), (*facts, self._places(arrays)))

    def _places(self, arrays: Sequence[Any]) -> list[Any]:
        """Their devices. Of one kind of device numbers are enough, which take half the time; the processor's is -1."""
        if self._index is None:
            return list(map(_device, arrays))
        return [*map(_device, arrays[:1]), *map(self._index, arrays)]

    def begins(self, arrays: Sequence[Any]) -> list[int]:
        """Where they begin."""
        return list(map(self.begin, arrays))

    def layout(self, arrays: Sequence[Any]) -> tuple[list[Any], ...]:
        """They can be cut and transposed in place."""
        return list(map(self._contiguous, arrays)), list(map(self._count, arrays))


def of_torch(kinds: set[type]) -> OfTorch | None:
    """How arrays of these classes are asked all at once; None if they are no tensors, or have methods of their own."""
    methods = {tuple(getattr(kind, name, None) for name in ("data_ptr", "is_contiguous")) for kind in kinds}
    if len(methods) != 1 or None in next(iter(methods)):
        return None
    return OfTorch(next(iter(kinds)))
