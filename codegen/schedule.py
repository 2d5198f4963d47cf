"""schedule(): in which turns the kernels of several programs run, so that what is reduced over all tensors is joined.

Programs of one rule with other flags can reduce the same thing in kernels of different depth. A kernel that reads a
reduction over all tensors has to wait until every program that takes part in it has made its share. What slots over all
become of that is the same for all programs: one of them gathers it, when nobody reads the old numbers any more.

Where programs have guards, the first turn is theirs alone: what a step must not do shall not have begun. Where they
have functions outside, nothing that is kept is written before all of those were called: they may fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .errors import LoweringError
from .expr import Reduction
from .kinds import Space
from .program import Program


class Turn(NamedTuple):
    """What can run at once.

    kernels: (position of the program, number of its kernel), in order of position.
    joins:   the reductions over all tensors that are complete afterwards, as rules wrote them.
    """

    kernels: tuple[tuple[int, int], ...]
    joins: tuple[Reduction, ...]

    def detours(self, programs: Sequence[Program]) -> list[tuple[int, int]]:
        """The kernels with functions that are called when the turn is over."""
        return [(i, k) for i, k in self.kernels if programs[i].kernels[k].detours]

    def of(self, first: int, last: int) -> Turn:
        """The part of some of the programs, counted from the first of them."""
        return Turn(tuple((i - first, k) for i, k in self.kernels if first <= i < last), self.joins)


def schedule(programs: Sequence[Program]) -> tuple[Turn, ...]:
    """The turns of programs that make a step together; each kernel runs as early as it can."""
    gathering = max(range(len(programs)), key=lambda i: len(programs[i].gathers), default=None)
    waiting = [[k for k, kernel in enumerate(program.kernels) if not kernel.gathers] for program in programs]
    shares: dict[Reduction, int] = {}
    for program in programs:
        for reduce in program.reductions(Space.ALL):
            shares[reduce.what] = shares.get(reduce.what, 0) + 1
    turns = []
    guards = {i for i, program in enumerate(programs) if program.guard}
    while any(waiting):
        ready = [(i, kernels[0]) for i, kernels in enumerate(waiting) if kernels and (not guards or i in guards)]
        ready = [(i, k) for i, k in ready if not any(shares[what] for what in _needs(programs[i], k))]
        if any(programs[i].kernels[k].detours for i, kernels in enumerate(waiting) for k in kernels):
            ready = [(i, k) for i, k in ready if not programs[i].kernels[k].writes]
        guards.clear()  # all of them are ready first: they read nothing that was reduced
        if not ready:
            names = ", ".join(program.name for program, left in zip(programs, waiting, strict=True) if left)
            raise LoweringError(
                f"reductions over all tensors wait for each other. Received: {names}. Step the programs one by one."
            )
        joins = []
        for i, k in ready:
            waiting[i].pop(0)
            for reduce in programs[i].kernels[k].reductions:
                if reduce.over is Space.ALL:
                    shares[reduce.what] -= 1
                    joins += [reduce.what] if not shares[reduce.what] else []
        turns.append(Turn(tuple(ready), tuple(joins)))
    if gathering is not None and programs[gathering].gathers:
        turns.append(Turn(((gathering, len(programs[gathering].kernels) - 1),), ()))
    return tuple(turns)


def _needs(program: Program, k: int) -> list[Reduction]:
    """The reductions over all tensors that a kernel reads."""
    read = {given.name for given in program.kernels[k].givens}
    return [reduce.what for reduce in program.reductions(Space.ALL) if reduce.name in read]
