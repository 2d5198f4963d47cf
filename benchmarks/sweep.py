"""Step time against size (one tensor) and against tensor count (1 M elements in all): ours beside a peer's.

Run with seconds and the name of a peer, in a process of its own; prints a line of JSON for each point.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from .cases import Case
from .measure import measure
from .rows import Row, attempted, print_each
from .workloads import PLAIN, Shapes

SIZES = [10**k for k in range(1, 9)]
COUNTS = [1, 10, 100, 1000, 10_000]
MOST_TENSORS = {"torch.compile": 100, "optax jitted": 1000}
TOO_MANY = "so many tensors compile for many minutes"


def swept(
    peer: str,
    sizes: Sequence[int],
    counts: Sequence[int],
    measure: Callable[[Case, float], Row],
    budget: float,
    most: int = sys.maxsize,
) -> Iterator[Row]:
    """A row for each point, checked like any case; `axis` and `at` say where it is. `most`: of tensors."""
    points: list[tuple[str, int, Shapes]] = [("size", n, [(n,)]) for n in sizes]
    points += [("count", n, [(1_000_000 // n,)] * n) for n in counts]
    for axis, at, shapes in points:
        case = Case(f"sweep, {axis} {at:,}", shapes, PLAIN, peer, 0.0)
        if len(shapes) > most:
            yield {"axis": axis, "at": at, **case.about(), "missing": TOO_MANY}
            continue
        row = attempted(case, partial(measure, case, budget))
        if "absent" in row:  # it is so at the other points, too
            yield row | {"case": "sweep"}
            return
        yield {"axis": axis, "at": at, **row}


def main() -> None:
    """Measure one peer at every point that it can do in reasonable time."""
    seconds, peer = sys.argv[1:]
    most = MOST_TENSORS.get(peer, sys.maxsize)
    print_each(swept(peer, SIZES, COUNTS, measure, float(seconds), most))


if __name__ == "__main__":
    main()
