"""The command `state`: what is in a file that `Optimizer.save` has written, and whether it is whole."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import files
from .errors import FileError
from .files import Contents

NARROW = 60
"""Columns of a terminal that has no room for a column for each."""

UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def add_state(commands: Any) -> None:
    """Add the command."""
    state = commands.add_parser("state", help="show what is in a file of saved state, and whether it is whole")
    state.add_argument("file", metavar="FILE", help="what Optimizer.save has written")
    state.add_argument("--json", action="store_true", help="show it as JSON")
    state.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    found = files.contents(options.file)
    told = _options(found)
    if options.json:
        sys.stdout.write(json.dumps(_plain(found, told), indent=2) + "\n")
    else:
        _show(found, told)
    damaged = [row.name for row in found.rows if not row.is_whole]
    if damaged:
        raise FileError(
            f"{found.path}: {len(damaged)} of {len(found.rows)} arrays are damaged. Received: {damaged[:5]}, whose "
            "bytes have other checksums than when they were saved. Take an earlier file, or save the state again."
        )


def _options(found: Contents) -> dict[str, Any]:
    """The options in a file. Raises FileError where they are none."""
    try:
        told = json.loads(found.options)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise FileError(f"{found.path}: its options are no JSON object. Received: {found.options[:200]!r}.")
    return told


def _plain(found: Contents, told: dict[str, Any]) -> dict[str, Any]:
    """All of it, as JSON has it."""
    known: dict[str, Any] = {"file": found.path, "bytes": found.bytes, "library": found.library}
    for name in ("format_version", "iteration"):
        if name in found.small:
            known[name] = found.small[name].tolist()
    arrays = [{**row._asdict(), "shape": list(row.shape)} for row in found.rows]
    return {**known, "open_windows": _windows(found), "options": told, "arrays": arrays}


def _windows(found: Contents) -> int | None:
    """For how many variables gradients were being added up."""
    return int(found.small["window"].sum()) if "window" in found.small else None


def _show(found: Contents, told: dict[str, Any]) -> None:
    console = Console()
    names = told.pop("variables", [])
    count = len(names) if isinstance(names, list) else "?"
    calls = found.small["iteration"].tolist() if "iteration" in found.small else "?"
    console.print(_text(f"{found.path}: {_size(found.bytes)}, by rmsprop_jit {found.library}"), soft_wrap=True)
    line = f"rule {told.pop('rule', '?')}, {count} variables, {calls} calls, {_windows(found)} open windows"
    console.print(_text(line), soft_wrap=True)
    console.print(_table(["option", "value"], [[name, json.dumps(value)] for name, value in told.items()]))
    is_narrow = console.width < NARROW
    columns = ["array", "dtype, shape, size"] if is_narrow else ["array", "dtype", "shape", "size"]
    cells = [[row.dtype, "x".join(map(str, row.shape)) or "1", _size(row.bytes)] for row in found.rows]
    rows = [[row.name, *([" ".join(own)] if is_narrow else own)] for row, own in zip(found.rows, cells, strict=True)]
    console.print(_table([*columns, "is"], rows, ["ok" if row.is_whole else "damaged" for row in found.rows]))


def _table(columns: list[str], rows: list[list[str]], last: list[str] | None = None) -> Table:
    """Rows under their titles; what is in `last` is red unless it is "ok"."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column == "size" else "left")
    for i, row in enumerate(rows):
        ends = [] if last is None else [Text(last[i], "" if last[i] == "ok" else "bold red")]
        table.add_row(*map(_text, row), *ends)
    return table


def _text(line: str) -> Text:
    """A text of a file as it is: nothing in it is markup, or moves the cursor."""
    return Text("".join(letter if letter.isprintable() else "?" for letter in line))


def _size(number: int) -> str:
    """In the largest unit of which there is one."""
    unit, size = next((row for row in UNITS if number >= row[1]), ("B", 1))
    return f"{number / size:.1f} {unit}" if size > 1 else f"{number} B"
