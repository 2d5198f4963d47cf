"""One peer, one process: run the cases against it and print a line of JSON for each."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

import rmsprop_jit

from . import peers
from .cases import CASES, Case
from .ceiling import ceiling_of
from .rows import Row, attempted, print_each
from .timing import paired
from .torch_step import TorchStep
from .workloads import Array

CHECK_STEPS = 3
SAMPLES = 4096
"""Elements of a tensor, from all over it, that are computed again for the check."""


def measure(case: Case, budget: float) -> Row:
    """One case; a result that is wrong has `correct` false and no times."""
    parameters, gradients = peers.arrays_for(case.shapes)
    start = [p.copy() for p in parameters]
    optimizer = rmsprop_jit.RMSprop(**case.options)
    optimizer.build(parameters)
    theirs, reached = _peer(case, start, gradients)
    for _ in range(CHECK_STEPS):
        optimizer.apply(gradients)
    if reached is None:
        correct = _oracle_agrees(case, parameters, start, gradients)
    else:
        correct = peers.agree(parameters, reached, start)
    if not correct:
        return {"correct": False}
    if isinstance(theirs, TorchStep):
        theirs.move(optimizer, parameters, gradients)
    theirs = theirs or _bound(case, optimizer, parameters, gradients)
    return {"correct": True, **paired(ours(case, optimizer, gradients), theirs, budget).as_row()}


def ours(case: Case, optimizer: rmsprop_jit.RMSprop, gradients: list[Any]) -> Callable[[], object]:
    """Our side: a function that does one step, on the same gradients or on the next of eight sets of copies."""
    if not case.fresh:
        return lambda: optimizer.apply(gradients)
    sets = [[g.copy() for g in gradients] for _ in range(8)]
    turn = itertools.cycle(sets)
    return lambda: optimizer.apply(next(turn))


def _peer(
    case: Case, start: list[Array], gradients: list[Array]
) -> tuple[Callable[[], object] | None, list[Array] | None]:
    """A peer's step and where it led; nothing for what does no RMSprop."""
    if case.against not in peers.PEERS:
        return None, None
    step, values = peers.PEERS[case.against](start, gradients, case.options)
    for _ in range(CHECK_STEPS):
        step()
    return step, [value.copy() for value in values()]


def _bound(
    case: Case, optimizer: rmsprop_jit.RMSprop, parameters: list[Array], gradients: list[Array]
) -> Callable[[], object]:
    """The work that bounds ours."""
    if case.against == "ceiling":
        return ceiling_of(optimizer, parameters, gradients)
    a, b = np.ones(10, np.float32), np.zeros(10, np.float32)
    return lambda: np.add(a, b, out=a)


def _oracle_agrees(case: Case, ours: list[Array], start: list[Array], gradients: list[Array]) -> bool:
    """Our steps beside the rule written in NumPy, on elements from all over the smallest and the largest tensor."""
    if case.options.get("gradient_accumulation_steps"):
        return all(np.array_equal(p, s) for p, s in zip(ours, start, strict=True))
    sizes = [g.size for g in gradients]
    checked = sorted({int(np.argmin(sizes)), int(np.argmax(sizes))})
    norms = [float(np.linalg.norm(g)) for g in gradients]
    bounds = {"clipnorm": norms, "global_clipnorm": [float(np.linalg.norm(norms))] * len(norms)}
    samples = [[_sample(side[i]) for i in checked] for side in (ours, start, gradients)]
    wanted = []
    for i, p, g in zip(checked, *samples[1:], strict=True):
        for name, norm in bounds.items():
            if case.options.get(name):
                g = g * min(1.0, case.options[name] / norm[i])
        wanted.append(_stepped(case.options, p, g))
    return peers.agree(samples[0], wanted, samples[1])


def _sample(array: Array) -> npt.NDArray[np.float64]:
    return array.reshape(-1)[:: max(1, array.size // SAMPLES)].astype(np.float64)


def _stepped(o: dict[str, Any], p: npt.NDArray[Any], g: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Where the steps of the check lead."""
    if o.get("clipvalue"):
        g = np.clip(g, -o["clipvalue"], o["clipvalue"])
    moved, v, m, b = p.copy(), np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for _ in range(CHECK_STEPS):
        moved -= moved * o.get("weight_decay", 0.0) * o["learning_rate"]
        v, m = 0.9 * v + 0.1 * g * g, 0.9 * m + 0.1 * g
        variance = np.maximum(v - m * m, 0) if o.get("centered") else v
        b = o.get("momentum", 0.0) * b + o["learning_rate"] * g / np.sqrt(variance + 1e-7)
        moved -= b
    return moved


def main() -> None:
    """Measure the cases whose numbers are given; one line of JSON each."""
    budget, *numbers = sys.argv[1:]
    cases = [CASES[int(number)] for number in numbers]
    print_each(attempted(case, partial(measure, case, float(budget))) for case in cases)


if __name__ == "__main__":
    main()
