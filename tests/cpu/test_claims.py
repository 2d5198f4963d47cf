"""Who works on what: everything once, whoever comes late or not at all, and each seat the same in every step."""

import ctypes
import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rmsprop_jit.codegen import Rule, backends
from rmsprop_jit.codegen.backends.cpu import claims, jit, pool
from rmsprop_jit.codegen.backends.cpu.cells import SEAT, STRIDE, BoardCell
from rmsprop_jit.codegen.backends.cpu.claims import BACK, FRONT, STEP, StretchCell
from rmsprop_jit.codegen.backends.cpu.header import Header, at
from rmsprop_jit.codegen.backends.cpu.llvm import Code
from rmsprop_jit.codegen.backends.cpu.tables import Table
from rmsprop_jit.codegen.pipeline import specialize
from rmsprop_jit.codegen.rows import ROW

Int64 = npt.NDArray[np.int64]

TAKEN = slice(Header.STRETCHES + StretchCell.TAKEN, None, claims.STRIDE)
"""The words of all stretches, in a header."""


def cells_of(header: Int64) -> Int64:
    """Of each stretch its cells."""
    assert not header[: Header.STRETCHES].any()
    return header[Header.STRETCHES :].reshape(-1, claims.STRIDE)


@pytest.mark.parametrize("seats", [1, 2, 3, 8, 128])
@pytest.mark.parametrize(
    "weights", [[], [0, 0, 0], [5], [1] * 25, [8_000] * 20 + [65_536] * 5, [65_536, 1, 1, 1]], ids=str
)
def test_each_claim_is_in_one_stretch_and_all_are_about_as_long(weights: Sequence[int], seats: int) -> None:
    cells = cells_of(claims.header(np.cumsum([0, *weights]), seats))
    assert len(cells) == seats
    ends = [0, *(cells[:, StretchCell.FIRST] + cells[:, StretchCell.COUNT]).tolist()]
    assert cells[:, StretchCell.FIRST].tolist() == ends[:-1]
    assert ends[-1] == len(weights)
    even = sum(weights) / seats
    works = [sum(weights[begin:end]) for begin, end in itertools.pairwise(ends)]
    assert all(abs(work - even) <= max(weights, default=0) for work in works)


def test_no_two_stretches_share_a_cache_line_or_its_neighbour() -> None:
    assert 8 * claims.STRIDE == 128
    assert Header.STRETCHES - max(entry for entry in Header if entry != Header.STRETCHES) >= claims.STRIDE


def counting(lines: Sequence[str]) -> Code:
    """Code that does some lines for each claim; `seen` is what its table shows of them."""
    body = [f"seen = at_int64({at(Header.PARTIAL_AT)})", *claims.each_claim(lines)]
    return jit.code("\n".join([f"def {STEP}:", *("    " + line for line in body), ""]))


def worker(code: Code, header: Int64, seen: Int64) -> Callable[[int, int], int]:
    """A function that does what a seat of so many stretches does."""
    header[Header.PARTIAL_AT] = seen.ctypes.data
    work = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 5)(jit.fixed(claims.WORK).address)
    return lambda stretches, seat: work(code.address, header.ctypes.data, stretches, seat)


@pytest.mark.parametrize(
    ("seat", "order"),
    [
        (0, [0, 1, 2, 5, 4, 3, 8, 7, 6]),
        (1, [3, 4, 5, 8, 7, 6, 2, 1, 0]),
        (2, [6, 7, 8, 2, 1, 0, 5, 4, 3]),
        (3, [0, 1, 2, 5, 4, 3, 8, 7, 6]),  # a helper that has seen the last offer's table: nothing is its own
    ],
)
def test_a_seat_does_its_own_from_the_front_and_then_others_from_the_back(seat: int, order: list[int]) -> None:
    seen = np.zeros(10, np.int64)
    code, header = counting(["seen[0] += 1", "seen[seen[0]] = claim"]), claims.header(np.arange(10), 3)
    work = worker(code, header, seen)
    for _ in range(2):
        seen[:], header[TAKEN] = 0, 0
        work(3, seat)
        assert seen.tolist() == [9, *order]
        work(3, seat)  # who comes when all is done does nothing
        assert seen[0] == 9


@pytest.mark.parametrize("threads", range(1, 9))
@pytest.mark.parametrize("stretches", [1, 2, 5, 8])
def test_everything_is_done_once_whoever_is_late_or_missing(stretches: int, threads: int) -> None:
    rng, count = random.Random(threads), 3_000
    seen = np.zeros(count, np.int64)
    code, header = counting(["seen[claim] += 1"]), claims.header(np.arange(count + 1), stretches)
    work = worker(code, header, seen)
    begin, end = (threading.Barrier(threads + 1) for _ in range(2))
    rounds = 30
    delays = [[rng.choice([0, 0, 100, 3_000]) for _ in range(threads)] for _ in range(rounds)]

    def take_part(seat: int) -> None:
        for late in delays:
            begin.wait()
            for _ in range(late[seat]):
                pass
            work(stretches, seat)
            end.wait()

    workers = [threading.Thread(target=take_part, args=(seat,)) for seat in range(threads)]
    for one in workers:
        one.start()
    for turn in range(1, rounds + 1):
        header[TAKEN] = 0
        begin.wait()
        end.wait()
        assert (seen == turn).all()
    for one in workers:
        one.join()


WAYS = f"""
def {STEP}:
    arrays = at_int64({at(Header.ARRAYS_AT)})
    rows = at_int64({at(Header.ROWS_AT)})
    ways = at_int64({at(Header.PARTIAL_AT)})
    """ + "\n    ".join(
    claims.each_row(
        [
            "ways[row] = way",
            "values = at_float32(arrays[0] + rows[row * 4 + 1] * 4)",
            "for i in range(rows[row * 4 + 2]):",
            "    values[i] = values[i] + 1",
        ]
    )
)
"""A step that adds 1 to all, and leaves from which end each row was taken."""


class Seated:
    """A step of a table of one tensor, and who did what in it."""

    def __init__(self, threads: int) -> None:
        sgd = specialize(Rule("sgd", lambda p, g, s, h, on: {p: p - h.learning_rate * g}), (), "float32")
        self.values = np.zeros(40 * ROW, np.float32)
        table: Any = Table(sgd, [self.values.size], {"threads": threads}, jit.code(WAYS))
        for array in sgd.arrays:
            table.point(array.name, np.array([self.values.ctypes.data]))
        self.launch = backends.launch({"cpu": [table]})
        self.ways = np.zeros(len(table.cut.rows), np.int64)
        table._header[Header.PARTIAL_AT] = self.ways.ctypes.data
        self.begins = table._header[Header.STRETCHES + StretchCell.FIRST :: claims.STRIDE]
        assert len(self.begins) == threads
        self.steps = 0

    def __call__(self) -> list[bool]:
        """Of each seat whether its stretch was begun at its front, in one step more."""
        self.ways[:] = 0
        self.launch()
        self.steps += 1
        assert (self.values == self.steps).all()
        assert set(self.ways.tolist()) <= {FRONT, BACK}
        began: list[bool] = (self.ways[self.begins] == FRONT).tolist()
        return began  # not even the caller's in every step: it can be held up until others have done all


def soon(step: Seated) -> bool:
    """Whether everybody comes to the seat that is its own, sooner or later: anybody may be late in a step."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if all(step()):
            return True
    return False


def test_helpers_begin_with_what_is_theirs_in_every_table_and_step() -> None:
    three, two = Seated(3), Seated(2)
    for step in (three, two, three, two):  # the second helper looks for seats, too, and leaves the first its own
        assert soon(step)
    board = pool.pool().board
    places = int(BoardCell.ASLEEP) + STRIDE * np.arange(board[BoardCell.HELPERS])
    assert board[places + SEAT].tolist() == list(range(1, len(places) + 1))


def test_a_caller_does_without_helpers_that_another_has() -> None:
    step = Seated(2)
    assert soon(step)
    board = pool.pool().board
    board[BoardCell.BUSY] = 1
    try:
        assert step() == [True, False]
    finally:
        board[BoardCell.BUSY] = 0
    assert soon(step)
