"""Files that are replaced as a whole: whatever ends a save, the old file is there or the new one.

The new file is written beside the old one, brought to the disk, and moved over it. What a process that was killed has
left behind is removed by the next save: a writer holds a lock on its file, which the system drops when it ends. Systems
without such locks (Windows) leave it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any

if sys.platform != "win32":
    import fcntl

PREFIX = ".new-"
"""Of files that are being written."""


def replace(path: str, parts: Sequence[Any], keep: int = 1) -> None:
    """Let a file be these bytes; the one that was there becomes `path.1`, that one `path.2`, up to `keep` files.

    Raises OSError, which says what could not be done, and that the old file is as it was.
    """
    target = os.path.realpath(path)  # where `path` is a link, the link stays
    folder, name = os.path.split(target)
    size = sum(len(part) for part in parts)
    try:
        if os.path.isdir(target):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _write(folder, name, parts, keep)
    except OSError as problem:
        old = "the file that was there is as it was" if os.path.lexists(target) else "no file is left"
        raise OSError(
            problem.errno,
            f"{problem.strerror or problem}: {size} bytes could not be saved; {old}. Received: {path!r}. "
            "Free some room, or name a file in a folder that can be written",
            path,
        ) from problem
    _settle(folder, path)


def _write(folder: str, name: str, parts: Sequence[Any], keep: int) -> None:
    temporary, target = os.path.join(folder, _prefix(name) + os.urandom(8).hex()), os.path.join(folder, name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with _locked(folder):  # so that no other's `_sweep` finds the file before it has its own lock
            _sweep(folder, name)
            handle = os.open(temporary, flags, 0o666)
            _lock(handle)
        with open(handle, "wb", buffering=0) as file:
            for part in parts:
                _write_all(file, memoryview(part))
            os.fsync(handle)
            if sys.platform == "win32":
                file.close()  # what is open cannot be moved there
            with _locked(folder):
                _rotate(target, keep, f"{temporary}-old")
                os.replace(temporary, target)
    except BaseException:
        for left in (temporary, f"{temporary}-old"):
            with contextlib.suppress(OSError):
                os.unlink(left)
        raise


def _write_all(file: Any, part: memoryview) -> None:
    at = 0
    while at < len(part):
        at += file.write(part[at : at + (1 << 30)])  # systems write no more than 2 GiB at once


def _prefix(name: str) -> str:
    """Of what is written for this file; a name may be as long as a system allows."""
    return f"{PREFIX}{hashlib.blake2b(os.fsencode(name), digest_size=6).hexdigest()}-"


def _rotate(target: str, keep: int, copy: str) -> None:
    """Let what is there be there as `.1`, too, and what was `.1` be `.2`, ...; `target` itself stays where it is.

    copy: a name for a copy, where a file system has no links.
    """
    first = f"{target}.1"
    if keep == 1 or not os.path.exists(target):
        return
    if os.path.exists(first) and os.path.samefile(first, target):  # a save ended between this and the move
        return
    for number in range(keep - 1, 1, -1):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{target}.{number - 1}", f"{target}.{number}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(first)
    try:
        os.link(target, first)
    except OSError:
        with open(target, "rb") as old, open(copy, "xb") as new:
            shutil.copyfileobj(old, new)
            new.flush()
            os.fsync(new.fileno())
        os.replace(copy, first)


def _sweep(folder: str, name: str) -> None:
    """Remove what was being written for this file by a process that is no more."""
    if sys.platform == "win32":
        return
    for other in os.listdir(folder):
        if not other.startswith(_prefix(name)):
            continue
        with contextlib.suppress(OSError):  # somebody is writing it, or it is gone
            handle = os.open(os.path.join(folder, other), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(os.path.join(folder, other))
            finally:
                os.close(handle)


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Nobody else names files in a folder meanwhile, here or in another process."""
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(handle)
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    if sys.platform != "win32":
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)


def _settle(folder: str, path: str) -> None:
    """Bring a folder's names to the disk."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as problem:
        if problem.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has nothing to bring
            text = f"{problem.strerror}: the file is saved, but may not outlive a loss of power. Received: {path!r}"
            raise OSError(problem.errno, text, path) from problem
    finally:
        os.close(handle)
