"""Rows: how the elements of many tensors are cut into pieces of work.

A row is a run of elements of one tensor: `(tensor, start, count, alone)`, where `alone` says that the tensor has no
other row. A claim is a run of rows that one worker takes at a time. Both depend on the sizes only, never on the number
of workers, so that what is summed per row is the same for any number of threads, and on any device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

ROW = 65_536
"""Elements of a row: long enough for prefetchers of many streams, short enough to stay in a second-level cache."""

CLAIM = 8_192
"""Elements that a claim has at least: small tensors are handed out together."""

TENSOR, START, COUNT, ALONE = range(4)

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]


class Rows(NamedTuple):
    """The cut of one list of tensors.

    rows:   int64 (n_rows, 4), in order of tensor and start; empty tensors have none.
    first:  int64 (n_tensors + 1,), where each tensor's rows begin.
    claims: int64 (n_claims + 1,), where each claim's rows begin.
    """

    rows: Int64
    first: Int64
    claims: Int64


def length_for(total: int, rows: int, shortest: int, longest: int) -> int:
    """The longest power of two from `shortest` to `longest` that cuts `total` elements into at least `rows` rows.

    `shortest` where there is none: fewer elements make fewer rows. Both bounds are powers of two.
    """
    fitting = 1 << max(total // rows, 1).bit_length() - 1
    return min(max(fitting, shortest), longest)


def cut(sizes: Sequence[int], row: int = ROW, claim: int = CLAIM, leads: Sequence[int] | None = None) -> Rows:
    """Cut tensors of these sizes (in elements) into rows of at most `row` and claims of at least `claim` elements.

    leads: for each tensor, by how many elements its first row is shorter, so that the others start where vectors do not
           straddle cache lines.
    """
    size = np.asarray(sizes, dtype=np.int64)
    lead = np.zeros_like(size) if leads is None else np.asarray(leads, dtype=np.int64)
    pieces = np.where(size > 0, -(-(size + lead) // row), 0)
    first = np.concatenate([[0], np.cumsum(pieces)]).astype(np.int64)
    tensor = np.repeat(np.arange(len(size), dtype=np.int64), pieces)
    end = (np.arange(len(tensor), dtype=np.int64) - first[tensor] + 1) * row - lead[tensor]
    start = np.maximum(end - row, 0)
    count = np.minimum(size[tensor], end) - start
    rows = np.ascontiguousarray(np.stack([tensor, start, count, pieces[tensor] == 1], axis=1), dtype=np.int64)
    group = np.cumsum(count) // claim
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    return Rows(rows, first, np.concatenate([begins, [len(tensor)]]).astype(np.int64))
