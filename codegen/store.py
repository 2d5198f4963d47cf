"""The store: compiled code on disk, found by the hash of everything that it was made from.

An entry is one file, written beside and moved into place, so that several processes can fill the store at once and a
reader sees a whole file or none. It carries its own hash, its key and its source, and its reader looks at the code
before using it: a file that is truncated, damaged, or under another's name is dropped with one warning and made anew.
Where the folder cannot be written, work goes on without it.

The folder is the user's cache folder, or the environment variable RMSPROP_JIT_CACHE_DIR ("off" for none).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

VARIABLE = "RMSPROP_JIT_CACHE_DIR"
MAGIC = b"rmsprop_jit 2\n"
ANY_MAGIC = re.compile(rb"rmsprop_jit \d+\n")
SUFFIX = ".step"
DIGEST_SIZE = 32
LIMIT = 1 << 28
"""Bytes of one part, far above any: a few bytes can be made to decompress to more than there is memory."""


def folder() -> Path | None:
    """Where entries are kept; None if the store is switched off."""
    chosen = os.environ.get(VARIABLE)
    if chosen == "off":
        return None
    return Path(chosen) if chosen else _default_folder()


@functools.cache
def _default_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("rmsprop_jit", appauthor=False))


def read(
    key: str, source: str | None = None, check: Callable[[Mapping[str, bytes]], None] | None = None
) -> dict[str, bytes] | None:
    """The named parts of an entry, or None if it is not there.

    An entry that is damaged, is of another key or source, or for which `check` raises ValueError or LookupError, is
    removed, with a warning. One of another version of this format is as good as none: an upgrade is not a fault.
    """
    place = folder()
    if place is None:
        return None
    try:
        content = (place / (key + SUFFIX)).read_bytes()
    except OSError:
        return None
    if _is_of_another_version(content):
        return None
    try:
        parts = _unpacked(key, content)
        if source is not None and parts["source"] != source.encode():
            raise ValueError("it was made from another source")
        if check is not None:
            check(parts)
    except ValueError as problem:
        drop(key, str(problem))
    except LookupError as missing:
        drop(key, f"it has no part {missing}")
    else:
        return parts
    return None


def drop(key: str, reason: str) -> None:
    """Remove an entry that must not be used, then warn: a warning may be an error, and must not come again."""
    place = folder()
    if place is None:
        return
    path = place / (key + SUFFIX)
    _remove(path)
    did = "cannot remove" if path.exists() else "dropped"
    warnings.warn(
        f"rmsprop_jit: {did} a damaged file of the cache and compile anew: {path} ({reason}). "
        "If this comes again, run `rmsprop-jit cache --clear`.",
        stacklevel=3,
    )


def contains(key: str) -> bool:
    """Whether there is an entry, whole or damaged."""
    place = folder()
    return place is not None and (place / (key + SUFFIX)).exists()


def write(key: str, parts: Mapping[str, bytes]) -> None:
    """Keep an entry. Nothing happens where the folder cannot be written."""
    place = folder()
    if place is None:
        return
    import tempfile

    temporary = None
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place, prefix=".new-", delete=False) as file:
            temporary = Path(file.name)
            file.write(_packed(key, parts))
        temporary.replace(place / (key + SUFFIX))
    except OSError:
        if temporary is not None:
            _remove(temporary)


def entries() -> Iterator[tuple[str, int, dict[str, bytes] | None]]:
    """Key, size in bytes and parts (None if damaged or of another version) of every entry."""
    place = folder()
    for path in sorted(place.glob("*" + SUFFIX)) if place and place.is_dir() else ():
        try:
            content = path.read_bytes()
        except OSError:
            continue
        try:
            yield path.stem, len(content), _unpacked(path.stem, content)
        except ValueError:
            yield path.stem, len(content), None


def clear() -> int:
    """Remove every entry; returns how many there were."""
    place = folder()
    paths = [*place.glob("*" + SUFFIX), *place.glob(".new-*")] if place and place.is_dir() else []
    return sum(_remove(path) for path in paths)


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _is_of_another_version(content: bytes) -> bool:
    return ANY_MAGIC.match(content) is not None and not content.startswith(MAGIC)


def _packed(key: str, parts: Mapping[str, bytes]) -> bytes:
    squeezed = {name: zlib.compress(part, 1) for name, part in parts.items()}
    table = {"key": key, "sizes": {name: len(part) for name, part in squeezed.items()}}
    body = json.dumps(table).encode() + b"\n" + b"".join(squeezed.values())
    return MAGIC + hashlib.sha256(body).digest() + body


def _unpacked(key: str, content: bytes) -> dict[str, bytes]:
    """The parts of an entry. Raises ValueError unless every byte is as it was written for this key."""
    start = len(MAGIC) + DIGEST_SIZE
    digest, body = content[len(MAGIC) : start], content[start:]
    if not content.startswith(MAGIC) or hashlib.sha256(body).digest() != digest:
        raise ValueError("its hash does not match")
    text, _, rest = body.partition(b"\n")
    sizes = _sizes(key, text)
    if sum(sizes.values()) != len(rest):
        raise ValueError("its parts are not of the sizes in its table")
    parts = {}
    for name, size in sizes.items():
        parts[name], rest = _part(rest[:size]), rest[size:]
    return parts


def _sizes(key: str, text: bytes) -> dict[str, int]:
    """The sizes in an entry's table. Raises ValueError for anything but a table of this key."""
    try:
        table = json.loads(text)
    except RecursionError as problem:  # of brackets alone
        raise ValueError("it has no table") from problem
    if not isinstance(table, dict) or not isinstance(table.get("sizes"), dict):
        raise ValueError("it has no table")
    if table.get("key") != key:
        raise ValueError("it belongs under another name")
    sizes: dict[str, int] = table["sizes"]
    if not all(type(size) is int and size >= 0 for size in sizes.values()):
        raise ValueError("its table has odd sizes")
    return sizes


def _part(squeezed: bytes) -> bytes:
    """A part as it was. Raises ValueError for anything but one whole compressed part of a sane size."""
    stream = zlib.decompressobj()
    try:
        part = stream.decompress(squeezed, LIMIT)
    except zlib.error as problem:
        raise ValueError("a part cannot be decompressed") from problem
    if not stream.eof or stream.unused_data:
        raise ValueError("a part is cut off, or has something behind it")
    return part
