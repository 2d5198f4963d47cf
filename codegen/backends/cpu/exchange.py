"""Reading and writing an optimizer's arrays as a whole, while no call is at work on them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ledger import Ledger
from . import driver, jit, pool

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..contract import Pairs
    from ..entries import Span

    Int64 = npt.NDArray[np.int64]


def read(ledger: Ledger, spans: Sequence[Span]) -> tuple[list[Any], int, Int64]:
    """Copies of contiguous arrays, the calls made and the progress, all of one moment: no call is at work meanwhile."""
    copies = [np.empty(span.array.shape, span.array.dtype) for span in spans]
    rows = [[copy.ctypes.data, span.address, copy.nbytes] for copy, span in zip(copies, spans, strict=True)]
    progress = np.array([len(ledger.progress), *ledger.progress], np.int64)
    calls = _exchange(ledger, rows, -1, progress)
    return copies, calls, progress[1:]


def write(ledger: Ledger, pairs: Pairs, calls: int | None, progress: Sequence[int]) -> None:
    """Copy contiguous NumPy arrays into others, and set calls and progress if `calls` is given."""
    rows = [[span.address, source.ctypes.data, source.nbytes] for span, source in pairs]
    _exchange(ledger, rows, -1 if calls is None else calls, np.array([len(progress), *progress], np.int64))


def copy(ledger: Ledger, pairs: Sequence[tuple[Span, Span]]) -> None:
    """Copy contiguous arrays over others, in one compiled call."""
    rows = [[target.address, source.address, target.array.nbytes] for target, source in pairs]
    _exchange(ledger, rows, -1, np.zeros(1, np.int64))


def replace(ledger: Ledger, target: Span, source: Span, cell: int, expected: int) -> bool:
    """Copy a contiguous array over one of the same dtype and size, and clear a cell of the ledger that stands there.

    Both in one compiled call. False if the cell stands elsewhere: nothing was done then.
    """
    return _replace(ledger, cell, expected, target.address, source.address, target.array.nbytes)


def clear(ledger: Ledger, cell: int, expected: int) -> bool:
    """Clear a cell of the ledger if it stands at `expected`."""
    return _replace(ledger, cell, expected, 0, 0, 0)


def _replace(ledger: Ledger, *rest: int) -> bool:
    entry = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 8)(jit.fixed(driver.REPLACE).address)
    return bool(entry(ledger.at, *rest, pool.yield_address()))


def _exchange(ledger: Ledger, rows: Sequence[Sequence[int]], calls: int, progress: Int64) -> int:
    copies = np.array(rows, np.int64).reshape(-1, 3)
    exchange = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 7)(jit.fixed(driver.EXCHANGE).address)
    places = copies.ctypes.data, len(copies), calls, progress.ctypes.data, pool.yield_address()
    return int(exchange(ledger.at, *places))
