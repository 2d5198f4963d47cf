"""The store: compiled code on disk, found by the hash of everything that it was made from.

An entry is one file, written beside and moved into place, so that several processes can fill the store at once and a
reader sees a whole file or none. It carries its own hash, its key and its source, and its reader looks at the code
before using it: a file that is truncated, damaged, or under another's name is dropped with one warning and made anew.
Where the folder cannot be written, work goes on without it; so it does, with a warning, where others can write it.

The folder is the user's cache folder, or the environment variable RMSPROP_JIT_CACHE_DIR ("off" for none). It holds so
much and no more (see `room`).
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

from . import private, room

VARIABLE = "RMSPROP_JIT_CACHE_DIR"
MAGIC = b"rmsprop_jit 2\n"
ANY_MAGIC = re.compile(rb"rmsprop_jit \d+\n")
SUFFIX = ".step"
TRIAL = f"{private.PREFIX}trial"
DIGEST_SIZE = 32
LIMIT = 1 << 28
"""Bytes of a file, and of one part, far above any: a few can be made to decompress to more than there is memory."""

_WARNED: set[Path] = set()
"""Folders that others can write, or have written to, whose user was told."""


def folder() -> Path | None:
    """Where entries are kept; None if the store is switched off, or the user has no such folder (no home)."""
    chosen = os.environ.get(VARIABLE)
    if chosen == "off":
        return None
    return Path(chosen) if chosen else _default_folder()


@functools.cache
def _default_folder() -> Path | None:
    import platformdirs

    try:
        found = Path(platformdirs.user_cache_dir("rmsprop_jit", appauthor=False))
    except (RuntimeError, LookupError, OSError):  # neither HOME nor an entry among the system's users
        return None
    return found if found.is_absolute() else None


def problem() -> str | None:
    """Why nothing can be kept now, if so; it is tried."""
    place = folder()
    if place is None:
        is_off = os.environ.get(VARIABLE) == "off"
        return f"it is switched off by {VARIABLE}=off" if is_off else f"there is no home folder; set {VARIABLE}"
    try:
        with private.Folder(place, make=True) as opened:
            opened.write(TRIAL, bytes(1 << 16))
            opened.remove(TRIAL)
    except OSError as problem:
        return f"{place} cannot be written ({problem.strerror or problem})"
    except private.NotPrivateError as problem:
        return str(problem)
    return None


@functools.cache
def compiler_files() -> str:
    """A hash of every file of the compiler, for keys: any of them may shape code."""
    return hash_of_sources(os.path.dirname(__file__))


def hash_of_sources(top: str) -> str:
    """A hash of all Python files in a folder and those below it."""
    found = hashlib.sha256()
    for path in sorted(_sources(top)):  # pathlib takes 3 ms more, in every process's first step
        with open(path, "rb", buffering=0) as file:
            found.update(file.read())
    return found.hexdigest()


def _sources(top: str) -> Iterator[str]:
    for folder, _, names in os.walk(top):
        yield from (os.path.join(folder, name) for name in names if name.endswith(".py"))


def read(
    key: str, source: str | None = None, check: Callable[[Mapping[str, bytes]], None] | None = None
) -> dict[str, bytes] | None:
    """The named parts of an entry, or None if it is not there.

    An entry that is damaged, is of another key or source, or for which `check` raises ValueError or LookupError, is
    removed, with a warning. One of another version of this format is as good as none: an upgrade is not a fault.
    """
    place = _opened()
    if place is None:
        return None
    with place:
        try:
            content = place.read(key + SUFFIX, LIMIT)
            if _is_of_another_version(content):
                return None
            parts = _unpacked(key, content)
            if source is not None and parts["source"] != source.encode():
                raise ValueError("it was made from another source")
            if check is not None:
                check(parts)
            room.used(place, key + SUFFIX)
            return parts
        except OSError:
            return None
        except private.NotPrivateError as problem:
            _warn_of(place.path, problem)
        except ValueError as problem:
            drop(key, str(problem))
        except LookupError as missing:
            drop(key, f"it has no part {missing}")
    return None


def drop(key: str, reason: str) -> None:
    """Remove an entry that must not be used, then warn: a warning may be an error, and must not come again."""
    place = _opened()
    if place is None:
        return
    with place:
        place.remove(key + SUFFIX)
        did = "cannot remove" if place.has(key + SUFFIX) else "dropped"
    warnings.warn(
        f"rmsprop_jit: {did} a damaged file of the cache and compile anew: {place.path / (key + SUFFIX)} ({reason}). "
        "If this comes again, run `rmsprop-jit cache --clear`.",
        stacklevel=3,
    )


def contains(key: str) -> bool:
    """Whether there is an entry, whole or damaged."""
    place = _opened()
    if place is None:
        return False
    with place:
        return place.has(key + SUFFIX)


def write(key: str, parts: Mapping[str, bytes]) -> None:
    """Keep an entry. Nothing happens where the folder cannot be written, or is not the user's alone."""
    place = _opened(make=True)
    if place is None:
        return
    with place:
        try:
            place.write(key + SUFFIX, _packed(key, parts))
            room.make(place, SUFFIX)
        except OSError:
            return
        except private.NotPrivateError as problem:
            _warn_of(place.path, problem)


def entries() -> Iterator[tuple[str, int, dict[str, bytes] | None]]:
    """Key, size in bytes and parts of every entry; None if it is damaged, of another version, or not the user's."""
    place = _opened()
    if place is None:
        return
    with place:
        for name in place.names():
            if name.endswith(SUFFIX):
                key = name.removesuffix(SUFFIX)
                try:
                    yield key, place.info(name).st_size, _parts(place, key)
                except OSError:
                    continue


def last_used(key: str) -> float | None:
    """When an entry was last used, to the hour, in seconds since 1970; None if it is gone."""
    place = _opened()
    if place is None:
        return None
    with place:
        try:
            return place.info(key + SUFFIX).st_mtime
        except OSError:
            return None


def _parts(place: private.Folder, key: str) -> dict[str, bytes] | None:
    """The parts of an entry to look at; None if it could not be used. Raises OSError if it cannot be read."""
    try:
        return _unpacked(key, place.read(key + SUFFIX, LIMIT))
    except ValueError:
        return None
    except private.NotPrivateError as problem:
        _warn_of(place.path, problem)
        return None


def clear() -> int:
    """Remove every entry; returns how many there were."""
    place = _opened()
    if place is None:
        return 0
    with place:
        names = [name for name in place.names() if name.endswith(SUFFIX) or name.startswith(private.PREFIX)]
        return sum(place.remove(name) for name in names)


def _opened(make: bool = False) -> private.Folder | None:
    """The folder, if there is one that can be used."""
    place = folder()
    if place is None:
        return None
    try:
        return private.Folder(place, make)
    except OSError:
        return None
    except private.NotPrivateError as problem:
        _warn_of(place, problem)
        return None


def _warn_of(place: Path, problem: private.NotPrivateError) -> None:
    """Once for each folder: every read and write of it meets the same."""
    if place in _WARNED:
        return
    _WARNED.add(place)
    warnings.warn(
        f"rmsprop_jit: compile without the cache, which may hold code of others: {problem}. "
        f"Remove it, or set {VARIABLE} to a folder that only you can write ('off' for none).",
        stacklevel=4,
    )


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
