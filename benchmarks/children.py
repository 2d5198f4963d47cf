"""Peers run in processes of their own, which print a line of JSON for each row; here they are started and read.

A row that was asked for is always there: what a process owes when it ends is made up here, and says why.
"""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from .cases import Case
from .rows import Row, is_bad

ROOT = Path(__file__).parents[1]
NO_ROW = {"failed": "its process gave no row"}


class Ended(Exception):
    """A process did not come to a good end; the message says how. `late`: it was stopped, since time was up."""

    def __init__(self, how: str, late: bool = False) -> None:
        super().__init__(how)
        self.late = late


def lines(module: str, *arguments: str, until: float = math.inf) -> Iterator[Row]:
    """The lines of JSON that a process prints; what it says otherwise is shown if it fails.

    until: the time (of `time.monotonic`) at which it is stopped.
    Raises Ended after the last line if the process failed, or had no time, or if a line was cut off.
    """
    command = [sys.executable, "-m", module, *arguments]
    left = until - time.monotonic()
    if left <= 0:
        raise Ended("not reached in time", late=True)
    cut_off = False
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT) as process:
            watch = threading.Timer(left, process.kill) if left < math.inf else None
            if watch is not None:
                watch.start()
            for line in process.stdout or ():
                row = _row(line)
                cut_off |= row is None
                if row:
                    yield row
            process.wait()
            if watch is not None:
                watch.cancel()
        if not process.returncode and not cut_off:
            return
        if time.monotonic() >= until:
            raise Ended("not reached in time", late=True)
        errors.seek(0)
        sys.stderr.write(errors.read())
        raise Ended(
            ended(process.returncode) if process.returncode else "its process printed a row that cannot be read"
        )


def _row(line: str) -> Row | None:
    """What a line says: nothing for what others print, None for a row that was cut off."""
    if not line.startswith("{"):
        return {}
    try:
        row: Row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row


def ended(code: int) -> str:
    """How a process ended, by its exit status."""
    if code < 0 and -code in {*signal.Signals}:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with {code}"


def _read(found: Iterator[Row]) -> Generator[Row, None, tuple[list[Row], Row]]:
    """Pass a process's rows on; returns them, and what to say of those that it owes (nothing: it ended well)."""
    got: list[Row] = []
    try:
        for row in found:
            got.append(row)
            yield row
    except Ended as end:
        return got, {"missing" if end.late else "failed": str(end)}
    return got, {}


def _unexplained(got: list[Row], reason: Row) -> bool:
    """Whether a process ended badly though each of its rows is good: a row must say so."""
    return bool(reason) and not any(map(is_bad, got))


def rows_of(
    module: str,
    seconds: float,
    cases: Sequence[Case],
    numbers: Sequence[int],
    until: float = math.inf,
    which: Sequence[str] = (),
) -> Iterator[Row]:
    """A row for each of the cases of these numbers, whatever happens; a process for each peer.

    which: what else tells the process which cases they are the numbers of.
    """
    for peer in dict.fromkeys(cases[i].against for i in numbers):
        own = [i for i in numbers if cases[i].against == peer]
        got, reason = yield from _read(lines(module, str(seconds), *which, *map(str, own), until=until))
        owed = [cases[i].about() for i in own[len(got) :]]
        if not owed and _unexplained(got, reason):
            owed = [cases[own[-1]].about() | {"case": "end of the process"}]
        yield from (about | (reason or NO_ROW) for about in owed)


def swept(module: str, *arguments: str, peer: str, points: int = 1, until: float = math.inf) -> Iterator[Row]:
    """The rows of a sweep of so many points against one peer; where some are not there, one that says so."""
    got, reason = yield from _read(lines(module, *arguments, peer, until=until))
    owed = 0 if any("absent" in row for row in got) else points - len(got)
    if owed > 0 or _unexplained(got, reason):
        name = f"sweep, {owed} of {points} points" if owed > 0 else "sweep, end of the process"
        yield Case(name, [], {}, peer, 0.0).about() | (reason or NO_ROW)
