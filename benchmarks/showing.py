"""How a run goes on in the terminal, is shown in the end, and kept."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import Progress

from . import drawing, machine, report
from .cases import Case
from .rows import Row, Rows, is_bad

WIDE = 200


def console() -> Console:
    """The terminal; a file or a pipe has room for the whole table."""
    usual = Console()
    return usual if usual.is_terminal else Console(width=WIDE)


def chosen(cases: Sequence[Case], only: str) -> list[int]:
    """The numbers of the cases to measure; ends the program if there are none."""
    found = [i for i, case in enumerate(cases) if only in f"{case.name} {case.against}"]
    if not found:
        known = "\n".join(f"  {case.name}, against {case.against}" for case in cases)
        give_up(f"No case's name or peer contains this text. Received: {only!r}. The cases are:\n{known}")
    return found


def give_up(why: str) -> NoReturn:
    """End the program, since there is nothing to do."""
    Console(stderr=True).print(why, markup=False, highlight=False, soft_wrap=True)
    raise SystemExit(2)


def with_progress(rows: Iterable[Row], console: Console, what: str, total: int | None = None) -> Rows:
    """All rows, with a bar that names the case at hand."""
    found: Rows = []
    with Progress(console=console) as progress:
        bar = progress.add_task(what, total=total)
        for row in rows:
            found.append(row)
            progress.update(bar, advance=1, description=f"{row['case']}, {row['against']}")
    return found


def finish(
    rows: Rows,
    points: Rows,
    name: str,
    measured_on: dict[str, Any],
    console: Console,
    options: argparse.Namespace,
) -> None:
    """Show all rows (of the sweep those that failed); keep a whole run; say whether it went well."""
    console.print(machine.named(measured_on), soft_wrap=True)
    report.show(report.shown(rows, points), console)
    keep(rows, points, name, measured_on, console, options, whole=not options.only)


def keep(
    rows: Rows,
    points: Rows,
    name: str,
    measured_on: dict[str, Any],
    console: Console,
    options: argparse.Namespace,
    whole: bool,
) -> None:
    """Write the results and the picture of a whole run; end the program as failed if something went wrong."""
    if whole:
        written = report.write(rows, points, name, measured_on, options.out)
        drawn = drawing.draw(name, report.read(written), written.with_suffix(".png"))
        console.print(f"{written}\n{drawn}", soft_wrap=True)
    bad = sum(map(is_bad, [*rows, *points]))
    if bad:
        console.print(f"{bad} of {len(rows) + len(points)} rows failed.")
        raise SystemExit(1)
