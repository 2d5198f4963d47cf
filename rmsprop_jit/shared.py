"""Shared: slots over all, each one float64 for all variables; what a call makes of them.

What follows from hyperparameters, the number of the step and other such slots, the host computes before the launch, and
it becomes state when the call is counted. What follows from reductions, the launch itself gathers; here it is only made
sure that all variables agree on it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays.homes import Array
from .codegen import backends
from .errors import RuleError

if TYPE_CHECKING:
    from .codegen import Program


class Shared:
    """What the programs of a step have of slots over all that the host knows.

    stored: those that the step changes, by name.

    Raises RuleError if the programs gather different values of a slot.
    """

    def __init__(self, programs: Sequence[Program], arrays: Mapping[str, Array]) -> None:
        check_agreement(programs)
        storing = [program for program in dict.fromkeys(programs) if program.shared]
        stored = {store.array for program in storing for store in program.shared}
        self._storing = [(program, [f"s.{store.array}'" for store in program.shared]) for program in storing]
        read = {name.removeprefix("s.") for program in programs for name in program.hypers if name.startswith("s.")}
        self.stored = {name: array for name, array in arrays.items() if name in stored}
        self._arrays = {f"s.{name}": array for name, array in arrays.items() if name in stored | read}

    @property
    def is_any(self) -> bool:
        """Whether there are any."""
        return bool(self._arrays)

    def now(self) -> dict[str, float]:
        """Their present values, by the names that programs use."""
        return {name: float(array) for name, array in self._arrays.items()}

    def beside(self, numbers: Mapping[str, Any]) -> Mapping[str, Any]:
        """A step's numbers with their values (present ones, if they are not among the numbers) and their new values."""
        if not self._arrays:
            return numbers
        whole = {**self.now(), **numbers}
        made: dict[str, float] = {}
        for program, names in self._storing:
            made_of = program.memo("shared", functools.partial(backends.shared_numbers, program))
            for name, value in zip(names, made_of(whole).tolist(), strict=True):
                if name in made and np.float64(made[name]).tobytes() != np.float64(value).tobytes():
                    raise RuleError(
                        f"rule {program.name!r} gives the slot {name[2:-1]!r}, which is over 'all', different values "
                        f"for different variables. Received: {made[name]!r} and {value!r}. Let it not depend on flags "
                        "of a shape or of a variable."
                    )
                made[name] = value
        return whole | made


def check_agreement(programs: Sequence[Program]) -> None:
    """Raise RuleError unless all programs that gather slots over all gather the same, which one of them then does."""
    gathering = [program for program in dict.fromkeys(programs) if program.gathers]
    if not gathering:
        return
    chosen = max(gathering, key=lambda program: len(program.gathers))
    made = {gather.array: gather.what for gather in chosen.gathers}
    for program in gathering:
        for gather in program.gathers:
            if made.get(gather.array) is not gather.what:
                other = made.get(gather.array, "nothing")
                raise RuleError(
                    f"rule {program.name!r} gives the slot {gather.array!r}, which is over 'all', different values "
                    f"for different variables. Received: `{other}` and `{gather.what}`. Let it not depend on flags of "
                    "a shape or of a variable; for the first update, ask h.step == 1 in place of on.first."
                )
