"""Detours: functions outside of kernels, called between two of them on arrays that are lent for that.

Until the last of them has returned, a step has written nothing but these arrays. So whatever one of them raises, and
wherever an interrupt comes, nothing has happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BackendError, NonFiniteResult, RuleError
from ..outsides import name_of

if TYPE_CHECKING:
    from ..program import Detour, Kernel, Program
    from ..schedule import Turn
    from .ledger import Ledger

Lent = Mapping[str, Sequence[Any]]
"""By the name of a program's scratch array, an array for each tensor, of its shape, in the type of the program."""


class Detours:
    """The functions of one table, and what they are given.

    names: what the tensors are called in messages.
    """

    def __init__(self, program: Program, lent: Lent, names: Sequence[str]) -> None:
        self._rule, self._lent, self._names = program.name.partition("+")[0], lent, names
        self._looks = program.guard is not None

    def take(self, kernel: Kernel, numbers: Mapping[str, float]) -> None:
        """Call what a kernel has stored elements for; the kernels after it find what was returned in their place.

        Raises NonFiniteResult where the program has a guard: it has seen no more than what the step was brought.
        """
        for detour in kernel.detours:
            given = [numbers[arg] if isinstance(arg, str) else float(arg) for arg in detour.numbers]
            for array, name in zip(self._lent[detour.array], self._names, strict=True):
                if not array.size:
                    continue
                try:
                    made = detour.function(array, *given)
                except Exception as problem:
                    problem.add_note(f"{self._where(detour, name)}. Nothing was changed.")
                    raise
                self._check(detour, name, array, made)
                if self._looks and not _is_finite(made):
                    raise NonFiniteResult(
                        f"{self._where(detour, name)} returns inf or nan, and nothing was done. Received: a call of "
                        'an optimizer with nonfinite="raise", whose gradients are finite. Mend the function, or pass '
                        'nonfinite="skip" to leave such calls out.'
                    )
                if made is not array:
                    array[...] = made

    def _where(self, detour: Detour, name: str) -> str:
        return f"rule {self._rule!r}, outside({name_of(detour.function)}, ...) of {name!r}"

    def _check(self, detour: Detour, name: str, array: Any, made: Any) -> None:
        """Raise RuleError for what is not an array of the same kind, shape and dtype."""
        is_array = isinstance(made, type(array)) or (isinstance(made, np.generic) and isinstance(array, np.ndarray))
        if is_array and made.shape == array.shape and made.dtype == array.dtype:
            return  # of an array of shape (), NumPy makes a number
        kind = f"{type(made).__module__}.{type(made).__qualname__}".removeprefix("builtins.")
        found = f" of shape {tuple(made.shape)} and dtype {made.dtype}" if hasattr(made, "shape") else ""
        library = type(array).__module__.partition(".")[0]
        remedy = "Return the array that it works on." if made is None else "Return such an array."
        raise RuleError(
            f"{self._where(detour, name)}: it returns an array of {library}, of shape {array.shape} and dtype "
            f"{array.dtype}, as it is given one. Received: {kind}{found}. {remedy}"
        )


def _is_finite(made: Any) -> bool:
    """Whether all of an array is, of whatever library; for a GPU it waits."""
    with np.errstate(invalid="ignore"):
        return float((made - made).sum()) == 0


def first_write(turns: Sequence[Turn], programs: Sequence[Program]) -> int:
    """The turn before which a step with functions outside has written nothing but scratch."""
    writing = (any(programs[i].kernels[k].writes for i, k in turn.kernels) for turn in turns)
    return next((number for number, writes in enumerate(writing) if writes), len(turns))


def refuse_nested(ledger: Ledger) -> None:
    """Raise BackendError where this thread is inside a function outside of the same optimizer.

    The lock says so; a mark could be left by an interrupt.
    """
    if ledger.lent._is_owned():
        raise BackendError(
            "a function outside called the optimizer whose call it belongs to. Received: a call inside of another one. "
            "Let the function work on its argument alone."
        )
