"""A state in a file: its arrays in the safetensors format, with a checksum each; its options, and one of all that.

A state dict goes in and comes out. What is read has been compared with its checksums, byte for byte: a bit that flipped
on a disk is an error that names the array. The checksums find accidents; whoever writes a file can write them, too, so
what was read is checked by `load_state_dict` like any other state.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import json
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from . import atomic, tensor_file
from .arrays.homes import Array
from .errors import OptionError
from .tensor_file import Entry, Header, refuse

FORMAT, VERSION = "rmsprop_jit", "1"
"""Of files. The version of the state inside is its own, see `saving`."""

OPTIONS = "options"
"""The one entry of a state that is a text."""

Path = str | os.PathLike[str]


class Row(NamedTuple):
    """An array of a file as it is shown."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    checksum: str
    is_whole: bool


class Contents(NamedTuple):
    """What is in a file, to be shown. `small` are the arrays that count calls and windows."""

    path: str
    bytes: int
    library: str
    options: str
    small: dict[str, Array]
    rows: list[Row]


def save(path: Path, state: Mapping[str, Array], keep: int) -> None:
    """Let a file be what `state_dict` returned, and keep so many files in all. Raises OSError, OptionError."""
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
        raise OptionError(f"`keep` must be an integer >= 1, the number of files. Received: keep={keep!r}.")
    arrays = {name: tensor_file.laid_out(array) for name, array in state.items() if name != OPTIONS}
    texts = {
        "format": FORMAT,
        "file_version": VERSION,
        "library": _library(),
        OPTIONS: str(state[OPTIONS]),
        "checksums": json.dumps({name: _checksum(array) for name, array in arrays.items()}),
    }
    entries = tensor_file.placed(arrays)
    texts["checksum"] = _of_header(entries, texts)
    atomic.replace(_text(path), tensor_file.parts(arrays, entries, texts), keep)


def load(path: Path) -> dict[str, Any]:
    """The state in a file, for `load_state_dict`. Raises OSError, or FileError, naming the place, for a damaged one."""
    label = _text(path)
    with _opened(label) as (file, size):
        header = tensor_file.read_header(file, size, label)
        checksums = _checked_texts(header, label)
        state: dict[str, Any] = {OPTIONS: header.texts[OPTIONS]}
        for name in header.entries:
            state[name] = tensor_file.read_array(file, header, name, label)
            found = _checksum(state[name])
            if found != checksums[name]:
                raise refuse(
                    label,
                    f"array {name!r} is damaged: its checksum is not {checksums[name]!r}",
                    f"{found!r} of its bytes",
                )
    return state


def contents(path: Path) -> Contents:
    """What is in a file, damaged arrays included. Raises OSError, or FileError where the header is damaged."""
    label = _text(path)
    rows, small = [], {}
    with _opened(label) as (file, size):
        header = tensor_file.read_header(file, size, label)
        checksums = _checked_texts(header, label)
        for name, entry in header.entries.items():
            array = tensor_file.read_array(file, header, name, label)
            is_whole = _checksum(array) == checksums[name]
            rows.append(Row(name, entry.dtype, entry.shape, entry.end - entry.begin, checksums[name], is_whole))
            if array.dtype.kind in "bi":
                small[name] = array
    return Contents(label, size, header.texts["library"], header.texts[OPTIONS], small, rows)


def _library() -> str:
    """The version of this package; by its name, since it imports this module, when it is asked for."""
    return str(importlib.import_module(__name__.rpartition(".")[0]).__version__)


def _text(path: Path) -> str:
    try:
        return os.fspath(os.fsdecode(path))
    except (TypeError, ValueError):
        raise OptionError(f"`path` must be a str or a Path. Received: path={path!r}.") from None


@contextlib.contextmanager
def _opened(label: str) -> Iterator[tuple[BinaryIO, int]]:
    """A file with its size; no pipe or device, which may have no end."""
    handle = os.open(label, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "it is no file", label)
        with open(handle, "rb", closefd=False) as file:
            yield file, info.st_size
    finally:
        os.close(handle)


def _checksum(array: Array) -> str:
    """CRC-32, as zip has it: it finds every damage of 32 bits in a row, and all but one in 2**32 of others."""
    return f"{zlib.crc32(tensor_file.raw(tensor_file.laid_out(array))):08x}"


def _of_header(entries: Mapping[str, Entry], texts: Mapping[str, str]) -> str:
    """The checksum of all that a header says but this."""
    said = json.dumps([sorted((name, *entry) for name, entry in entries.items()), texts], sort_keys=True)
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()


def _checked_texts(header: Header, label: str) -> dict[str, str]:
    """The checksums of a file's arrays. Raises FileError unless it is a state, with a header as it was written."""
    texts = dict(header.texts)
    if texts.get("format") != FORMAT:
        raise refuse(label, "it is no state that `save` has written", f"format={texts.get('format')!r}")
    if texts.get("file_version") != VERSION:
        what = f"it is of another version of the format than {VERSION}; a newer rmsprop_jit may read it"
        raise refuse(label, what, f"file_version={texts.get('file_version')!r}, by {texts.get('library')!r}")
    given = texts.pop("checksum", None)
    found = _of_header(header.entries, texts)
    if given != found:
        raise refuse(label, f"its header is damaged: its checksum is not {given!r}", f"{found!r} of what it says")
    for name in ("library", OPTIONS, "checksums"):
        if name not in texts:
            raise refuse(label, f"its header has no text {name!r}", sorted(texts))
    try:
        checksums = json.loads(texts["checksums"])
    except (ValueError, RecursionError):
        checksums = None
    if not isinstance(checksums, dict) or checksums.keys() != header.entries.keys():
        raise refuse(label, "its header must have a checksum for each array", texts["checksums"])
    return {name: str(checksum) for name, checksum in checksums.items()}
