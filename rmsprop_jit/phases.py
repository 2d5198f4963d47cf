"""Phases: what differs from call to call where all else is the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .flags import NO_FLAGS

if TYPE_CHECKING:
    from .arrays.homes import Int64
    from .flags import Flags


class Phase(NamedTuple):
    """What differs from call to call where all else is the same.

    micro:   whether gradients are only added up.
    window:  whether some were before (None: for some of the variables).
    started: whether the variables were updated before, where the rule asks for that (None: some of them were).
    due:     the flags that the step decides, of the optimizer's options and of each group's.
    """

    micro: bool
    window: bool | None
    started: bool | None
    due: tuple[Flags, ...]


WHOLE = Phase(False, False, True, (NO_FLAGS,))
"""The phase of every call without gradient accumulation, of a rule that tells no steps apart."""


def of_all(cells: Int64) -> bool | None:
    """Whether all cells are set, or none; None where some are, and of no cells."""
    count = int(np.count_nonzero(cells))  # in less than half the time of `any` and `all`
    none, every = count == 0, count == len(cells)
    return None if none == every else every
