"""From source to code: from memory, else from the store, else compiled.

Code is the same for the same source, so the source's hash (with all that shapes the machine code: versions, processor,
settings, the files of the compiler) is its name everywhere. Nothing here keeps code for good: it lives as long as
its users, and for a while after them in case it is wanted again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import sys
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from ... import store
from ...errors import BackendError
from . import settings
from .llvm import LOCK, Code, MachineCode, check, from_ir, from_loops, host_text, is_complete

RECENT = 32
"""So many pieces of code outlive their users, at some 50 KiB each: optimizers that come and go compile nothing anew."""

_CODE: weakref.WeakValueDictionary[str, Code] = weakref.WeakValueDictionary()
_RECENT: deque[Code] = deque(maxlen=RECENT)
_FIXED: dict[str, Code] = {}


def circumstances() -> str:
    """What shapes machine code beside its source, as text: versions, processor, the compiler's files, settings."""
    return f"{_lasting()}\n{settings.text()}"


@functools.cache
def _lasting() -> str:
    """The part of it that a process cannot change."""
    versions = [f"{package} {_version_of(package)}" for package in ("numba", "llvmlite")]
    python = f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"
    return "\n".join([*versions, python, host_text(), store.compiler_files()])


def _version_of(package: str) -> str:
    """Which version of a package is installed, told without importing it, and by its own file if there is one.

    What importlib.metadata reads is in the form of mails: the libraries for these take 15 ms to import.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        with contextlib.suppress(OSError):
            return hashlib.sha256(Path(folder, "_version.py").read_bytes()).hexdigest()
    from importlib import metadata

    return metadata.version(package)


def key_of(source: str) -> str:
    """The name of a source's code in the store."""
    return hashlib.sha256(f"{circumstances()}\n{source}".encode()).hexdigest()[:32]


def code(source: str) -> Code:
    """The code of a source that defines `step`, compiled by Numba."""
    found = _CODE.get(source)  # without the lock: an interrupt must not find it taken in every step
    if found is not None:
        return found
    with LOCK:
        found = _CODE.get(source) or _CODE.setdefault(source, fetched(source))
        _RECENT.append(found)
        return found


def fixed(source: str) -> Code:
    """Code that is the same for every rule (see `fixed`); loaded once, for good."""
    found = _FIXED.get(source)
    if found is not None:
        return found
    with LOCK:
        if source not in _FIXED:
            _FIXED[source] = fetched(source, from_fixed).keep()
        return _FIXED[source]


def from_fixed(source: str, symbol: str) -> MachineCode:
    """Machine code of a source of fixed code (see `fixed`)."""
    from .fixed import module_of  # with llvmlite's builder, which kept code does not need

    return from_ir(module_of(source, symbol), symbol)


def from_fixed_loops(source: str, symbol: str) -> MachineCode:
    """The same of a loop over numbers, vectorised."""
    from .fixed import module_of

    return from_loops(module_of(source, symbol), symbol)


def from_numba(source: str, symbol: str) -> MachineCode:
    """Machine code of a source of any kind, compiled by Numba."""
    from .worker import compiled  # with what talks to another process, which kept code does not need

    return compiled(source, symbol)


def fetched(source: str, make: Callable[[str, str], MachineCode] = from_numba) -> Code:
    """The code of a source from the store, or made and put there; whatever is in memory already."""
    key = key_of(source)
    symbol = f"step_{key}"
    parts = store.read(key, source, lambda parts: check(_machine_code(parts, symbol)))
    if parts is not None and is_complete(kept := _machine_code(parts, symbol)):
        try:
            return Code(kept)
        except BackendError as problem:  # its entry looked right
            store.drop(key, str(problem))
    made = make(source, symbol)
    store.write(key, {"source": source.encode(), "ir": made.ir.encode(), "object": made.object_file})
    return Code(made)


def _machine_code(parts: Mapping[str, bytes], symbol: str) -> MachineCode:
    """An entry of the store as code. Raises ValueError or LookupError for another kind of entry."""
    return MachineCode(parts["ir"].decode(), parts["object"], symbol)
