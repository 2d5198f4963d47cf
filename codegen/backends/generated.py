"""From generated Python source to an address: from memory, else from the store, else through Numba.

Code is the same for the same source, so the source's hash (with all that shapes the machine code: versions, processor,
the compiler files of this package) is its name everywhere.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import linecache
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import store
from . import native
from .native import LOCK, MachineCode

COMPILER_FILES = ("intrinsics.py", "strips.py", "native.py", "generated.py")


@functools.cache
def circumstances() -> str:
    """What shapes machine code beside its source, as text: versions, processor, compiler files."""
    from importlib import metadata  # not light, and only wanted when there is something to compile

    versions = [f"{package} {metadata.version(package)}" for package in ("numba", "llvmlite")]
    folder = Path(__file__).parent
    files = hashlib.sha256(b"".join((folder / name).read_bytes() for name in COMPILER_FILES)).hexdigest()[:16]
    return "\n".join([*versions, native.host_text(), files])


@functools.cache
def key_of(source: str) -> str:
    """The name of a source's code in the store."""
    return hashlib.sha256(f"{circumstances()}\n{source}".encode()).hexdigest()[:32]


def is_kept(source: str) -> bool:
    """Whether a source needs no compilation."""
    return store.contains(key_of(source))


@functools.cache
def code(source: str) -> MachineCode:
    """The machine code of a source that defines `step(table)`."""
    with LOCK:
        key = key_of(source)
        kept = store.read(key)
        if kept is not None:
            made = MachineCode(kept["ir"].decode(), kept["object"], f"step_{key}")
            if native.is_complete(made):
                return made
        made = _compile(source, f"step_{key}")
        store.write(key, {"source": source.encode(), "ir": made.ir.encode(), "object": made.object_file})
        return made


@functools.cache
def address(source: str) -> int:
    """The address of the compiled `step` of a source; loaded once, for good."""
    with LOCK:
        made = code(source)
        return native.load(made.object_file, made.symbol)


def function(source: str) -> Callable[[int], None]:
    """The compiled `step` of a source as a Python function of the table's address; it releases Python's lock."""
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address(source))


def _compile(source: str, symbol: str) -> MachineCode:
    """Through Numba. The source is kept for tracebacks."""
    filename = f"<rmsprop_jit {symbol}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    names = _names()
    exec(compile(source, filename, "exec"), names)
    return native.compile_function(names["step"], symbol)


def _names() -> dict[str, Any]:
    """What generated code may name."""
    import numba

    from . import intrinsics

    return {
        "float32": numba.float32,
        "float64": numba.float64,
        "INF": math.inf,
        "NAN": math.nan,
        **intrinsics.BY_NAME,
    }
