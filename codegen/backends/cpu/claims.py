"""Claims: how a table's work is shared between those who work on it, so that everything is done once.

Each has a seat, the same in every step, and the claims are cut into as many stretches: whoever has a seat begins with
its stretch from the front, so that what it worked on in the last step is still in its own caches, and then helps with
the others from the back, where their owners come last. Who is late or missing costs nothing: its stretch is done by
the others. One word counts what was taken from either end, and one addition takes a claim.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from ...printer import indented
from .header import Header, at

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]

STEP = "step(table, stretch, way)"
"""The compiled function: it takes claims of a stretch, which is an address, from its front or its back."""

FRONT, BACK = 1, 1 << 32
"""Ways: what is added to a stretch's word by who takes a claim from this end. Each half of the word counts one end."""


class StretchCell(IntEnum):
    """The claims that one seat begins with."""

    TAKEN = 0  # how many were taken from the front, and times BACK from the back; more when there are none left
    FIRST = 1  # the first claim
    COUNT = 2  # how many claims


STRIDE = 16
"""From one stretch to the next, two cache lines: each thread writes to its own."""

WORK = f"""
def work(step_at, table_at, stretches, seat):
    begin = table_at + {8 * Header.STRETCHES}
    end = begin + stretches * {8 * STRIDE}
    stretch = begin + (seat if seat < stretches else 0) * {8 * STRIDE}
    call_step(step_at, table_at, stretch, {FRONT})
    for turn in range(1, stretches):
        stretch += {8 * STRIDE}
        if stretch == end:
            stretch = begin
        taken = peek(stretch)
        if (taken & {BACK - 1}) + (taken >> 32) < ints(stretch)[{StretchCell.COUNT}]:
            call_step(step_at, table_at, stretch, {BACK})
"""
"""All that one seat does of a table: its own stretch, then what is left of the others."""


def header(bounds: Int64, seats: int) -> Int64:
    """A header that has no entries yet, but the claims cut for so many seats.

    bounds: how many elements lie before each claim, and before the end. A claim is in the stretch that has its middle.
    """
    middles = bounds[:-1] + bounds[1:]  # both sides twice as long
    begins = np.searchsorted(middles, 2 * bounds[-1] * np.arange(1, seats) / seats)
    begins = np.concatenate([[0], begins, [len(middles)]])
    cells = np.zeros((seats, STRIDE), np.int64)
    cells[:, StretchCell.FIRST] = begins[:-1]
    cells[:, StretchCell.COUNT] = np.diff(begins)
    return np.concatenate([np.zeros(Header.STRETCHES, np.int64), cells.ravel()])


def each_claim(lines: Iterable[str]) -> Iterator[str]:
    """The loop over the claims of a stretch, around what is done for a `claim`."""
    yield "claim = take_claim(stretch, way)"
    yield "while claim >= 0:"
    yield from indented([*lines, "claim = take_claim(stretch, way)"])


def each_row(lines: Iterable[str]) -> Iterator[str]:
    """The loops over claims and rows, around what is done for a `row`."""
    yield f"claims = at_int64({at(Header.CLAIMS_AT)})"
    yield from each_claim(["for row in range(claims[claim], claims[claim + 1]):", *indented([*lines])])
