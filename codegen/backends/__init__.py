"""Where a program runs. Each backend turns the same printed body into something that can be launched.

A backend is imported when it is first asked for: importing the package loads no compiler.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from ..errors import BackendError

BACKENDS = {"reference": ".reference", "cpu": ".numba_cpu", "cuda": ".cuda", "mlir": ".mlir"}
"""By name: the interpreter that defines programs, compiled code for this processor or for a GPU, and text for MLIR's
compilers."""


def get(name: str) -> ModuleType:
    """The module of a backend. Raises BackendError for an unknown name."""
    if name not in BACKENDS:
        raise BackendError(f"a backend is one of {', '.join(BACKENDS)}. Received: {name!r}.")
    return importlib.import_module(BACKENDS[name], __name__)
