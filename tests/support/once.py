"""What takes long and is wanted by tests of several workers: made by the first of them, read by the others."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest


def once_a_run(factory: pytest.TempPathFactory, name: str, make: Callable[[], str]) -> str:
    """A text that is made once in a run of pytest, whatever the number of its workers."""
    folder = factory.getbasetemp()
    if folder.name.startswith("popen-"):  # a worker's own; all workers have theirs beside it
        folder = folder.parent
    made = folder / f"{name}.txt"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            text = make()
            _written(made, text)
        return made.read_text(encoding="utf-8")


def _written(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
