"""Peers run in processes of their own, which print a line of JSON for each row; here they are started and read."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from .cases import Case
from .rows import Row

ROOT = Path(__file__).parents[1]


class Ended(Exception):
    """A process did not come to a good end; the message says how. `late`: it was stopped, since time was up."""

    def __init__(self, how: str, late: bool = False) -> None:
        super().__init__(how)
        self.late = late


def lines(module: str, *arguments: str, until: float = math.inf) -> Iterator[Row]:
    """The lines of JSON that a process prints; what it says otherwise is shown if it fails.

    until: the time (of `time.monotonic`) at which it is stopped.
    Raises Ended after the last line if the process failed, or had no time.
    """
    command = [sys.executable, "-m", module, *arguments]
    left = until - time.monotonic()
    if left <= 0:
        raise Ended("not reached in time", late=True)
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT) as process:
            watch = threading.Timer(left, process.kill) if left < math.inf else None
            if watch is not None:
                watch.start()
            for line in process.stdout or ():
                if line.startswith("{"):
                    yield json.loads(line)
            process.wait()
            if watch is not None:
                watch.cancel()
        if not process.returncode:
            return
        if time.monotonic() >= until:
            raise Ended("not reached in time", late=True)
        errors.seek(0)
        sys.stderr.write(errors.read())
        raise Ended(f"its process ended with {process.returncode}")


def rows_of(
    module: str, seconds: float, cases: Sequence[Case], numbers: Sequence[int], until: float = math.inf
) -> Iterator[Row]:
    """A row for each of the cases of these numbers, whatever happens; a process for each peer."""
    for peer in dict.fromkeys(cases[i].against for i in numbers):
        own = [i for i in numbers if cases[i].against == peer]
        done, reason = 0, {"failed": "its process gave no row"}
        try:
            for row in lines(module, str(seconds), *map(str, own), until=until):
                yield row
                done += 1
        except Ended as end:
            reason = {"missing" if end.late else "failed": str(end)}
        yield from (cases[i].about() | reason for i in own[done:])


def swept(module: str, *arguments: str, peer: str, until: float = math.inf) -> Iterator[Row]:
    """The rows of a sweep against one peer, then, where it did not come to its end, one that says so."""
    failed = False
    try:
        for row in lines(module, *arguments, peer, until=until):
            failed |= "failed" in row
            yield row
    except Ended as end:
        if end.late or not failed:
            yield Case("sweep", [], {}, peer, 0.0).about() | {"missing" if end.late else "failed": str(end)}
