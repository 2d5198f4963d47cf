"""A folder of files that nobody but the user can have written.

What is kept there is run, so whoever may write there runs code as the user. The folder and its files are judged by
what was opened, not by their names: a name can come to mean something else between a look and its use. Windows has no
such modes and owners; there, a user's folder is private by its place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

HAS_HANDLES = hasattr(os, "O_DIRECTORY") and {os.open, os.stat, os.unlink, os.rename} <= os.supports_dir_fd
"""Whether a folder can be opened, and its files be named relative to what was opened."""

OPEN = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
"""How files are opened: nobody waits for the other end of a pipe, or is led elsewhere by a link."""

PREFIX = ".new-"
"""Of files that are being written."""


class NotPrivateError(Exception):
    """Others can have written here; the message says where, and why it is thought so."""


class Folder:
    """An open folder; to be used in a `with` statement.

    Raises OSError where it cannot be opened (or made), NotPrivateError where others own it or can write there.
    """

    def __init__(self, path: Path, make: bool = False):
        if make:
            _make(path)
        self.path = path
        self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY) if HAS_HANDLES else None
        try:
            info = os.stat(path if self._handle is None else self._handle)
            if not stat.S_ISDIR(info.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(path))
            _judge(info, path)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            os.close(self._handle)

    def read(self, name: str, limit: int) -> bytes:
        """The content of a file. Raises OSError, NotPrivateError, or ValueError if it is no file of a sane size."""
        try:
            handle = os.open(self._named(name), os.O_RDONLY | OPEN, dir_fd=self._handle)
        except OSError as problem:
            if problem.errno in (errno.ELOOP, errno.EMLINK):  # what systems say of a link
                raise ValueError("it is a link") from problem
            raise
        try:
            info = os.fstat(handle)
            _judge(info, self.path / name)
            if not stat.S_ISREG(info.st_mode) or info.st_size > limit:
                raise ValueError("it is no file, or a far too large one")
            with open(handle, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(handle)

    def write(self, name: str, content: bytes) -> None:
        """Write a file beside and move it into place. Raises OSError, or NotPrivateError over a file of others."""
        with contextlib.suppress(FileNotFoundError):
            _judge(self.info(name), self.path / name)
        temporary = PREFIX + os.urandom(8).hex()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN
        handle = os.open(self._named(temporary), flags, 0o600, dir_fd=self._handle)
        try:
            with open(handle, "wb") as file:
                file.write(content)
            old, new = self._named(temporary), self._named(name)
            os.replace(old, new, src_dir_fd=self._handle, dst_dir_fd=self._handle)
        except BaseException:
            self.remove(temporary)
            raise

    def remove(self, name: str) -> bool:
        """Whether a file was there and could be removed."""
        try:
            os.unlink(self._named(name), dir_fd=self._handle)
        except OSError:
            return False
        return True

    def has(self, name: str) -> bool:
        """Whether there is anything of this name."""
        try:
            self.info(name)
        except OSError:
            return False
        return True

    def info(self, name: str) -> os.stat_result:
        """What the system knows of a file. Raises OSError."""
        return os.stat(self._named(name), dir_fd=self._handle, follow_symlinks=False)

    def touch(self, name: str) -> None:
        """Give a file the present time, if that is possible."""
        follow = os.utime not in os.supports_follow_symlinks
        with contextlib.suppress(OSError):
            os.utime(self._named(name), dir_fd=self._handle, follow_symlinks=follow)

    def names(self) -> list[str]:
        """What is in the folder, files that are being written included."""
        return sorted(os.listdir(self.path if self._handle is None else self._handle))

    def _named(self, name: str) -> str:
        return name if self._handle is not None else str(self.path / name)


def _make(path: Path) -> None:
    """Make a folder, and what lacks above it, for the user alone."""
    try:
        path.mkdir(0o700, exist_ok=True)
    except FileNotFoundError:
        if path.parent == path:
            raise
        _make(path.parent)
        path.mkdir(0o700, exist_ok=True)


def _judge(info: os.stat_result, path: Path) -> None:
    """Raises NotPrivateError if others own it or can write it."""
    if not hasattr(os, "geteuid"):
        return
    if info.st_uid != os.geteuid():
        raise NotPrivateError(f"{path} belongs to another user (number {info.st_uid}; you are {os.geteuid()})")
    if info.st_mode & 0o022 and not stat.S_ISLNK(info.st_mode):  # links show modes that mean nothing
        raise NotPrivateError(f"{path} can be written by others (its mode is {stat.S_IMODE(info.st_mode):04o})")
