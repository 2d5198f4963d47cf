"""A call that runs in Python: the mark in the ledger stands from before it writes until it is counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ..errors import NonFiniteResult, non_finite
from .entries import NO_ARRAYS, Marks
from .ledger import Ledger


class Step(Protocol):
    """What is done inside the marks."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing was written yet but scratch."""


class Marked:
    """Around a call that runs in Python, the `expected`th: whether the ledger still stands there, nothing due.

    At the end the call is counted, with all that `marks` say, and the mark is cleared; an exception leaves it.
    `numbers` are those that the call brings, for slots over all.
    Without `expected` nothing is counted. With a `step` an exception leaves no mark where that says
    that nothing was written. Entering raises BackendError if a call was torn or is under way.
    A class, since a generator takes a microsecond more, and every step on a GPU is such a call.
    """

    __slots__ = ("_expected", "_is_there", "_ledger", "_marks", "_numbers", "_step")

    def __init__(
        self,
        ledger: Ledger,
        expected: int | None,
        marks: Marks | None = None,
        numbers: Mapping[str, Any] | None = None,
        step: Step | None = None,
    ) -> None:
        self._ledger, self._expected, self._marks, self._numbers = ledger, expected, marks, numbers or NO_ARRAYS
        self._step = step

    def __enter__(self) -> bool:
        ledger, expected = self._ledger, self._expected
        ledger.mark()
        try:
            self._is_there = ledger.due >= 0 and (
                expected is None or ledger.stands_at(expected, self._marks, self._numbers)
            )
        except BaseException:
            ledger.unmark(is_over=False)
            raise
        return self._is_there

    def refuse(self, is_skipped: bool) -> None:
        """The call was not done, since its guard refused it: it is counted as skipped, or not at all."""
        self._is_there = False
        if is_skipped:
            self._ledger.skip()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        is_over = False
        try:
            if kind is None:
                if self._is_there and self._expected is not None:
                    self._ledger.advance(self._expected, self._marks, self._numbers)
                is_over = True
            elif self._step is not None:
                is_over = self._step.is_whole
        finally:
            self._ledger.unmark(is_over)


def guarded(mark: Marked, marks: Marks, run: Callable[[], Sequence[int]]) -> bool:
    """Do a call that says which tensors its guard has refused: then nothing was done, and it is skipped.

    False if the ledger does not stand where it should. Raises NonFiniteError where such calls are not skipped.
    """
    refused: Sequence[int] = ()
    with mark as is_there:
        if is_there:
            try:
                refused = run()
            except NonFiniteResult:
                if not marks.skips:
                    raise
                refused = [0]  # of whichever: it is skipped
        if refused:
            mark.refuse(marks.skips)
    if refused and not marks.skips:
        raise non_finite(min(marks.order[i] for i in refused))
    return is_there
