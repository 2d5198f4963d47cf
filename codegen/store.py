"""The store: compiled code on disk, found by the hash of everything that it was made from.

An entry is one file, written beside and moved into place, so that several processes can fill the store at once and a
reader sees a whole file or none. Its content carries its own hash: a truncated or damaged file is dropped with one
warning and made anew. Where the folder cannot be written, work goes on without it.

The folder is the user's cache folder, or the environment variable RMSPROP_JIT_CACHE_DIR ("off" for none).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import warnings
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

VARIABLE = "RMSPROP_JIT_CACHE_DIR"
MAGIC = b"rmsprop_jit 1\n"
SUFFIX = ".step"
DIGEST_SIZE = 32


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


def read(key: str) -> dict[str, bytes] | None:
    """The named parts of an entry, or None if it is not there. A damaged entry is removed, with a warning."""
    place = folder()
    if place is None:
        return None
    path = place / (key + SUFFIX)
    try:
        content = path.read_bytes()
    except OSError:
        return None
    try:
        return _unpacked(content)
    except ValueError as problem:
        warnings.warn(
            f"rmsprop_jit: dropped a damaged file of the cache and compile anew: {path} ({problem}).", stacklevel=2
        )
        _remove(path)
        return None


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
            file.write(_packed(parts))
        temporary.replace(place / (key + SUFFIX))
    except OSError:
        if temporary is not None:
            _remove(temporary)


def entries() -> Iterator[tuple[str, int, dict[str, bytes] | None]]:
    """Key, size in bytes and parts (None if damaged) of every entry."""
    place = folder()
    for path in sorted(place.glob("*" + SUFFIX)) if place and place.is_dir() else ():
        try:
            content = path.read_bytes()
        except OSError:
            continue
        try:
            yield path.stem, len(content), _unpacked(content)
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


def _packed(parts: Mapping[str, bytes]) -> bytes:
    squeezed = {name: zlib.compress(part, 1) for name, part in parts.items()}
    table = json.dumps({name: len(part) for name, part in squeezed.items()}).encode() + b"\n"
    body = table + b"".join(squeezed.values())
    return MAGIC + hashlib.sha256(body).digest() + body


def _unpacked(content: bytes) -> dict[str, bytes]:
    """The parts of an entry. Raises ValueError unless every byte is as it was written."""
    start = len(MAGIC) + DIGEST_SIZE
    digest, body = content[len(MAGIC) : start], content[start:]
    if not content.startswith(MAGIC) or hashlib.sha256(body).digest() != digest:
        raise ValueError("its hash does not match")
    table, _, rest = body.partition(b"\n")
    parts = {}
    for name, size in json.loads(table).items():
        parts[name], rest = zlib.decompress(rest[:size]), rest[size:]
    return parts
