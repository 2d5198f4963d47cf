"""step_k over axes: one piece (see `tiles.py`) by the threads of a block, as Python source for a CUDA compiler.

What elements read of coarser spaces is loaded beside them, by the formula of `Places`: neighbours read one number, or
neighbours. What is reduced over axes is kept in shared memory, as much as has room, and added up from there: so memory
is read once, in the order in which it lies, whatever the axes are.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...dtypes import VECTOR_BYTES
from ...kinds import Space
from ...printer import cast, indented, literal
from ...program import Arg, Kernel, Load
from . import draws, plan
from .layout import pointer
from .plan import Plan, Share
from .shape import Shape
from .source import functions
from .step import Step
from .sums import Partial, name_of
from .tiles import LIMIT, Form

PIECE_CELLS = ("tensor", "start", "wide", "lines")
"""Integers of a piece."""


class AxesStep(Step):
    """The loop of the k-th kernel of a program with numbers over axes."""

    def __init__(self, shape: Shape, k: int, kernel: Kernel) -> None:
        self.plan = Plan(shape.program, kernel)
        super().__init__(shape, k, kernel)
        self.coarse = [load for load in kernel.loads if load not in (*self.loads, *self.scales)]
        self.staged: list[Arg] = [*dict.fromkeys(share.reduce.value for share in self.plan.along)]
        self.room = plan.capacity_of(shape.program, kernel, shape.threads)

    def of_rows(self) -> list[Partial]:
        """What is reduced to one share a piece."""
        own = [share for share in self.plan.shares if isinstance(share.over, Space)]
        return [Partial(share.reduce, share.parts, share.number) for share in own]

    def result(self, partial: Partial, i: int) -> str:
        """Where a part of a piece's share goes."""
        share = self.plan.shares[partial.at]
        return (
            f"{self.plan.base(share.number)} + ((row - piece) * {len(share.parts.start)} + {i}) * {self.type.itemsize}"
        )

    @property
    def several(self) -> int:
        """One where places are looked for: that takes registers, and what is beside elements is loaded as well."""
        return 1 if self.coarse else super().several

    @property
    def reads(self) -> list[int]:
        """The spaces of what is loaded beside elements."""
        found = {self.program.space_of(load.array) for load in self.coarse}
        return [i for i, space in enumerate(self.plan.spaces) if space in found]

    def functions(self) -> Iterator[str]:
        """What is called, in the order of its uses."""
        yield from super().functions()
        texts = [share.parts.add for share in self.plan.along] + [share.parts.join for share in self.plan.along]
        known = {text for partial in self.partials for text in (partial.parts.add, partial.parts.join)}
        yield from functions(*(text for text in dict.fromkeys(texts) if text not in known))
        used = [plan.QUOTIENT, plan.DIVIDED, plan.SHORTENED]
        used += [plan.REST, plan.PLACED, plan.FOLLOWING] if self.coarse else []
        used += [plan.SPREAD, plan.WITHIN] if self.staged else []
        yield from [*functions(*used), "", ""]

    def lines(self) -> list[str]:
        """A piece a block: as many of its lines at a time as there is room for, if they are kept."""
        if not self.staged:
            body = [*self.chunk(), *self.loops()]
            return [*self.row(), "down = int64(0)", "count = wide", *body, *self.block_fold()]
        body = [*self.chunk(), "have = int32(min(per, lines - down))", "count = int32(have * wide)", *self.loops()]
        body += ["cuda.syncthreads()"]
        for i, shares in self.plan.groups():
            body += [f"split = int32(split_{i})", f"if form_{i} == {Form.TILE.value}:"]
            body += [*indented(self.columns(shares)), "else:", *indented(self.segments(i, shares))]
        body += ["cuda.syncthreads()", "down = down + per"]
        loop = ["down = int64(0)", "while down < lines:", *indented(body)]
        return [*self.row(), *self.kept(), *loop, *self.tiles(), *self.block_fold()]

    def row(self) -> Iterator[str]:
        """What is known of a piece."""
        yield "thread = int32(cuda.threadIdx.x)"
        yield "row = int64(cuda.blockIdx.x)"
        for i, name in enumerate(PIECE_CELLS):
            at = f"load_int64(pieces + row * {len(PIECE_CELLS) * 8} + {i * 8})"
            yield f"{name} = {f'int32({at})' if name == 'wide' else at}"
        yield self.plan.begin
        yield f"pitch = {self.plan.tile('pitch')}"
        yield from (f"piece = {self.plan.tile('piece')}" for _ in self.plan.shares[:1])
        for array in self.kernel.arrays:
            place = f"load_int64(arrays + ({self.program.column(array)} * tensors + tensor) * 8)"
            yield f"{'base' if array in self.layout.storages else 'all'}_{pointer(array)} = {place}"
        yield from self.begun()
        for i in self.reads:
            yield from (f"{name}_{i} = {self.plan.space(i, name)}" for name in "abc")

    def kept(self) -> Iterator[str]:
        """Shared memory; how lines lie; how each space is reduced; the sums of a thread's column."""
        for number, _ in enumerate(self.staged):
            yield f"staged_{number} = cuda.shared.array({self.room}, {self.type.name})"
        for lane in range(max(len(share.parts.start) for share in self.plan.along)):
            yield f"lane_{lane} = cuda.shared.array({self.threads}, {self.type.name})"
        yield from (f"{name} = {self.plan.tile(name)}" for name in ("per", "width", "tiles"))
        yield f"across, skip = int32({LIMIT}), int32(0)"
        yield "if (lines > 1) & (pitch > wide):"
        yield "    across, skip = wide, shortened(pitch - int64(wide))"
        yield "line_0 = quotient(start, pitch)"
        yield "segment_0 = line_0 * tiles + quotient(start - line_0 * pitch, width)"
        for i, shares in self.plan.groups():
            yield from (f"{name}_{i} = {self.plan.space(i, name)}" for name in ("form", "run", "turn"))
            yield from (f"{name}_{i} = int32({self.plan.space(i, name)})" for name in ("slots", "split"))
            yield from (line for share in shares for line in self.started(share))

    def started(self, share: Share, prefix: str = "") -> Iterator[str]:
        """The parts of no elements."""
        for name, start in zip(share.names(prefix), share.parts.start, strict=True):
            yield f"{name} = {literal(start, self.type.name)}"

    def chunk(self) -> Iterator[str]:
        """Where what is done at once begins, and what is known of its first element's places."""
        yield "first = start + down * pitch"
        yield from (f"{draws.BEGIN} = first" for _ in range(self.is_counting))
        yield f"at = {self.layout.bytes('first')}"
        own = [*self.layout.storages]
        yield from (f"{pointer(array)} = base_{pointer(array)} + {self.layout.offset(array, 'at')}" for array in own)
        for i in self.reads:
            yield f"whole_{i} = quotient(first, a_{i})"
            yield f"left_{i} = shortened(a_{i} - (first - whole_{i} * a_{i}))"
            yield f"group_{i} = whole_{i} - quotient(whole_{i}, b_{i}) * b_{i}"
            yield f"turns_{i} = shortened(b_{i} - group_{i})"
            yield f"column_{i} = first - quotient(first, c_{i}) * c_{i}"
            yield f"before_{i} = shortened(c_{i} - column_{i})"

    def loops(self) -> Iterator[str]:
        """The elements, as vectors where all begin at such a place."""
        own = [*self.layout.storages]
        yield "vectors = int32(0)"
        if own:
            lanes = self.layout.lanes
            even = f" & (first % {lanes} == 0)" if self.is_counting else ""
            even += f" & ((skip == 0) | ((skip % {lanes} == 0) & (wide % {lanes} == 0)))" if self.staged else ""
            yield f"if (({' | '.join(map(pointer, own))}) & {VECTOR_BYTES - 1} == 0){even}:"
            yield f"    vectors = int32(count // {lanes} * {lanes})"
        yield from super().loops()

    def found(self, v: int, index: str) -> Iterator[str]:
        """Where the v-th vector, or a single element, is, and what it is among the block's."""
        yield f"e_{v} = {index}"
        yield f"off_{v} = spread(e_{v}, across, skip)" if self.staged else f"off_{v} = e_{v}"
        yield f"at_{v} = {self.layout.bytes(f'int64(off_{v})')}"

    def offset(self, v: int, index: str) -> str:
        """Where an element is behind the first."""
        return f"off_{v}"

    def taken(self, load: Load, prefix: str, v: int, lane: int) -> str:
        """What was loaded of an element; what is over axes is loaded now."""
        if load not in self.coarse:
            return super().taken(load, prefix, v, lane)
        kept = self.program.storage(load.array)
        i = self.plan.place(self.program.space_of(load.array))
        itemsize = self.shape.storage_of(load.array).itemsize
        place = f"load_{kept}(all_{pointer(load.array)} + place_{i} * {itemsize})"
        return cast(place, kept, self.type.name)

    def one(self, prefix: str, v: int = 0, lane: int = 0) -> Iterator[str]:
        """The element whose loads have names with `prefix`; what is reduced over axes of it is kept."""
        for i in self.reads:
            known = f"a_{i}, turns_{i}, b_{i}, group_{i}, before_{i}, c_{i}, column_{i}"
            found = f"following(mine_{i}, along_{i}, rest_{i}, a_{i}, b_{i}, c_{i})"
            found = found if lane else f"placed(off_{v}, left_{i}, {known})"
            yield f"mine_{i}, along_{i}, rest_{i} = {found}"
            yield f"place_{i} = mine_{i} * c_{i} + along_{i}"
        yield from super().one(prefix, v, lane)
        for number, value in enumerate(self.staged):
            share = next(share for share in self.plan.along if share.reduce.value == value)
            yield f"staged_{number}[e_{v} + {lane}] = {prefix}value_{share.reduce.name}"

    def added(self, share: Share, prefix: str) -> str:
        """The line that adds what is kept of an element to the parts of a thread."""
        names = ", ".join(share.names(prefix))
        kept = f"staged_{self.staged.index(share.reduce.value)}[at]"
        return f"{names} = {name_of(share.parts.add)}({names}, {kept})"

    def columns(self, shares: list[Share]) -> Iterator[str]:
        """Each thread has a column, of every so many lines."""
        yield "at = thread"
        yield "if thread < split * wide:"
        yield "    while at < count:"
        yield from (f"        {self.added(share, '')}" for share in shares)
        yield "        at = int32(at + split * wide)"

    def segments(self, i: int, shares: list[Share]) -> Iterator[str]:
        """Numbers that a line has runs of: some threads each, then one."""
        yield "number = int32(0)"
        yield f"while number < have * slots_{i}:"
        yield "    mine = int32(number + divided(thread, split))"
        yield "    sub = int32(thread & (split - 1))"
        yield f"    line = divided(mine, slots_{i})"
        yield f"    slot = int32(mine - line * slots_{i})"
        for share in shares:
            yield from indented(self.started(share, "own_"))
        yield f"    if mine < have * slots_{i}:"
        segment = f"first + int64(line) * pitch, int64(wide), run_{i}, turn_{i}"
        yield f"        low, high = within(int64(slot), {segment})"
        yield f"        at = int32(line * wide + low + sub * int32(turn_{i}))"
        yield "        last = int32(line * wide + high)"
        yield "        while at < last:"
        yield from (f"            {self.added(share, 'own_')}" for share in shares)
        yield f"            at = int32(at + split * int32(turn_{i}))"
        yield "    if split > 1:"
        for share in shares:
            yield from indented(self.folded(share, "own_", "sub < half", "half"), 2)
        yield f"    if (sub == 0) & (mine < have * slots_{i}):"
        at = f"(segment_0 + (down + int64(line)) * tiles) * int64(slots_{i}) + int64(slot)"
        for share in shares:
            yield from indented(self.stored_share(share, "own_", at), 2)
        yield f"    number = int32(number + divided({self.threads}, split))"

    def tiles(self) -> Iterator[str]:
        """The columns of a piece, one thread each at the end."""
        for i, shares in self.plan.groups():
            yield f"if form_{i} == {Form.TILE.value}:"
            yield f"    split = int32(split_{i})"
            for share in shares:
                yield from indented(self.folded(share, "", "thread < half * wide", "half * wide"))
            yield "    if thread < wide:"
            for share in shares:
                yield from indented(self.stored_share(share, "", "(row - piece) * width + int64(thread)"), 2)

    def folded(self, share: Share, prefix: str, when: str, further: str) -> list[str]:
        """The parts of `split` threads as those of the first."""
        names = share.names(prefix)
        others = [f"other_{lane}" for lane, _ in enumerate(names)]
        joined = f"{', '.join(names)} = {name_of(share.parts.join)}({', '.join([*names, *others])})"
        return plan.fold(names, [f"lane_{lane}" for lane, _ in enumerate(names)], [joined], when, further)

    def stored_share(self, share: Share, prefix: str, at: str) -> Iterator[str]:
        """The parts, where they are joined from."""
        names = share.names(prefix)
        yield f"share = {self.plan.base(share.number)} + ({at}) * {len(names) * self.type.itemsize}"
        for lane, name in enumerate(names):
            yield f"store_{self.type.name}(share + {lane * self.type.itemsize}, {name})"
