"""Tiles: how tensors are cut for GPU kernels over axes, and where their blocks leave what they reduce.

A piece is what one block does. Where columns are reduced, a tensor is lines of `pitch` elements, cut into tiles of at
most as many columns as a block has threads: a thread has a column, and goes down the lines of its piece. Else a piece
is a run of elements, which ends where rows end if they are short. What a piece leaves of a number is a share; `join_k`
joins shares in their order. Where a share is follows from integers a tensor: nothing is looked up, no two blocks
write to one place, and all of that depends on the shape alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...axes import Places
from ...rows import length_for

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]

STAGED = 24_576
"""Bytes of shared memory, at most, in which a block keeps what it reduces; with what folds it, less than 48 KiB."""

ROUNDS = 16
"""Elements a thread, at most, that are kept there at once."""

NARROW = 8
"""Columns are tiles from one for every so many threads of a block on: a line of them is 128 bytes and more."""

TALLEST, PIECES = 16_384, 1_024
"""Elements of a piece of a tile, at most; fewer where there would not be so many pieces."""

EVEN = 16
"""Elements of which pieces have a multiple, so that the next one begins where vectors do."""

EACH = 4
"""Shares that a thread joins, at least, before others help it."""

LIMIT = 1 << 30
"""Of lines that follow one another in a block's memory; their offsets are integers of 32 bits."""


class Form(IntEnum):
    """Which shares the numbers of a space have.

    PIECE: one a piece, of one number a tensor. `TILE`: one a piece and column. `OWN`: one an element, where no two that
    follow one another have a number in common. `RUN`: one for each run that a segment of a line has of them.
    """

    PIECE, TILE, OWN, RUN = range(4)


class Tiles(NamedTuple):
    """A tensor's lines of `pitch` elements, each in `tiles` segments of at most `width`.

    A piece is at most `lines` of one group of `a` elements, done `per` lines at a time; a group has `blocks` pieces.
    """

    size: int
    pitch: int
    width: int
    tiles: int
    per: int
    lines: int
    group: int
    blocks: int

    def pieces(self) -> Int64:
        """Where each begins, its columns and its lines: by group, lines and columns."""
        group = np.arange(0, self.size, self.group, dtype=np.int64)[:, None, None]
        line = np.arange(0, self.group // self.pitch, self.lines, dtype=np.int64)[None, :, None]
        column = np.arange(0, self.pitch, self.width, dtype=np.int64)[None, None, :]
        found = np.broadcast_arrays(
            group + line * self.pitch + column,
            np.minimum(self.width, self.pitch - column),
            np.minimum(self.lines, self.group // self.pitch - line),
        )
        return np.stack([one.ravel() for one in found], axis=1)

    @property
    def segments(self) -> int:
        """Of all lines."""
        return self.size // self.pitch * self.tiles if self.size else 0

    @property
    def number(self) -> int:
        """How many pieces there are."""
        return -(-self.size // self.group) * self.blocks * self.tiles if self.size else 0


class Way(NamedTuple):
    """How the numbers of a space are reduced.

    run, turn: runs of so many elements share as many numbers as `turn` says, within a segment.
    slots:     a segment has at most so many numbers.
    split:     so many threads of a block share a number, a power of two.
    """

    form: Form
    run: int
    turn: int
    slots: int
    split: int


def capacity(values: int, itemsize: int, threads: int) -> int:
    """How many elements a block keeps of so many values at once: a power of two, or 0 where there is no room."""
    rounds = min(STAGED // (values * itemsize * threads), ROUNDS)
    return threads * _power(rounds) if rounds else 0


def tiles_of(count: int, reduced: Sequence[Places], threads: int, room: int) -> Tiles:
    """How a tensor is cut of which these places are reduced to; a block has room for so many elements."""
    columns = [one for one in reduced if max(threads // NARROW, 2) <= one.c < one.a]
    if columns and count:
        a, _, c = max(columns, key=lambda one: one.c)
        tiles = -(-c // threads)
        width = min(-(-c // tiles // EVEN) * EVEN, c, threads)
        tiles = -(-c // width)
        per = max(min(room // width, a // c, LIMIT // c), 1)
        tall = length_for(count, PIECES, min(room, TALLEST), TALLEST)
        lines = min(max(tall // width // per * per, per), a // c)
        return Tiles(count, c, width, tiles, per, lines, a, -(-(a // c) // lines))
    short = [one.a if one.c == 1 or one.a <= room else one.c for one in reduced]
    longest = max([one for one in short if one <= room], default=1)
    even = math.lcm(longest, EVEN)
    step = even if even <= room else longest
    return runs(count, room // step * step)


def runs(count: int, length: int) -> Tiles:
    """Runs of at most so many elements."""
    width, whole = max(min(length, count), 1), max(count, 1)
    return Tiles(count, whole, width, -(-count // width), 1, 1, whole, 1)


def way_of(tiles: Tiles, places: Places, threads: int) -> Way:
    """How a piece of these tiles reduces to these places."""
    a, _, c = places
    if tiles.size != tiles.pitch and (a, c) == (tiles.group, tiles.pitch):
        return Way(Form.TILE, c, 1, tiles.width, _power(max(threads // tiles.width, 1)))
    if c > 1 and c >= tiles.width:
        slots, run, turn, form = tiles.width, 1, 1, Form.OWN
    else:
        slots, run, turn, form = _runs(tiles, a) * c, a, c, Form.RUN
    return Way(form, run, turn, slots, _power(max(threads // (slots * tiles.per), 1)))


def _runs(tiles: Tiles, a: int) -> int:
    """In how many runs of `a` elements a segment can be."""
    if a % tiles.pitch == 0:
        return 1
    if tiles.width % a == 0 and (tiles.pitch == tiles.size or tiles.pitch % a == 0):
        return tiles.width // a
    return (tiles.width + a - 2) // a + 1


def shares_of(tiles: Tiles, way: Way) -> int:
    """How many shares a tensor has."""
    if way.form is Form.PIECE:
        return tiles.number
    return tiles.number * tiles.width if way.form is Form.TILE else tiles.segments * way.slots


def helpers(tiles: Tiles, way: Way, places: Places, threads: int) -> tuple[int, int]:
    """How many threads share a number when it is joined: among its runs, and within one; powers of two."""
    a, b, c = places
    turns = max(-(-tiles.size // (a * b)), 1)
    if way.form is Form.PIECE:
        turns, within = 1, tiles.number
    elif way.form is Form.TILE:
        within = tiles.blocks
    elif way.form is Form.OWN:
        within = a // c
    else:
        within = max(a // tiles.pitch, 1) * tiles.tiles if a >= tiles.pitch else -(-a // tiles.width) + 1
    split = min(_power(max(turns * within // EACH, 1)), threads)
    among = min(_power(turns), split)
    return among, split // among


def _power(number: int) -> int:
    """The largest power of two that is not larger."""
    return int(1 << number.bit_length() - 1)
