"""The safetensors format, by the package of that name: arrays by name in one file, with texts beside them.

The package writes, and checks what it reads: that a header is no longer than the file, that each array has the size of
its shape and dtype, and that they fill the file with no gap and no overlap. It reads with `pread`, one array at a time:
a file that becomes shorter meanwhile is an error, where memory that maps it would end the process. Done here is what it
does not do:

- a name that comes twice in a header, of which it takes the last, and what a row of a header has too much, are refused;
- dtypes that NumPy does not have are refused by name, and so are bytes that are no truth;
- what it raises says what is wrong, and is an error of this package, or of the system with its number.

Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .arrays.homes import Array
from .errors import FileError

DTYPES: dict[str, Any] = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
}
"""The format's names of dtypes, those that NumPy has and a state may have."""

LIGHT = "BF16"
"""One that NumPy has where ml_dtypes is installed."""

with contextlib.suppress(ImportError):
    from ml_dtypes import bfloat16

    DTYPES[LIGHT] = bfloat16

NAMES = {np.dtype(code): name for name, code in DTYPES.items()}

TEXTS = "__metadata__"
LENGTH = 8
"""Bytes that say how long the header is."""

PROBLEMS = {
    "header too": "its header cannot be as long as its first 8 bytes say",
    "invalid header length": "its header cannot be as long as its first 8 bytes say",
    "invalid offset": "an array does not begin where the one before it ends, or reaches beyond the file",
    "incomplete metadata": "its arrays do not end where it ends",
}
"""What is wrong, by what the package says of it. Where it says something else, that has to do."""

REMEDY = "Take an earlier file, or save the state again."


class Entry(NamedTuple):
    """An array in a file: from `begin` to `end`, in bytes behind the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    """What a file says that it holds."""

    entries: dict[str, Entry]
    texts: dict[str, str]


class Opened(NamedTuple):
    """A file whose header makes sense."""

    label: str
    size: int
    header: Header
    arrays: Any

    def read(self, name: str) -> Array:
        """An array, which nobody else has. Raises FileError where the file has changed, or the array makes no sense."""
        where = f"array {name[:200]!r}"
        try:
            array: Array = self.arrays.get_tensor(name)
        except (SafetensorError, ValueError) as problem:  # the latter of a shape that NumPy cannot have
            raise refuse(self.label, f"{where} cannot be read", str(problem)) from None
        if array.dtype == bool and array.size and array.view(np.uint8).max() > 1:
            raise refuse(self.label, f"{where} must hold truths", "a byte that is neither 0 nor 1")
        return array


def refuse(label: str, what: str, received: object) -> FileError:
    """The error of a file that is damaged, or none of these. What the file itself says may be long: it is shortened."""
    text = received if isinstance(received, str) else repr(received)
    return FileError(f"{label}: {_short(what, 400)}. Received: {_short(text, 200)}. {REMEDY}")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} ..."


def laid_out(array: Array) -> Array:
    """An array in the order and the bytes of a file; itself where it is so."""
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


def raw(array: Array) -> memoryview:
    """The bytes of an array that is laid out, sharing its memory."""
    return array.reshape(-1).view(np.uint8).data


def write(path: str, arrays: Mapping[str, Array], texts: Mapping[str, str]) -> None:
    """Let a file hold these, which are laid out; without copies of them. Raises OSError."""
    try:
        save_file(dict(arrays), path, dict(texts))
    except SafetensorError as problem:
        number = re.search(r"\(os error (\d+)\)", str(problem))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code) if number else str(problem), path) from problem


def exchange(path: str, old: str, new: str) -> None:
    """Let a text that is once in a file's header be another one of its length."""
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(LENGTH), "little")
        at = file.read(length).index(old.encode())
        file.seek(LENGTH + at)
        file.write(new.encode())


@contextlib.contextmanager
def opened(label: str) -> Iterator[Opened]:
    """What is in a file. Raises OSError, or FileError unless its header makes sense.

    It is opened twice, here and by the package: again, where it was replaced between the two.
    """
    while True:
        with _file(label) as file:
            arrays = _by_package(label)
            info = os.fstat(file.fileno())
            if not os.path.samestat(info, os.stat(label)):
                continue
            with arrays:
                yield Opened(label, info.st_size, _header(file, info.st_size, label), arrays)
            return


@contextlib.contextmanager
def _file(label: str) -> Iterator[BinaryIO]:
    """A file; no pipe or device, which may have no end."""
    handle = os.open(label, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no file", label)
        with open(handle, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(handle)


def _by_package(label: str) -> Any:
    try:
        return safe_open(label, "numpy", backend="pread")
    except SafetensorError as problem:
        said = str(problem).rpartition("deserializing header: ")[2]
        what = next((ours for theirs, ours in PROBLEMS.items() if said.startswith(theirs)), "its header is damaged")
        raise refuse(label, what, repr(said)) from None


def _header(file: BinaryIO, size: int, label: str) -> Header:
    """The header of a file that the package has accepted. Raises FileError for what it should not have."""
    length = int.from_bytes(file.read(LENGTH), "little")
    try:
        text = file.read(min(length, size)).decode()
        if not text.startswith("{") or not text.rstrip(" ").endswith("}"):
            raise ValueError("it is no JSON object, with nothing but spaces behind it")
        table: dict[str, Any] = json.loads(text, object_pairs_hook=_once)
    except ValueError as problem:
        raise refuse(label, f"its header is no table of arrays ({problem})", f"{length} bytes of it") from None
    texts = table.pop(TEXTS, None)
    return Header({name: _entry(name, row, label) for name, row in table.items()}, texts or {})


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError for a name that comes twice, of which one would be lost."""
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise ValueError(f"{name[:80]!r} comes twice")
        made[name] = value
    return made


def _entry(name: str, row: dict[str, Any], label: str) -> Entry:
    """An array's row of the header, whose numbers the package has checked."""
    where = f"array {name[:200]!r} in its header"
    if row.keys() != {"dtype", "shape", "data_offsets"}:
        raise refuse(label, f"{where} must have dtype, shape and data_offsets", row)
    if row["dtype"] not in DTYPES:
        lacking = "" if LIGHT in DTYPES else f" ({LIGHT} with ml_dtypes: pip install ml_dtypes)"
        raise refuse(label, f"{where} must have one of the dtypes {', '.join(DTYPES)}{lacking}", row["dtype"])
    return Entry(row["dtype"], tuple(row["shape"]), *row["data_offsets"])
