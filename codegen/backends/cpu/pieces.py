"""Pieces: how tensors are cut for kernels over axes, and where each piece adds up what it reduces.

A piece is some lines of a tensor: where rows are reduced, whole ones as far as they are short enough; where columns
are, lines of all columns or of a tile of them, so that what is added up stays in the cache. A number over axes that one
piece alone adds up is there at once; of others each piece has its share, and the shares are joined in order. All of
that depends on shapes only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...axes import Places
from ...rows import ROW

LINES = 262_144
"""Elements of a piece of lines whose columns are reduced: many lines a share, for each share is written and read."""

TILE = 4_096
"""Columns of a piece: their sums, in float64, stay in the first-level cache."""

FEWEST = 64
"""Lines of a piece, if columns are reduced and there are so many."""


class Piece(NamedTuple):
    """`lines` runs of `width` elements of a tensor, the first from `start` on, then each `pitch` further."""

    tensor: int
    start: int
    width: int
    lines: int
    pitch: int

    @property
    def end(self) -> int:
        """Behind the last element."""
        return self.start + (self.lines - 1) * self.pitch + self.width


def cut(tensor: int, count: int, reduced: Sequence[Places]) -> list[Piece]:
    """The pieces of one tensor of so many elements (or numbers), of which these places are reduced to."""
    columns = [one for one in reduced if 1 < one.c < one.a]
    if columns:
        widest = max(columns, key=lambda one: one.c)
        if widest.a > LINES:
            return list(_tiled(tensor, count, widest))
        return _runs(tensor, count, LINES // widest.a * widest.a)
    rows = [one.a for one in reduced if one.c == 1 and one.a <= ROW]
    longest = max(rows, default=1)
    return _runs(tensor, count, ROW // longest * longest)


def _runs(tensor: int, count: int, length: int) -> list[Piece]:
    return [Piece(tensor, start, min(length, count - start), 1, length) for start in range(0, count, length)]


def _tiled(tensor: int, count: int, places: Places) -> Iterator[Piece]:
    """Lines of all columns, or of a tile of them; no piece has lines of two groups."""
    tiles = -(-places.c // TILE)
    width = min(-(-places.c // tiles // 16) * 16, places.c)
    lines = max(LINES // width, FEWEST)
    for group in range(0, count, places.a):
        for first in range(0, places.a // places.c, lines):
            have = min(lines, places.a // places.c - first)
            begin = group + first * places.c
            if width == places.c:
                yield Piece(tensor, begin, have * places.c, 1, places.c)
            else:
                for column in range(0, places.c, width):
                    yield Piece(tensor, begin + column, min(width, places.c - column), have, places.c)


def touched(piece: Piece, places: Places) -> tuple[int, int]:
    """Between which numbers all of a piece's are: the first, and the one behind the last."""
    a, b, c = places
    first, last = piece.start // a, (piece.end - 1) // a
    low, high = first % b, last % b
    if last - first >= b or low > high:
        low, high = 0, b - 1
    if c == 1 or low != high or last != first:
        return low * c, (high + 1) * c
    is_line = piece.lines == 1 and piece.start // c == (piece.end - 1) // c
    if is_line or (piece.lines > 1 and piece.pitch == c and piece.start % c + piece.width <= c):
        return low * c + piece.start % c, low * c + piece.start % c + piece.width
    return low * c, (high + 1) * c


def are_apart(ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether no number is in two ranges."""
    ordered = sorted(ranges)
    return all(one[1] <= other[0] for one, other in itertools.pairwise(ordered))
