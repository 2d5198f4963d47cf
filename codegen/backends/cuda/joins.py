"""join_k: the shares that pieces have left of numbers over axes, or of one number a tensor, as these numbers.

A block has some numbers of one reduction; a number has as many threads as have something to add. In float64, once a
number; the order is that of the pieces, whatever ran first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ...kinds import Space
from ...printer import indented, literal
from ...program import Kernel, made
from . import plan
from .plan import Plan, Share
from .printing import expression
from .shape import Shape
from .source import functions
from .tiles import Form

ROW_CELLS = ("tensor", "which", "space", "kind", "first", "numbers", "among", "inside")
"""Integers of a row: numbers of one reduction of a tensor, and how many threads each has (see `tiles.helpers`)."""


class Join:
    """The text of one kernel's join."""

    def __init__(self, shape: Shape, k: int, kernel: Kernel) -> None:
        self.shape, self.k, self.kernel = shape, k, kernel
        self.plan = Plan(shape.program, kernel)
        self.type = shape.type_of(kernel)

    def functions(self) -> list[str]:
        """What is called."""
        return [*functions(plan.QUOTIENT, plan.SEGMENT, plan.BEGIN, plan.SHARE), "", ""]

    def lines(self) -> Iterator[str]:
        """One row a block."""
        yield "thread = int32(cuda.threadIdx.x)"
        yield "row = int64(cuda.blockIdx.x)"
        for i, name in enumerate(ROW_CELLS):
            yield f"{name} = load_int64(joins + row * {len(ROW_CELLS) * 8} + {i * 8})"
        yield self.shape.lanes()
        yield "split = int32(among * inside)"
        yield "sub = int32(thread & (split - 1))"
        yield "mine = quotient(int64(thread), int64(split))"
        yield self.plan.begin
        names = ("count", "pitch", "width", "tiles", "blocks", "number", "result")
        yield from (f"{name} = {self.plan.tile(name)}" for name in names)
        yield from (f"{name} = {self.plan.space('space', name)}" for name in ("a", "b", "c", "form", "slots"))
        yield f"shared = {self.plan.base('which')}"
        yield "value = float64(0.0)"
        yield from self.by_kind(lambda share: [f"value = {literal(share.reduce.op.identity, 'float64')}"])
        yield "if mine < numbers:"
        yield from indented(self.runs())
        yield "if split > 1:"
        yield from indented(plan.fold(["value"], ["lanes"], [*self.by_kind(self.joined)], "sub < half", "half"))
        yield "if (sub == 0) & (mine < numbers):"
        for share in self.plan.shares:
            yield f"    if which == {share.number}:"
            yield f"        store_float64({self.result(share)}, value)"

    def by_kind(self, lines: Callable[[Share], Iterable[str]]) -> Iterator[str]:
        """What is done as a row's reduction reduces."""
        for kind, share in enumerate(self.plan.kinds):
            yield f"if kind == {kind}:"
            yield from indented(lines(share))

    def joined(self, share: Share) -> list[str]:
        """Another thread's value, joined to a thread's."""
        return [f"value = {expression(share.reduce.op.join, ['value', 'other_0'], 'float64')}"]

    def runs(self) -> Iterator[str]:
        """Run by run of the elements that have a number in common, and share by share of these."""
        yield "group = quotient(first + mine, c)"
        yield "column = first + mine - group * c"
        yield "group = group + quotient(int64(sub), inside) * b"
        yield "while group * a < count:"
        yield "    end = group * a + a if group * a + a < count else count"
        yield "    o = int64(0)"
        yield f"    if form == {Form.RUN.value}:"
        yield "        o = segment_of(group * a, pitch, width, tiles)"
        yield "        end = segment_of(end - 1, pitch, width, tiles) + 1"
        yield f"    elif form == {Form.OWN.value}:"
        yield "        end = quotient(a, c)"
        yield "    else:"
        yield f"        end = blocks if form == {Form.TILE.value} else number"
        yield "    o = o + (int64(sub) & (inside - 1))"
        yield "    while o < end:"
        yield "        share = share_of(form, o, group, column, a, c, pitch, width, tiles, blocks, slots)"
        yield from indented(self.by_kind(self.taken), 2)
        yield "        o = o + inside"
        yield "    group = group + among * b"

    def taken(self, share: Share) -> Iterator[str]:
        """One share, joined to those before it."""
        size = self.type.itemsize
        names = [f"part_{lane}" for lane, _ in enumerate(share.parts.start)]
        for lane, name in enumerate(names):
            yield f"{name} = float64(load_{self.type.name}(shared + (share * {len(names)} + {lane}) * {size}))"
        yield f"element = {share.parts.whole.format(*names)}"
        yield f"value = {expression(share.reduce.op.join, ['value', 'element'], 'float64')}"

    def result(self, share: Share) -> str:
        """Where a number goes."""
        if isinstance(share.over, Space):
            at = f"result * {self.shape.width} + {self.shape.partials[share.reduce.name].at}"
            return f"partial + ({at}) * 8"
        column = self.shape.program.column(made(share.reduce.name))
        return f"load_int64(arrays + ({column} * tensors + tensor) * 8) + (first + mine) * 8"
