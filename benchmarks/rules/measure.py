"""One rule beside one peer, in a process of its own: run the cases and print a line of JSON for each."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from rmsprop_jit import Optimizer
from rmsprop_jit.codegen.backends.cpu.tables import default_threads

from .. import peers
from ..ceiling import ceiling_of
from ..inner import inner_seconds
from ..rows import Row, attempted, print_each
from ..timing import paired
from ..torch_step import TorchStep
from ..workloads import Array
from . import in_torch
from .cases import CEILING, ONE, OfRule, cases_of
from .steady import Steady, strange

CHECK_STEPS = 3
LONGER = 4
"""How many times as long one large tensor is timed beside its ceiling: the median of 20 rounds moves by a tenth."""

LOOSE = 0.5
"""How far our steps may be from torch's, as a part of their length, where a class does not speak torch's dialect."""

LOOSELY = ("Muon",)
"""Rules of which torch computes a part in fewer bits."""


def measure(case: OfRule, budget: float) -> Row:
    """One case; a result that is wrong has `correct` false and no times."""
    return _beside_the_ceiling(case, budget) if case.against == CEILING else _beside_torch(case, budget)


def _beside_the_ceiling(case: OfRule, budget: float) -> Row:
    parameters, gradients = peers.arrays_for(case.shapes)
    steady = Steady(case.rule, case.shapes[0])
    steady.warm_up(parameters, gradients)
    if not steady.is_right(parameters, gradients):
        return {"correct": False}
    optimizer, program = steady.optimizer, steady.program
    ceiling = ceiling_of(optimizer, parameters, gradients, program=program)
    inner = (
        inner_seconds(program, steady.numbers(), case.shapes[0]) * sum(p.size for p in parameters) / default_threads()
    )
    timed = paired(lambda: optimizer.apply(gradients), ceiling, budget * (LONGER if case.size == ONE else 1))
    if wrong := strange(program, optimizer, parameters, gradients):
        raise ValueError(f"numbers that training never has, in the end: {', '.join(wrong)}")
    return {"correct": True, "inner_s": inner, **timed.as_row()}


def _beside_torch(case: OfRule, budget: float) -> Row:
    optimizer, is_same = in_torch.ours(case.rule)

    def make(parameters: list[Array], gradients: list[Array]) -> peers.Made:
        step = in_torch.made_in_torch(case.rule, case.against, optimizer, parameters, gradients)
        return step, step.values

    return compared(case, optimizer, make, is_same and case.rule not in LOOSELY, budget)


def compared(
    case: OfRule,
    optimizer: Optimizer,
    make: Callable[[list[Array], list[Array]], peers.Made],
    is_same: bool,
    budget: float,
) -> Row:
    """Our optimizer beside a peer that is made of parameters and gradients; both have first done the same.

    is_same: whether their steps have to be ours; otherwise they have to be of the kind.
    """
    parameters, gradients = peers.arrays_for(case.shapes)
    start = [p.copy() for p in parameters]
    optimizer.build(parameters)
    step, values = make(start, gradients)
    for _ in range(CHECK_STEPS):
        step()
        optimizer.apply(gradients)
    reached = values()
    is_near = peers.agree(parameters, reached, start)
    if not (is_near or (not is_same and peers.agree(parameters, reached, start, LOOSE))):
        return {"correct": False}
    if isinstance(step, TorchStep):
        step.move(optimizer, parameters, gradients)
    timed = paired(lambda: optimizer.apply(gradients), step, budget)
    return {"correct": True, **({} if is_near else {"loosely": True}), **timed.as_row()}


def main() -> None:
    """Measure a rule's cases whose numbers are given; one line of JSON each."""
    budget, rule, sizes, *numbers = sys.argv[1:]
    cases = cases_of(rule, sizes)
    print_each(attempted(case, partial(measure, case, float(budget))) for case in (cases[int(n)] for n in numbers))


if __name__ == "__main__":
    main()
