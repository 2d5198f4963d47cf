"""Reading and writing an optimizer's arrays as a whole, while no call is at work on them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..entries import Cell, Span, refuse_unlike
from ..ledger import Ledger
from . import driver, jit, pool

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..contract import Pairs

    Int64 = npt.NDArray[np.int64]

HELD = -1
"""The answer that the ledger is held: nothing was done."""

READING, WRITING = -1, -2
"""In place of the number of calls, where it stays: the optimizer's arrays are only read, or some are written."""

EXCHANGE = f"""{driver.WAIT}{driver.TAKE}
def exchange(ledger, copies_at, count, calls, progress_at, yield_at):
    copies = ints(copies_at)
    cells = ints(ledger)
    progress = ints(progress_at)
    take(ledger, yield_at)
    if cells[{Cell.DUE}] < 0:
        swap(ledger + {8 * Cell.WORD}, 0)
        return {HELD}
    for i in range(count):
        copy(copies[3 * i], copies[3 * i + 1], copies[3 * i + 2])
    if calls != {READING}:
        cells[{Cell.CHANGES}] += 1
    if calls >= 0:
        cells[{Cell.CALLS}] = calls
        cells[{Cell.TORN}] = 0
        cells[{Cell.DUE}] = 0
        for i in range(progress[0]):
            cells[{Cell.SKIPPED} + i] = progress[i + 1]
    else:
        for i in range(progress[0]):
            progress[i + 1] = cells[{Cell.SKIPPED} + i]
    calls = cells[{Cell.CALLS}]
    swap(ledger + {8 * Cell.WORD}, 0)
    return calls
"""
"""Copies (target, source, bytes) while no call is at work; then what the ledger says is set, or read if `calls` < 0.
Nothing is done while the ledger is held."""

REPLACE = f"""{driver.WAIT}{driver.TAKE}
def replace(ledger, cell, expected, value, copies_at, count, yield_at):
    copies = ints(copies_at)
    done = 0
    take(ledger, yield_at)
    if ints(ledger)[cell] == expected:
        for i in range(count):
            copy(copies[3 * i], copies[3 * i + 1], copies[3 * i + 2])
        ints(ledger)[cell] = value
        ints(ledger)[{Cell.CHANGES}] += 1
        done = 1
    swap(ledger + {8 * Cell.WORD}, 0)
    return done
"""
"""Copies, and sets a cell of the ledger, if it stands at a number: what is due for a variable is done once."""


def read(ledger: Ledger, spans: Sequence[Span]) -> tuple[list[Any], int, Int64]:
    """Copies of dense arrays, the calls made and the progress, all of one moment: no call is at work meanwhile.

    Raises OptionError while the ledger is held.
    """
    copies = [_new_like(span.array) for span in spans]
    rows = [[copy.ctypes.data, span.address, copy.nbytes] for copy, span in zip(copies, spans, strict=True)]
    progress = np.array([len(ledger.progress), *ledger.progress], np.int64)
    calls = _exchange(ledger, rows, READING, progress)
    return copies, calls, progress[1:]


def write(ledger: Ledger, pairs: Pairs, calls: int | None, progress: Sequence[int]) -> None:
    """Copy contiguous NumPy arrays into dense ones, and set calls and progress if `calls` is given.

    Raises OptionError while the ledger is held, ArrayError where a source has another dtype or size than its target.
    """
    refuse_unlike(pairs)
    sources = [_laid_out(source, span.array) for span, source in pairs]
    rows = [[span.address, one.ctypes.data, span.array.nbytes] for (span, _), one in zip(pairs, sources, strict=True)]
    cells = np.array([len(progress), *progress], np.int64)
    _exchange(ledger, rows, WRITING if calls is None else calls, cells)


def _new_like(array: Any) -> Any:
    """A new array of the same shape and dtype, of which the elements lie in the same order."""
    strides = None if array.flags.c_contiguous else array.strides
    return np.ndarray(array.shape, array.dtype, np.empty(array.nbytes, np.uint8), 0, strides)


def _laid_out(source: Any, target: Any) -> Any:
    """An array, or a copy of which the elements lie in the order in which those of `target` do."""
    if target.flags.c_contiguous:
        return source
    copy = _new_like(target)
    copy[...] = source
    return copy


def copy(ledger: Ledger, pairs: Sequence[tuple[Span, Span]]) -> None:
    """Copy dense arrays over others that lie alike, in one compiled call.

    Raises OptionError while the ledger is held.
    """
    _exchange(ledger, _rows(pairs), WRITING, np.zeros(1, np.int64))


def replace(ledger: Ledger, pairs: Sequence[tuple[Span, Span]], cell: int, expected: int, value: int = 0) -> bool:
    """Copy dense arrays over others that lie alike, and set a cell of the ledger that stands at `expected`.

    All in one compiled call. False if the cell stands elsewhere: nothing was done then.
    """
    return _replace(ledger, cell, expected, value, _rows(pairs))


def turn(ledger: Ledger, cell: int, expected: int, value: int) -> bool:
    """Set a cell of the ledger if it stands at `expected`, while no call is at work."""
    return _replace(ledger, cell, expected, value, ())


def _rows(pairs: Sequence[tuple[Span, Span]]) -> list[list[int]]:
    return [[target.address, source.address, target.array.nbytes] for target, source in pairs]


def _replace(ledger: Ledger, cell: int, expected: int, value: int, rows: Sequence[Sequence[int]]) -> bool:
    copies = np.array(rows, np.int64).reshape(-1, 3)
    entry = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 8)(jit.fixed(REPLACE).address)
    return bool(entry(ledger.at, cell, expected, value, copies.ctypes.data, len(copies), pool.yield_address()))


def _exchange(ledger: Ledger, rows: Sequence[Sequence[int]], calls: int, progress: Int64) -> int:
    copies = np.array(rows, np.int64).reshape(-1, 3)
    exchange = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 7)(jit.fixed(EXCHANGE).address)
    places = copies.ctypes.data, len(copies), calls, progress.ctypes.data, pool.yield_address()
    while (answer := int(exchange(ledger.at, *places))) == HELD:
        ledger.refuse_held()
    return answer
