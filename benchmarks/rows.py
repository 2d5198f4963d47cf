"""Rows of results: what was asked, then figures, or why there are none.

ratio, ours_s, ...   figures
correct              false: the result was wrong, and was not timed
missing              what the other side cannot do, or that it was not asked to: these alone are no fault
failed               the error of a case that should have worked, or how its process ended
absent               beside `failed`: the package, or what else, that is not there in any of the peer's cases
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from .cases import Case

Row = dict[str, Any]
Rows = list[Row]

OWN = ("rmsprop_jit", "benchmarks")
"""Packages that are never merely not installed."""


class Absent(Exception):
    """Something that a peer needs in all of its cases is not there; `what` names it, the message says what to do."""

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message)
        self.what = what


def attempted(case: Case, work: Callable[[], Row]) -> Row:
    """The row of a case. What goes wrong is kept in it, so that the other cases go on."""
    begin = time.perf_counter()
    try:
        row = work()
    except (ModuleNotFoundError, NotImplementedError) as problem:
        row = _without_figures(problem)
    except Absent as problem:
        row = {"failed": str(problem), "absent": problem.what}
    except Exception as problem:
        row = _failed(problem)
    return case.about() | row | {"spent_s": time.perf_counter() - begin}


def _without_figures(problem: ModuleNotFoundError | NotImplementedError) -> Row:
    if isinstance(problem, NotImplementedError):
        return {"missing": str(problem)}
    name = (problem.name or "").partition(".")[0]
    return _failed(problem) if name in ("", *OWN) else {"failed": f"{name} is not installed", "absent": name}


def _failed(problem: Exception) -> Row:
    traceback.print_exception(problem, file=sys.stderr)
    return {"failed": f"{type(problem).__name__}: {problem}"[:300]}


def print_each(rows: Iterable[Row]) -> None:
    """Print lines of JSON, each as soon as it is there; the process ends as failed if one of them did."""
    some_failed = False
    for row in rows:
        print(json.dumps(row), flush=True)
        some_failed |= "failed" in row
    if some_failed:
        raise SystemExit(1)


def is_bad(row: Row) -> bool:
    """Whether a run with this row has failed: whatever has no figures, and was not left out on purpose."""
    return not has_figures(row) and "missing" not in row


def has_figures(row: Row) -> bool:
    """Whether a row was measured, after its result was found right."""
    return "ratio" in row and row.get("correct") is not False
