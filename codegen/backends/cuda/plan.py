"""Plan: the integers of a tensor that a kernel over axes finds in memory; and arithmetic with them, as CUDA source.

Divisions of 64 bits are slow: an element's places are found from those of the first element of its piece with 32 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...axes import Axes, Over
from ...dtypes import storage
from ...errors import BackendError
from ...program import Kernel, Program, Reduce
from .. import coarse
from .sums import Parts, part_names, parts_of
from .tiles import LIMIT, Form, capacity

TILES = ("count", "pitch", "width", "tiles", "per", "blocks", "piece", "number", "result")
"""Of a tensor: see `Tiles`; its first piece, how many it has, and its row of results that are one a tensor."""

SPACE = ("a", "b", "c", "form", "run", "turn", "slots", "split")
"""Of each space over axes, and then of one number a tensor: see `Places` and `Way`."""


class Share(NamedTuple):
    """A reduction, and its parts in the type of the kernel; `number` is its place among the kernel's."""

    reduce: Reduce
    parts: Parts
    number: int

    @property
    def over(self) -> Over:
        """Where there is one number each."""
        return self.reduce.over

    def names(self, prefix: str = "") -> list[str]:
        """Variables for the parts."""
        return [prefix + name for name in part_names(self.reduce, self.parts)]


class Plan:
    """Where the integers of one kernel are."""

    def __init__(self, program: Program, kernel: Kernel) -> None:
        self.spaces = coarse.spaces_of(program, kernel)
        kind = program.type_of(kernel)
        self.shares = [Share(one, parts_of(one.op, kind), i) for i, one in enumerate(kernel.reductions)]
        self.along = [share for share in self.shares if isinstance(share.over, Axes)]
        self.reduced = {share.over for share in self.along}

    @property
    def fields(self) -> int:
        """How many integers a tensor has."""
        return len(TILES) + len(SPACE) * (len(self.spaces) + 1) + len(self.shares)

    @property
    def begin(self) -> str:
        """The line that says where a tensor's are."""
        return f"own = plan + tensor * {self.fields * 8}"

    def tile(self, name: str) -> str:
        """An integer of a tensor."""
        return f"load_int64(own + {TILES.index(name) * 8})"

    def space(self, i: int | str, name: str) -> str:
        """An integer of its i-th space."""
        at = len(TILES) + SPACE.index(name)
        return f"load_int64(own + ({i} * {len(SPACE)} + {at}) * 8)"

    def base(self, number: int | str) -> str:
        """Where the shares of a reduction begin, by its number among the kernel's."""
        return f"shares + load_int64(own + ({number} + {self.fields - len(self.shares)}) * 8)"

    def place(self, space: Over) -> int:
        """Which of its spaces one is."""
        return self.spaces.index(space) if isinstance(space, Axes) else len(self.spaces)

    @property
    def kinds(self) -> list[Share]:
        """One of each way to reduce."""
        return [*{share.reduce.op: share for share in reversed(self.shares)}.values()]

    def kind(self, share: Share) -> int:
        """Which of these a reduction is."""
        return [one.reduce.op for one in self.kinds].index(share.reduce.op)

    def groups(self) -> list[tuple[int, list[Share]]]:
        """What is reduced over axes, by the number of the space."""
        found = [(i, [one for one in self.along if one.over == space]) for i, space in enumerate(self.spaces)]
        return [(i, shares) for i, shares in found if shares]


def capacity_of(program: Program, kernel: Kernel, threads: int) -> int:
    """How many elements a block keeps. Raises BackendError if it has no room for a kernel's."""
    values = len({share.reduce.value for share in Plan(program, kernel).along})
    found = capacity(max(values, 1), storage(program.type_of(kernel)).itemsize, threads)
    if not found:
        raise BackendError(
            f"a GPU's block has no room for all that {kernel.name} reduces over axes. Received: {values} values of "
            "each element. Reduce some of them in a rule of their own, or keep such variables in host memory."
        )
    return found


QUOTIENT = """
def quotient(x, y):
    return int64(uint64(x) // uint64(y))
"""

DIVIDED = """
def divided(x, y):
    return int32(uint32(x) // uint32(y))
"""

REST = """
def rest_of(x, y):
    return int32(uint32(x) % uint32(y))
"""

SHORTENED = f"""
def shortened(x):
    return int32(x if x < {LIMIT} else {LIMIT})
"""

PLACED = """
def placed(o, left, a, turns, b, group, before, c, column):
    run, rest = int32(0), int64(left - o)
    if o >= left:
        run = int32(1 + divided(o - left, shortened(a)))
        rest = int64(left - o) + int64(run) * a
    mine = group + run if run < turns else int64(rest_of(run - turns, shortened(b)))
    along = column + o if o < before else int64(rest_of(o - before, shortened(c)))
    return mine, along, rest
"""
"""Which number the element at offset `o` has, and for how many elements the run goes on, this one among them.

`left`, `turns` and `before` say when the first element's run ends, the last run of its turn, and its line.
"""

FOLLOWING = """
def following(mine, along, rest, a, b, c):
    further = along + 1 if along + 1 < c else int64(0)
    is_last = rest == 1
    other = mine + 1 if mine + 1 < b else int64(0)
    return other if is_last else mine, further, a if is_last else rest - 1
"""
"""The same of the next element."""

SPREAD = """
def spread(e, across, skip):
    return int32(e + divided(e, across) * skip)
"""
"""The offset of a block's element `e`, of lines that are `across`, each followed by `skip` of others."""

WITHIN = """
def within(slot, begin, wide, run, turn):
    found = quotient(begin, run) + quotient(slot, turn)
    low = found * run - begin
    low = low if low > 0 else int64(0)
    high = (found + 1) * run - begin
    high = high if high < wide else int64(wide)
    place = begin + low
    column = slot - quotient(slot, turn) * turn - (place - quotient(place, turn) * turn)
    low = low + (column if column >= 0 else column + turn)
    return int32(low if low < high else high if high > 0 else 0), int32(high if high > 0 else 0)
"""
"""Between which elements of a segment those of a number are, of which every `turn`-th is one."""

SEGMENT = """
def segment_of(i, pitch, width, tiles):
    line = quotient(i, pitch)
    return line * tiles + quotient(i - line * pitch, width)
"""

SHARE = f"""
def share_of(form, o, group, column, a, c, pitch, width, tiles, blocks, slots):
    found = o
    if form == {Form.TILE.value}:
        tile = quotient(column, width)
        found = ((group * blocks + o) * tiles + tile) * width + column - tile * width
    elif form == {Form.OWN.value}:
        i = group * a + o * c + column
        segment = segment_of(i, pitch, width, tiles)
        found = segment * width + i - begin_of(segment, pitch, width, tiles)
    elif form == {Form.RUN.value}:
        begin = begin_of(o, pitch, width, tiles)
        found = o * slots + (group - quotient(begin, a)) * c + column
    return found
"""
"""Which share the o-th of a number's is, in a group of `a` elements."""

BEGIN = """
def begin_of(segment, pitch, width, tiles):
    line = quotient(segment, tiles)
    return line * pitch + (segment - line * tiles) * width
"""


def fold(names: Sequence[str], lanes: Sequence[str], joined: Sequence[str], when: str, further: str) -> list[str]:
    """Let threads join what others have, by halves of `split`: those of which `when` holds that of `further` ones."""
    stored = [f"{lane}[thread] = {name}" for name, lane in zip(names, lanes, strict=True)]
    lines = [*stored, "cuda.syncthreads()", "half = int32(split // 2)", "while half > 0:", f"    if {when}:"]
    lines += [f"        other_{i} = {lane}[thread + {further}]" for i, lane in enumerate(lanes)]
    lines += [f"        {line}" for line in (*joined, *stored)]
    return [*lines, "    cuda.syncthreads()", "    half = int32(half // 2)"]
