"""A state in a file: its arrays in the safetensors format, with a checksum each; its options, and one of all that.

A state dict goes in and comes out. What is read has been compared with its checksums, byte for byte: a bit that flipped
on a disk is an error that names the array. The checksums find accidents; whoever writes a file can write them, too, so
what was read is checked by `load_state_dict` like any other state.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import atomic, tensor_file
from .arrays.homes import Array
from .errors import ArrayError, OptionError
from .tensor_file import Entry, Header, refuse

FORMAT, VERSION = "rmsprop_jit", "1"
"""Of files. The version of the state inside is its own, see `saving`."""

OPTIONS = "options"
"""The one entry of a state that is a text."""

CHECKSUM, DIGEST = "checksum", 16
"""The text that is a checksum of all others and of the header's rows, and its bytes."""

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
    strange = [f"{name!r}: {array.dtype}" for name, array in arrays.items() if array.dtype not in tensor_file.NAMES]
    if strange:
        known = ", ".join(map(str, tensor_file.NAMES))
        raise ArrayError(f"a file holds arrays of {known}. Received: {', '.join(strange[:5])}. Convert them first.")
    texts = {
        "format": FORMAT,
        "file_version": VERSION,
        "library": _library(),
        OPTIONS: str(state[OPTIONS]),
        "checksums": json.dumps({name: _checksum(array) for name, array in arrays.items()}),
    }

    def write(new: str) -> None:
        unlike = os.urandom(DIGEST).hex()  # of the checksum's length, and nowhere else in the header
        tensor_file.write(new, arrays, {**texts, CHECKSUM: unlike})
        with tensor_file.opened(new) as file:  # which says where the package has put the arrays
            checksum = _of_header(file.header.entries, texts)
        tensor_file.exchange(new, unlike, checksum)

    atomic.replace(_text(path), write, sum(array.nbytes for array in arrays.values()), keep)


def load(path: Path) -> dict[str, Any]:
    """The state in a file, for `load_state_dict`. Raises OSError, or FileError, naming the place, for a damaged one."""
    label = _text(path)
    with tensor_file.opened(label) as file:
        checksums = _checked_texts(file.header, label)
        state: dict[str, Any] = {OPTIONS: file.header.texts[OPTIONS]}
        for name in file.header.entries:
            array = file.read(name)
            found = _checksum(array)
            if found != checksums[name]:
                raise refuse(
                    label,
                    f"array {name!r} is damaged: its checksum is not {checksums[name]!r}",
                    f"{found!r} of its bytes",
                )
            state[name] = array
    return state


def contents(path: Path) -> Contents:
    """What is in a file, damaged arrays included. Raises OSError, or FileError where the header is damaged."""
    label = _text(path)
    rows, small = [], {}
    with tensor_file.opened(label) as file:
        header = file.header
        checksums = _checked_texts(header, label)
        for name, entry in header.entries.items():
            array = file.read(name)
            is_whole = _checksum(array) == checksums[name]
            rows.append(Row(name, entry.dtype, entry.shape, entry.end - entry.begin, checksums[name], is_whole))
            if array.dtype.kind in "bi":
                small[name] = array
    return Contents(label, file.size, header.texts["library"], header.texts[OPTIONS], small, rows)


def _library() -> str:
    """The version of this package; by its name, since it imports this module, when it is asked for."""
    return str(importlib.import_module(__name__.rpartition(".")[0]).__version__)


def _text(path: Path) -> str:
    try:
        return os.fspath(os.fsdecode(path))
    except (TypeError, ValueError):
        raise OptionError(f"`path` must be a str or a Path. Received: path={path!r}.") from None


def _checksum(array: Array) -> str:
    """CRC-32, as zip has it: it finds every damage of 32 bits in a row, and all but one in 2**32 of others."""
    return f"{zlib.crc32(tensor_file.raw(tensor_file.laid_out(array))):08x}"


def _of_header(entries: Mapping[str, Entry], texts: Mapping[str, str]) -> str:
    """The checksum of all that a header says but this."""
    said = json.dumps([sorted((name, *entry) for name, entry in entries.items()), texts], sort_keys=True)
    return hashlib.blake2b(said.encode(), digest_size=DIGEST).hexdigest()


def _checked_texts(header: Header, label: str) -> dict[str, str]:
    """The checksums of a file's arrays. Raises FileError unless it is a state, with a header as it was written."""
    texts = dict(header.texts)
    if texts.get("format") != FORMAT:
        raise refuse(label, "it is no state that `save` has written", f"format={texts.get('format')!r}")
    if texts.get("file_version") != VERSION:
        what = f"it is of another version of the format than {VERSION}; a newer rmsprop_jit may read it"
        raise refuse(label, what, f"file_version={texts.get('file_version')!r}, by {texts.get('library')!r}")
    given = texts.pop(CHECKSUM, None)
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
