"""Files that are replaced as a whole: whatever ends a save, the old file is there or the new one.

The new file is written in a folder of its own beside the old one, brought to the disk, and moved over it. What a
process that was killed has left behind is removed by the next save: a writer holds a lock on its folder, which the
system drops when it ends. Systems without such locks (Windows) leave it. It is a folder since what writes may have
temporary files, too: the package of safetensors does, moves one to where it was told to write, and leaves it if it is
killed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator

if sys.platform != "win32":
    import fcntl

PREFIX = ".new-"
"""Of folders in which files are being written."""


def replace(path: str, write: Callable[[str], None], size: int, keep: int = 1) -> None:
    """Let a file be what `write` writes, where it is told to; the one that was there becomes `path.1`, that one
    `path.2`, up to `keep` files.

    size: about how many bytes that is, for the message.

    Raises OSError, which says what could not be done, and that the old file is as it was.
    """
    target = os.path.realpath(path)  # where `path` is a link, the link stays
    folder, name = os.path.split(target)
    try:
        if os.path.isdir(target):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _write(folder, name, write, keep)
    except OSError as problem:
        old = "the file that was there is as it was" if os.path.lexists(target) else "no file is left"
        raise OSError(
            problem.errno,
            f"{problem.strerror or problem}: {size} bytes could not be saved; {old}. Received: {path!r}. "
            "Free some room, or name a file in a folder that can be written",
            path,
        ) from problem
    _settle(folder, path)


def _write(folder: str, name: str, write: Callable[[str], None], keep: int) -> None:
    temporary, target = os.path.join(folder, _prefix(name) + os.urandom(8).hex()), os.path.join(folder, name)
    new = os.path.join(temporary, "new")
    handle = None
    try:
        with _locked(folder):  # so that no other's `_sweep` finds the new folder before that has its own lock
            _sweep(folder, name)
            os.mkdir(temporary, 0o700)
            handle = _opened(temporary)
            _lock(handle)
        mode = _usual_mode(temporary)
        write(new)
        _bring(new, mode)
        with _locked(folder):
            _rotate(target, keep, os.path.join(temporary, "old"))
            os.replace(new, target)
        shutil.rmtree(temporary, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        _close(handle)


def _usual_mode(folder: str) -> int:
    """The permissions of files that the process makes."""
    handle = os.open(os.path.join(folder, "mode"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        return stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)


def _bring(path: str, mode: int) -> None:
    """Bring a file to the disk, with these permissions, which may be none to write."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.chmod(path, mode)
        os.fsync(handle)
    finally:
        os.close(handle)


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
            left = os.path.join(folder, other)
            handle = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left)
            finally:
                os.close(handle)


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Nobody else names files in a folder meanwhile, here or in another process."""
    handle = _opened(folder)
    try:
        try:
            _lock(handle)
            yield
        finally:
            _unlock(handle)
    finally:  # also where a signal comes in between: nobody waits for a lock that nobody lets go of
        _close(handle)


def _opened(folder: str) -> int | None:
    """A handle to a folder; none where folders cannot be opened."""
    return None if sys.platform == "win32" else os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def _lock(handle: int | None) -> None:
    if sys.platform != "win32" and handle is not None:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)


def _unlock(handle: int | None) -> None:
    if sys.platform != "win32" and handle is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)


def _close(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)


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
