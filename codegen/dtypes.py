"""How numbers lie in memory: one row for each storage, known by NumPy's name for it.

Storage is not arithmetic: a program computes in one type, and casts where it loads or stores what is kept in another.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from .errors import BackendError, OptionError

VECTOR_BYTES, MOST_LANES = 16, 8
"""What a GPU's thread loads or stores at once of an array, at most: bytes, and elements."""

BLOCK = 64
"""Elements that share a scale, a float32: with it a byte of codes weighs 1.0625."""

GROUP = BLOCK // MOST_LANES
"""Threads of a GPU that have a block, if each has a vector of it."""


class Storage(NamedTuple):
    """The row of one storage.

    itemsize: bytes of an element.
    compute:  the name of the type that elements are computed in: what is loaded is of it.
    mlir:     MLIR's type.
    compiled: whether processors and GPUs have it, not only the interpreter and MLIR's compilers.
    loaded:   what compiled code has of an element once it is loaded, if that is not `compute`: what is said so of a
              storage that is not compiled is loaded, and never stored.
    package:  what has NumPy's type of this name.
    most:     the largest code, where elements are codes that have a scale in each block (see `blocks.py`); else 0.
    unsigned: what is in its place where no element is below zero, if anything is.
    asked:    how it is asked for, if it holds less than what is computed: one of `LIGHT`, or `FINE`.
    """

    name: str
    itemsize: int
    compute: str
    mlir: str
    compiled: bool = True
    package: str = "numpy"
    loaded: str = ""
    most: int = 0
    unsigned: str = ""
    asked: str = ""

    @property
    def scalar(self) -> type[Any]:
        """NumPy's type of an element. Raises BackendError if its package is not installed."""
        try:
            found: type[Any] = getattr(importlib.import_module(self.package), self.name)
        except ImportError:
            raise BackendError(
                f"{self.name} in NumPy's arrays comes with {self.package}, which is not installed. "
                f"Received: no module {self.package!r}. Run `pip install {self.package}`."
            ) from None
        return found

    @property
    def read(self) -> str:
        """The type of an element that compiled code has loaded."""
        return self.loaded or self.compute

    @property
    def is_rounded(self) -> bool:
        """Whether it holds less than what is computed, so that it is rounded where it is stored."""
        return self.name != self.compute

    @property
    def is_coded(self) -> bool:
        """Whether it has codes and scales."""
        return self.most > 0

    @property
    def is_unsigned(self) -> bool:
        """Whether its codes have no sign: it is in the place of what was asked for."""
        return self.is_coded and self.name != self.asked

    @property
    def lanes(self) -> int:
        """Elements of a vector."""
        return min(MOST_LANES, VECTOR_BYTES // self.itemsize)


BYTE = "byte"
"""Of what a parameter is more than its array shows (see `beside.py`)."""

STORAGES = {
    storage.name: storage
    for storage in (
        Storage("uint8", 1, "float32", "i8", most=255, asked="int8"),
        Storage("int8", 1, "float32", "i8", most=127, unsigned="uint8", asked="int8"),
        Storage(BYTE, 1, "float32", "i8", asked="bfloat16+int8"),
        Storage("float16", 2, "float16", "f16", compiled=False, loaded="float32"),
        Storage("bfloat16", 2, "float32", "bf16", package="ml_dtypes", asked="bfloat16"),
        Storage("float32", 4, "float32", "f32"),
        Storage("float64", 8, "float64", "f64"),
    )
}

KEPT = tuple(name for name, storage in STORAGES.items() if storage.compiled)
"""The storages of processors and GPUs."""

READ = tuple(name for name, storage in STORAGES.items() if storage.compiled or storage.loaded)
"""Those of what is only read: each number of them is one of float32 or float64."""

CODES = tuple(name for name, storage in STORAGES.items() if storage.is_coded)
"""Those with a scale for each block."""

LIGHT = tuple(sorted(name for name, storage in STORAGES.items() if storage.asked == name))
"""What slots can be kept in that holds less than what is computed, as it is asked for."""

FINE = STORAGES[BYTE].asked
"""What parameters of bfloat16 can be kept in, by patterns over "variable:parameter"."""

COMPILED = tuple(name for name in KEPT if not STORAGES[name].is_rounded)
"""The types that they compute in."""


def lacking(compute: str, kept: Iterable[tuple[str, bool]]) -> bool:
    """Whether processors and GPUs cannot have a program that computes in this type.

    kept: the storage of each array, and whether it is only read.
    """
    return compute not in COMPILED or not all(name in (READ if is_read else KEPT) for name, is_read in kept)


@functools.cache
def light_name(dtype: Any) -> str:
    """How what holds less than what is computed is asked for, or nothing. (A dtype takes long to say its own name.)"""
    return STORAGES[dtype.name].asked if dtype.name in STORAGES else ""


def storage(name: str) -> Storage:
    """The row of a storage. Raises OptionError for an unknown one."""
    return dtype(name) if name not in STORAGES else STORAGES[name]


def dtype(name: str) -> Storage:
    """The row of a storage without codes. Raises OptionError for an unknown one, and for one that only slots have."""
    others = (*CODES, BYTE)  # of which none is all of an array
    if name not in STORAGES or name in others:
        known = ", ".join(one for one in STORAGES if one not in others)
        raise OptionError(f"a dtype is one of {known}. Received: {name!r}.")
    return STORAGES[name]
