"""
What a call of `apply` costs a reader: functions called, files they lie in, moves from one file to another.

Only this package is counted; NumPy, Numba and the standard library are not. The rule:

calls   Each call of a function counts: methods, properties, `__init__` and lambdas too, and `apply` itself. A generator
        counts once, however often it goes on. Comprehensions belong to the function that they stand in. Bodies of
        modules and classes are no functions; code that has no file, as that of dataclasses, is not counted.
files   The different files of those functions. Links are followed, so a file that is reached by two paths is one.
moves   A call in another file than the call before it is a move. The call of `apply` is the first move; returns are
        none, since the reader has been there.

Run this file for a table, or with --json. The first call takes its machine code from the store, where there is some.
"""

import argparse
import functools
import inspect
import itertools
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

if __name__ == "__main__":  # count this checkout, not one that happens to be installed
    sys.path.insert(0, str(Path(__file__).parents[2]))

import rmsprop_jit

PACKAGE = Path(rmsprop_jit.__file__).parent
FOLDERS = [PACKAGE.resolve(), *(folder.resolve() for folder in PACKAGE.iterdir() if folder.is_dir())]
"""Where the package lies; a folder of it may be a link to elsewhere."""

COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}
"""They are left out since newer Pythons run most of them without a call of their own."""

TENSORS, ELEMENTS = 8, 1000
SETTLING = 3
"""Calls after which one more of the same kind has nothing left to prepare."""


@dataclass(frozen=True)
class Count:
    """What one call costs."""

    calls: int
    files: int
    moves: int


@functools.cache
def own_file(name: str) -> Path | None:
    """A file of this package, with links followed; None for any other."""
    path = Path(name).resolve()
    return path if any(path.is_relative_to(folder) for folder in FOLDERS) else None


def is_function(code: CodeType) -> bool:
    """Whether a frame of this code is a function: not the body of a module or class, nor a comprehension."""
    return bool(code.co_flags & inspect.CO_OPTIMIZED) and code.co_name not in COMPREHENSIONS


def files_called(call: Callable[[], None]) -> list[Path]:
    """The file of every function that `call` calls in this package, in order."""
    files: list[Path] = []
    generators: set[FrameType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or not is_function(code) or (path := own_file(code.co_filename)) is None:
            return
        if code.co_flags & inspect.CO_GENERATOR:
            if frame in generators:
                return
            generators.add(frame)
        files.append(path)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(before)
    return files


def count(call: Callable[[], None]) -> Count:
    """What `call` costs."""
    files = files_called(call)
    return Count(len(files), len(set(files)), len(list(itertools.groupby(files))))


def counts() -> dict[str, Count]:
    """What each kind of call costs."""
    rng = np.random.default_rng(0)
    variables, same, *others = (
        [rng.standard_normal(ELEMENTS, np.float32) for _ in range(TENSORS)] for _ in range(SETTLING + 4)
    )
    fresh, missing = others.pop(), [*others.pop()[:-1], None]
    optimizer = rmsprop_jit.RMSprop()

    def cost_of(gradients: list[Any]) -> Count:
        return count(lambda: optimizer.apply(gradients, variables))

    first = cost_of(same)
    for _ in range(SETTLING):
        optimizer.apply(same, variables)
    steady = cost_of(same)
    for gradients in others:
        optimizer.apply(gradients, variables)
    rows = {"steady": steady, "fresh gradients": cost_of(fresh)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gradients do not exist")
        rows["one missing"] = cost_of(missing)
    return {**rows, "first": first}


def table(rows: dict[str, Count]) -> Table:
    """The counts for a terminal."""
    shown = Table("call", title=f"apply on {TENSORS} arrays of {ELEMENTS:,}", box=None, header_style="bold")
    for heading in ("calls", "files", "moves"):
        shown.add_column(heading, justify="right")
    for name, row in rows.items():
        shown.add_row(name, *(f"{number:,}" for number in asdict(row).values()))
    return shown


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description="Functions, files and moves of one call of apply.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    as_json = parser.parse_args().json
    rows = counts()
    if as_json:
        print(json.dumps({name: asdict(row) for name, row in rows.items()}))
    else:
        Console().print(table(rows))


if __name__ == "__main__":
    main()
