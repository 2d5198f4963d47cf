"""One peer, one process: run the cases against it and print a line of JSON for each."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import rmsprop_jit

from . import peers
from .cases import CASES, Case
from .ceiling import ceiling_of
from .timing import paired
from .workloads import Array

CHECK_STEPS = 3


def measure(case: Case, budget: float) -> dict[str, Any]:
    """One case; a result that is wrong has `correct` false and no times."""
    parameters, gradients = peers.arrays_for(case.shapes)
    start = [p.copy() for p in parameters]
    optimizer = rmsprop_jit.RMSprop(**case.options)
    optimizer.build(parameters)
    theirs, check = _other(case, optimizer, start, gradients)
    for _ in range(CHECK_STEPS):
        optimizer.apply(gradients)
    result = {"case": case.name, "against": case.against, "target": case.target, "correct": check(parameters)}
    if result["correct"]:
        result |= paired(ours(case, optimizer, gradients), theirs(), budget).as_row()
    return result


def ours(case: Case, optimizer: rmsprop_jit.RMSprop, gradients: list[Any]) -> Callable[[], object]:
    """Our side: a function that does one step, on the same gradients or on the next of eight sets of copies."""
    if not case.fresh:
        return lambda: optimizer.apply(gradients)
    sets = [[g.copy() for g in gradients] for _ in range(8)]
    turn = itertools.cycle(sets)
    return lambda: optimizer.apply(next(turn))


def _other(case: Case, optimizer: rmsprop_jit.RMSprop, start: list[Array], gradients: list[Array]) -> Any:
    """The other side: a function that makes the work to time, and a check of our parameters."""
    if case.against == "ceiling":
        return (lambda: _ceiling(optimizer)), lambda ours: _oracle_agrees(case, ours, start, gradients)
    if case.against == "np.add":
        a, b = np.ones(10, np.float32), np.zeros(10, np.float32)
        return (lambda: lambda: np.add(a, b, out=a)), lambda _: True
    step, values = peers.PEERS[case.against](start, gradients, case.options)
    for _ in range(CHECK_STEPS):
        step()
    reached = [value.copy() for value in values()]
    return (lambda: step), lambda ours: peers.agree(ours, reached, start)


def _ceiling(optimizer: rmsprop_jit.RMSprop) -> Callable[[], object]:
    launch = ceiling_of(optimizer)
    return lambda: launch(None)


def _oracle_agrees(case: Case, ours: list[Array], start: list[Array], gradients: list[Array]) -> bool:
    """Our steps beside the reference interpreter's, on the smallest and (where it is not huge) the largest tensor."""
    if case.options.get("gradient_accumulation_steps"):
        return all(np.array_equal(p, s) for p, s in zip(ours, start, strict=True))
    norm = np.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradients))
    i = int(np.argmin([g.size for g in gradients]))
    p, g = start[i].reshape(-1)[:4096].astype(np.float64), gradients[i].reshape(-1)[:4096].astype(np.float64)
    o, moved = case.options, p.copy()
    for name in ("clipnorm", "global_clipnorm"):
        if o.get(name):
            g = g * min(1.0, o[name] / norm)
    if o.get("clipvalue"):
        g = np.clip(g, -o["clipvalue"], o["clipvalue"])
    v, m, b = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for _ in range(CHECK_STEPS):
        moved -= moved * o.get("weight_decay", 0.0) * o["learning_rate"]
        v, m = 0.9 * v + 0.1 * g * g, 0.9 * m + 0.1 * g
        variance = np.maximum(v - m * m, 0) if o.get("centered") else v
        b = o.get("momentum", 0.0) * b + o["learning_rate"] * g / np.sqrt(variance + 1e-7)
        moved -= b
    return peers.agree([ours[i].reshape(-1)[:4096]], [moved], [p])


def main() -> None:
    """Measure the cases whose numbers are given; one line of JSON each."""
    budget, *numbers = sys.argv[1:]
    for number in numbers:
        case, begin = CASES[int(number)], time.perf_counter()
        try:
            result = measure(case, float(budget))
        except ImportError as missing:
            result = {"case": case.name, "against": case.against, "target": case.target, "missing": str(missing)}
        result["spent_s"] = time.perf_counter() - begin
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
