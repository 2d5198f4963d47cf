"""How tensors are cut for kernels over axes on GPUs, with blocks as real ones are, by what the kernels calculate."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from simulated_gpu import TYPES

from rmsprop_jit.codegen import Expr, Rule, block, but, mean_of, specialize
from rmsprop_jit.codegen.axes import Axes, Places, Shape, places
from rmsprop_jit.codegen.backends import coarse
from rmsprop_jit.codegen.backends.cuda import frame, plan, tiles
from rmsprop_jit.codegen.backends.cuda.source import functions
from rmsprop_jit.codegen.backends.cuda.tiles import Form, Tiles, Way
from rmsprop_jit.codegen.errors import BackendError
from rmsprop_jit.codegen.kinds import Space
from rmsprop_jit.codegen.names import Names

THREADS, ROOM = 256, 4_096
KERNEL = {"device": lambda function: function, **vars(TYPES)}
"""The arithmetic of kernels, as Python."""

exec("\n".join(functions(plan.QUOTIENT, plan.DIVIDED, plan.REST, plan.SHORTENED, plan.PLACED)), KERNEL)
exec("\n".join(functions(plan.FOLLOWING, plan.WITHIN, plan.SEGMENT, plan.SHARE, plan.BEGIN)), KERNEL)

ROWS, COLUMNS = Axes((-1,)), Axes((-2,))
REDUCED: dict[Shape, list[Axes]] = {
    (40, 300): [ROWS, COLUMNS],
    (3, 4500): [ROWS, COLUMNS, block(7)],
    (4500, 3): [ROWS, COLUMNS, block(128)],
    (70, 257): [COLUMNS],
    (4500, 1): [ROWS, COLUMNS],
    (20, 16, 40): [ROWS, COLUMNS, but(0), but(2), but(1)],
    (3, 5, 700): [Axes((0,)), COLUMNS, ROWS, block(4200)],
    (16, 8, 3, 3): [but(0), but(1), but(2), but(3)],
}


def whole(piece: tuple[int, int, int], pitch: int) -> Iterator[tuple[int, int]]:
    """The lines of a piece: where each begins, and how long it is."""
    start, wide, lines = piece
    yield from ((start + line * pitch, wide) for line in range(lines))


def shares_of_elements(cut: Tiles, way: Way, own: Places) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The share that a kernel adds each element to."""
    found = np.full(cut.size, -1)
    for number, piece in enumerate(cut.pieces().tolist()):
        for begin, wide in whole(tuple(piece), cut.pitch):
            x = np.arange(wide)
            i = begin + x
            segment = KERNEL["segment_of"](begin, cut.pitch, cut.width, cut.tiles)
            assert KERNEL["begin_of"](segment, cut.pitch, cut.width, cut.tiles) == begin
            if way.form is Form.TILE:
                shares = number * cut.width + x
            else:
                slots = (i // way.run - begin // way.run) * way.turn + i % way.turn
                assert slots.max() < way.slots
                for slot in {0, int(slots[-1]), way.slots - 1}:
                    low, high = KERNEL["within"](slot, begin, wide, way.run, way.turn)
                    assert [*range(low, high, way.turn)] == np.flatnonzero(slots == slot).tolist()
                shares = segment * way.slots + slots
            assert (found[i] == -1).all()
            found[i] = shares
    assert (found >= 0).all()
    assert found.max(initial=0) < tiles.shares_of(cut, way)
    return found


def shares_of_number(number: int, cut: Tiles, way: Way, own: Places) -> list[int]:
    """The shares that are joined to one."""
    a, b, c = own
    column, found = number % c, []
    for group in range(number // c, -(-cut.size // a), b):
        begin, end = group * a, min(group * a + a, cut.size)
        if way.form is Form.RUN:
            ends = [KERNEL["segment_of"](i, cut.pitch, cut.width, cut.tiles) for i in (begin, end - 1)]
            inner = range(ends[0], ends[1] + 1)
        else:
            inner = range(a // c if way.form is Form.OWN else cut.blocks)
        known = (group, column, a, c, cut.pitch, cut.width, cut.tiles, cut.blocks, way.slots)
        found += [int(KERNEL["share_of"](way.form, o, *known)) for o in inner]
    return found


@pytest.mark.parametrize("shape", REDUCED, ids=str)
def test_every_share_is_joined_to_the_number_of_its_elements_and_no_other(shape: Shape) -> None:
    for spaces in (REDUCED[shape], *([one] for one in REDUCED[shape])):
        forms = [places(shape, Space.ELEMENT, space) for space in spaces]
        cut = tiles.tiles_of(math.prod(shape), forms, THREADS, ROOM)
        for space, own in zip(spaces, forms, strict=True):
            way = tiles.way_of(cut, own, THREADS)
            shares, whose = shares_of_elements(cut, way, own), coarse.whose(shape, Space.ELEMENT, space)
            joined: dict[int, int] = {}
            for number in range(math.prod(space.shape_of(shape))):
                mine = shares_of_number(number, cut, way, own)
                assert not joined.keys() & set(mine)
                joined |= dict.fromkeys(mine, number)
            assert all(joined[share] == number for share, number in zip(shares.tolist(), whose.tolist(), strict=True))
            among, inside = tiles.helpers(cut, way, own, THREADS)
            assert among * inside <= THREADS


def test_rows_and_columns_are_reduced_as_they_should_be() -> None:
    def forms(shape: Shape, *spaces: Axes) -> tuple[Tiles, list[Form]]:
        own = [places(shape, Space.ELEMENT, space) for space in spaces]
        cut = tiles.tiles_of(math.prod(shape), own, THREADS, ROOM)
        return cut, [tiles.way_of(cut, one, THREADS).form for one in own]

    assert forms((4096, 4096), ROWS)[0].width == ROOM
    cut, found = forms((4096, 4096), ROWS, COLUMNS)
    assert (found, cut.width, cut.lines, cut.number) == ([Form.RUN, Form.TILE], 256, 64, 1024)
    assert forms((1000, 100), ROWS)[0].width % 100 == 0  # rows are cut at multiples, and begin where vectors do
    assert forms((1000, 100), ROWS)[0].width % tiles.EVEN == 0
    assert forms((100_000, 3), COLUMNS)[1] == [Form.RUN]
    assert forms((1 << 24, 1), ROWS)[1] == [Form.OWN]


@pytest.mark.parametrize("own", [Places(6, 4, 1), Places(24, 1, 6), Places(24, 3, 4), Places(2, 3, 1), Places(5, 2, 5)])
def test_places_go_on_from_those_of_a_first_element(own: Places) -> None:
    a, b, c = own
    for first, off in itertools.product(range(0, 60, 7), range(0, 40, 3)):
        group, column = first // a % b, first % c
        known = (a - first % a, a, b - group, b, group, c - column, c, column)
        mine, along, rest = KERNEL["placed"](off, *known)
        for i in range(first + off, first + off + 4):
            assert mine * c + along == own.of(i)
            assert rest == a - i % a
            mine, along, rest = KERNEL["following"](mine, along, rest, a, b, c)


def test_what_a_block_has_no_room_for_is_refused_with_a_remedy() -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {p: p - sum((mean_of(g * (i + 2.0), over=-1) for i in range(13)), start=0.0 * g)}

    rule = Rule("wide", equations)
    assert frame.sources(specialize(rule, (), "float32"))
    with pytest.raises(BackendError, match=r"no room.*Received: 13 values.*in host memory"):
        frame.sources(specialize(rule, (), "float64"))
