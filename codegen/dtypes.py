"""How numbers lie in memory: one row for each storage, known by NumPy's name for it.

Storage is not arithmetic: a program computes in one type, and casts where it loads or stores what is kept in another.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .errors import OptionError

VECTOR_BYTES = 16
"""What a GPU's thread loads or stores at once, at most."""


class Storage(NamedTuple):
    """The row of one storage.

    itemsize: bytes of an element.
    compute:  the name of the type that elements are computed in.
    scalar:   NumPy's type of an element.
    mlir:     MLIR's.
    compiled: whether processors and GPUs compute in it, not only the interpreter and MLIR's compilers.
    """

    name: str
    itemsize: int
    compute: str
    scalar: type[Any]
    mlir: str
    compiled: bool = True

    @property
    def lanes(self) -> int:
        """Elements of a vector of 16 bytes."""
        return VECTOR_BYTES // self.itemsize


STORAGES = {
    storage.name: storage
    for storage in (
        Storage("float16", 2, "float16", np.float16, "f16", compiled=False),
        Storage("float32", 4, "float32", np.float32, "f32"),
        Storage("float64", 8, "float64", np.float64, "f64"),
    )
}

COMPILED = tuple(name for name, storage in STORAGES.items() if storage.compiled)
"""The storages of processors and GPUs."""


def storage(name: str) -> Storage:
    """The row of a storage. Raises OptionError for an unknown one."""
    if name not in STORAGES:
        raise OptionError(f"a dtype is one of {', '.join(STORAGES)}. Received: {name!r}.")
    return STORAGES[name]
