"""The safetensors format: arrays by name in one file, with texts beside them. Nothing in a file is trusted.

A file is eight bytes (the header's length), the header (JSON: dtype, shape and place of each array, and the texts as
`__metadata__`), and the arrays' bytes one after the other. The package of that name copies all arrays before it writes,
waits for no disk, and does not say which name is wrong; tests hold what is written and refused here against it.

Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .arrays.homes import Array
from .errors import FileError

DTYPES = {
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
"""The format's names of dtypes, those that NumPy has."""

NAMES = {np.dtype(code): name for name, code in DTYPES.items()}

TEXTS = "__metadata__"
LENGTH = 8
"""Bytes that say how long the header is."""

LONGEST = 100_000_000
"""Bytes of a header; the format allows no more."""

MOST_AXES = 32

REMEDY = "Take an earlier file, or save the state again."


class Entry(NamedTuple):
    """An array in a file: from `begin` to `end`, in bytes behind the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    """What is in a file. `start` is where the arrays begin."""

    entries: dict[str, Entry]
    texts: dict[str, str]
    start: int


def refuse(label: str, what: str, received: object) -> FileError:
    """The error of a file that is damaged, or none of these. What the file itself says may be long: it is shortened."""
    text = received if isinstance(received, str) else repr(received)
    return FileError(f"{label}: {_short(what, 400)}. Received: {_short(text, 200)}. {REMEDY}")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} ..."


def placed(arrays: Mapping[str, Array]) -> dict[str, Entry]:
    """Where in a file each of these arrays goes, which are laid out.

    The widest come first, as the package has it: so each lies at a multiple of its dtype's size.
    """
    made: dict[str, Entry] = {}
    begin = 0
    for name in sorted(arrays, key=lambda name: -arrays[name].itemsize):
        array = arrays[name]
        made[name] = Entry(NAMES[array.dtype], array.shape, begin, begin + array.nbytes)
        begin += array.nbytes
    return made


def parts(arrays: Mapping[str, Array], entries: Mapping[str, Entry], texts: Mapping[str, str]) -> list[Any]:
    """The bytes of a file, part by part, sharing memory with the arrays."""
    rows = {
        name: {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [entry.begin, entry.end]}
        for name, entry in entries.items()
    }
    header = json.dumps({TEXTS: dict(texts), **rows}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % LENGTH)
    return [len(header).to_bytes(LENGTH, "little") + header, *(raw(arrays[name]) for name in entries)]


def laid_out(array: Array) -> Array:
    """An array in the order and the bytes of a file; itself where it is so."""
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


def raw(array: Array) -> memoryview:
    """The bytes of an array that is laid out, sharing its memory."""
    return array.reshape(-1).view(np.uint8).data


def read_header(file: BinaryIO, size: int, label: str) -> Header:
    """What a file of so many bytes says that it holds. Raises FileError unless it fits the file, byte for byte.

    Nothing is read, nor made, that is longer than the file.
    """
    first = file.read(LENGTH)
    length = int.from_bytes(first, "little")
    if len(first) < LENGTH or not 2 <= length <= min(size - LENGTH, LONGEST):
        raise refuse(
            label, "its header cannot be as long as its first 8 bytes say", f"{length} of {size} bytes in the file"
        )
    table = _table(file.read(length), length, label)
    texts = table.pop(TEXTS, {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise refuse(label, f"{TEXTS!r} in its header must be texts by name", texts)
    entries = {name: _entry(name, value, label) for name, value in table.items()}
    _check_places(entries, size - LENGTH - length, label)
    return Header(entries, texts, LENGTH + length)


def _table(content: bytes, length: int, label: str) -> dict[str, Any]:
    try:
        if len(content) != length:
            raise ValueError("it is cut off")
        text = content.decode().rstrip(" ")
        if not text.startswith("{") or not text.endswith("}"):
            raise ValueError("it is no JSON object, with nothing but spaces behind it")
        table: dict[str, Any] = json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise refuse(label, "its header is no JSON", "far too many brackets") from None
    except ValueError as problem:
        raise refuse(label, f"its header is no table of arrays ({problem})", content[:80]) from None
    return table


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError for a name that comes twice, of which one would be lost."""
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise ValueError(f"{name[:80]!r} comes twice")
        made[name] = value
    return made


def _entry(name: str, value: Any, label: str) -> Entry:
    """An array's row of the header. Raises FileError unless it makes sense alone."""
    where = f"array {name[:200]!r} in its header"
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise refuse(label, f"{where} must have dtype, shape and data_offsets", value)
    dtype, shape, place = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise refuse(label, f"{where} must have one of the dtypes {', '.join(DTYPES)}", dtype)
    if not _are_counts(shape) or len(shape) > MOST_AXES:
        raise refuse(label, f"{where} must have a shape of at most {MOST_AXES} whole numbers", shape)
    if not _are_counts(place) or len(place) != 2:
        raise refuse(label, f"{where} must have two data_offsets", place)
    begin, end = place
    if math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize != end - begin:
        raise refuse(label, f"{where} has another size than its place", f"{dtype}{shape} in {place}")
    return Entry(dtype, tuple(shape), begin, end)


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int and 0 <= one < 2**63 for one in value)


def _check_places(entries: Mapping[str, Entry], size: int, label: str) -> None:
    """Raise FileError unless the arrays fill what is behind the header: no gap, no overlap, nothing left."""
    at = 0
    for name, entry in sorted(entries.items(), key=lambda pair: (pair[1].begin, pair[1].end)):
        if entry.begin != at or entry.end > size:
            raise refuse(
                label,
                f"array {name[:200]!r} does not begin where the one before it ends, or reaches beyond the file",
                f"bytes {entry.begin} to {entry.end}, where {at} of {size} were taken",
            )
        at = entry.end
    if at != size:
        raise refuse(label, "it holds bytes that are of no array", f"{size - at} bytes behind the last array")


def read_array(file: BinaryIO, header: Header, name: str, label: str) -> Array:
    """An array of a file whose header was read. Raises FileError where the file has become shorter."""
    entry = header.entries[name]
    try:
        array: Array = np.empty(entry.shape, DTYPES[entry.dtype])
    except ValueError as problem:  # of no elements, and too many for NumPy along other axes
        raise refuse(label, f"array {name[:200]!r} in its header has no shape ({problem})", entry.shape) from None
    file.seek(header.start + entry.begin)
    view = raw(array)
    got = 0
    while got < len(view):
        count = file.readinto(view[got:])  # type: ignore[attr-defined]
        if not count:
            raise refuse(label, f"array {name[:200]!r} is cut off", f"{got} of {len(view)} bytes")
        got += count
    if array.dtype == bool and array.size and array.view(np.uint8).max() > 1:
        raise refuse(label, f"array {name[:200]!r} must hold truths", "a byte that is neither 0 nor 1")
    return array
