"""Columns: what many of CuPy's arrays say of themselves, all of them asked at once, as torch's tensors are."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tensors import Found

_dtype, _shape, _data, _ptr, _device_id, _place = map(
    operator.attrgetter, ("dtype", "shape", "data", "ptr", "device_id", "device.id")
)


def names_in(kind: type, memory: type) -> tuple[str, str]:
    """What tells of CuPy's arrays whether they are contiguous, and the number of their device.

    `flags` and `device` make objects, and are ten and three times as slow as what CuPy keeps the same facts in; the
    first of these is not public, and may go.
    """
    contiguous = "_c_contiguous" if hasattr(kind, "_c_contiguous") else "flags.c_contiguous"
    return contiguous, "data.device_id" if hasattr(memory, "device_id") else "device.id"


class OfCuPy:
    """CuPy's arrays, which nobody changes in place."""

    def __init__(self, kind: type, memory: type, arrays: Sequence[Any]) -> None:
        contiguous, index = names_in(kind, memory)
        self._contiguous, self._has_index = operator.attrgetter(contiguous), index.startswith("data.")
        self._facts = self._ask(arrays, list(map(_data, arrays)))

    def alike(self, arrays: Sequence[Any]) -> Found | None:
        """Where they begin, and on which device, is known to their memory."""
        memory = list(map(_data, arrays))
        if self._ask(arrays, memory) != self._facts:
            return None
        return Found(np.array(list(map(_ptr, memory)), np.int64), None)

    def _ask(self, arrays: Sequence[Any], memory: list[Any]) -> tuple[list[Any], ...]:
        indices = list(map(_device_id, memory)) if self._has_index else list(map(_place, arrays))
        return list(map(_dtype, arrays)), list(map(_shape, arrays)), list(map(self._contiguous, arrays)), indices
