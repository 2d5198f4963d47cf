"""Endings: how the updates of variables end, as they are told: by a constraint, or by the gradient in their place.

A variable can be told at any time, and plans are of how it was when they were made. So what was found has the moment
with it, by which the next call sees that it has to look again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .members import Member
from .variable import TOLD


class Endings(NamedTuple):
    """What variables were told, by position.

    moment:      `TOLD.moment` from before they were asked.
    constrained: those that a constraint changes after an update.
    overwritten: those that become their gradients, and have no slots but what those are collected in.
    """

    moment: object = None
    constrained: frozenset[int] = frozenset()
    overwritten: frozenset[int] = frozenset()

    @property
    def is_of_now(self) -> bool:
        """Whether no variable at all was told anything since."""
        return self.moment is TOLD.moment

    def is_like(self, other: Endings) -> bool:
        """Whether the same was found, at whatever moment."""
        return self.constrained == other.constrained and self.overwritten == other.overwritten


NO_ENDINGS = Endings()


def endings_of(members: Sequence[Member]) -> Endings:
    """What these variables are told now."""
    moment = TOLD.moment
    told = [(i, one.variable) for i, one in enumerate(members) if one.variable is not None]
    overwritten = frozenset(i for i, variable in told if variable.overwrite_with_gradient)
    constrained = frozenset(i for i, variable in told if variable.constraint is not None)
    return Endings(moment, constrained - overwritten, overwritten)
