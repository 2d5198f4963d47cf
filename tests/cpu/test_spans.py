"""Compiled code finds what NumPy finds: arrays that are not there, not aligned, or in memory that is written."""

from __future__ import annotations

import numpy as np
import pytest

from rmsprop_jit.arrays.homes import Int64
from rmsprop_jit.codegen.backends.spans import Spans


def are_free(spans: list[tuple[int, int]], arrays: list[tuple[int, int]], odd: int = 3) -> bool:
    begins, ends = (np.array([one[which] for one in spans], np.int64) for which in (0, 1))
    where, nbytes = (np.array([one[which] for one in arrays], np.int64) for which in (0, 1))
    return Spans(begins, ends, nbytes, np.full(len(arrays), odd, np.int64)).are_free(where)


def by_numpy(begins: Int64, ends: Int64, nbytes: Int64, where: Int64) -> bool:
    touched = (where[:, None] < ends) & (begins < (where + nbytes)[:, None]) & (nbytes[:, None] > 0)
    return not (touched.any() or ((where == 0) & (nbytes > 0)).any() or (where & 3).any())


WRITTEN = [(64, 96), (96, 128), (256, 512)]


@pytest.mark.parametrize(
    ("arrays", "free"),
    [
        ([], True),
        ([(128, 128)], True),
        ([(128, 132)], False),
        ([(60, 4), (512, 4)], True),
        ([(60, 8)], False),
        ([(508, 4)], False),
        ([(4, 1 << 40)], False),
        ([(300, 0)], True),
        ([(0, 0)], True),
        ([(0, 4)], False),
        ([(130, 4)], False),
        ([(130, 0)], False),
    ],
)
def test_each_of_them_is_looked_at(arrays: list[tuple[int, int]], free: bool) -> None:
    assert are_free(WRITTEN, arrays) is free
    assert are_free(WRITTEN, [(128, 4), *arrays, (600, 4)]) is free


def test_where_nothing_is_written_they_must_be_there_and_aligned() -> None:
    assert are_free([], [(4, 1000), (8, 0)])
    assert not are_free([], [(0, 1)])
    assert not are_free([], [(6, 4)])


@pytest.mark.parametrize("seed", range(20))
def test_as_numpy_finds_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.choice(400, 40, replace=False)) * 4
    begins, ends = np.ascontiguousarray(edges[::2]), np.ascontiguousarray(edges[1::2])
    seen = set()
    for _ in range(200):
        count = int(rng.integers(0, 4))
        where, nbytes = rng.integers(1, 400, count) * 4, rng.integers(0, 6, count) * 4
        where[rng.random(count) < 0.02] -= 2
        found = Spans(begins, ends, nbytes, np.full(count, 3, np.int64)).are_free(where)
        assert found is by_numpy(begins, ends, nbytes, where)
        seen.add(found)
    assert seen == {True, False}
