"""Step time against size (one tensor) and against tensor count (1 M elements in all): ours beside a peer's.

Run with the name of a peer, in a process of its own; prints a line of JSON for each point.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import rmsprop_jit

from . import peers
from .timing import paired
from .workloads import PLAIN, Shapes

SIZES = [10**k for k in range(1, 9)]
COUNTS = [1, 10, 100, 1000, 10_000]
MOST_TENSORS = {"torch.compile": 100, "optax jitted": 1000}
"""More take these peers many minutes to compile."""


def points() -> list[tuple[str, int, Shapes]]:
    """Axis, place on it, shapes."""
    by_size: list[tuple[str, int, Shapes]] = [("size", n, [(n,)]) for n in SIZES]
    by_count: list[tuple[str, int, Shapes]] = [("count", k, [(1_000_000 // k,)] * k) for k in COUNTS]
    return by_size + by_count


def measure(peer: str, axis: str, at: int, shapes: Shapes) -> dict[str, Any]:
    """Ours and a peer's plain step."""
    parameters, gradients = peers.arrays_for(shapes)
    start = [p.copy() for p in parameters]
    optimizer = rmsprop_jit.RMSprop(**PLAIN)
    optimizer.build(parameters)
    step, _ = peers.PEERS[peer](start, gradients, PLAIN)
    timed = paired(lambda: optimizer.apply(gradients), step, budget=1.0)
    return {"axis": axis, "at": at, "peer": peer, "ours_s": timed.ours, "theirs_s": timed.theirs}


def main() -> None:
    """Measure one peer at every point that it can do in reasonable time."""
    peer = sys.argv[1]
    for axis, at, shapes in points():
        if axis == "count" and at > MOST_TENSORS.get(peer, at):
            continue
        print(json.dumps(measure(peer, axis, at, shapes)), flush=True)


if __name__ == "__main__":
    main()
