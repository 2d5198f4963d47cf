"""Common: what parameters have in common where their groups differ, and what tells them apart where a rule draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..codegen import Program, Rule, RuleError
from ..codegen.kinds import KEY
from ..errors import OptionError
from ..flags import Flags
from ..rules.around import step_of
from ..settings import NUMBERS
from ..shared import check_agreement
from ..storages import keys_of

Numbers = Mapping[str, Any]


class Common:
    """What a step of several tables gathers for all parameters must be the same for all groups.

    programs: of the tables. `flags`: the options' flags of each.

    What the host keeps once for all (a product of betas) is each parameter's own here, and so may follow from numbers
    of groups; not so beside what a step gathers, as then all parameters are equally far. The library's own groups allow
    it there, too; no bundled rule has both.

    Raises OptionError where the options of groups make different numbers of the same.
    """

    def __init__(self, rule: Rule, programs: Sequence[Program], flags: Sequence[Flags]) -> None:
        self._rule = rule
        self._flags = {own for program, own in zip(programs, flags, strict=True) if program.gathers}
        try:
            check_agreement(programs)
        except RuleError:
            if len(self._flags) < 2:
                raise
            raise self._refusal(", ".join(sorted(step_of(rule).gathered)), "options") from None

    def check(self, numbers: Sequence[Numbers]) -> None:
        """Raise OptionError if numbers of the tables differ from which something follows that all have in common."""
        if not self._flags or len(numbers) < 2:
            return
        from ..rules.by_tensor import made_own  # only wanted where groups have numbers of their own

        names = NUMBERS | self._rule.hypers.keys()
        differing = frozenset(name for name in names if len({float(own[name]) for own in numbers}) > 1)
        for flags in self._flags if differing else ():
            for name, slot in made_own(self._rule, differing, flags):
                raise self._refusal(slot, {"learning_rate": "lr"}.get(name, name))

    def _refusal(self, slot: str, what: str) -> OptionError:
        return OptionError(
            f"rule {self._rule.name!r} keeps {slot} once for all parameters, and it follows from {what}. "
            f"Received: groups with {what} of their own. Give all groups the same."
        )


def keys_of_tensors(programs: Sequence[Program], paths: Sequence[str]) -> Numbers:
    """What tells the random numbers of parameters apart: of each its name; nothing for rules that draw none."""
    if not any({*KEY}.intersection(program.tensor_hypers) for program in programs):
        return {}
    return {name: np.array(own, np.float64) for name, own in keys_of(paths).items()}
