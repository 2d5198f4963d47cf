"""From options to kernels: which flags are on, and variables with the same flags in one bucket, one launch.

The only file beside rules.py (and the re-export in errors.py) that imports codegen.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from . import codegen
from .arrays import Array, Int64, address_of, lead_of
from .codegen import Rule, backends
from .codegen.expr import Symbol, walk
from .options import Options
from .rules import OPTION_FLAGS, whole_step
from .tracked import Reader, Tracked

__all__ = ["Bucket", "Flags"]

if TYPE_CHECKING:
    from .codegen import Program
    from .codegen.backends.numba_cpu import Launch, Table
    from .codegen.host import ScalarFunction

Flags = frozenset[str]

MICRO_FLAGS = frozenset({"loss_scale_factor", "gradient_accumulation_steps", "micro_step", "window_empty"})
IDLE_FLAGS = frozenset({"use_ema", "ema_overwrite_frequency", "idle"})
"""Flags that matter to a micro-step and to an idle variable; dropping the others lets option sets share kernels."""

step_of = functools.cache(whole_step)
"""The whole step of a rule, built once."""


def option_flags(rule: Rule, options: Options) -> Flags:
    """The flags that the options switch on."""
    is_set = {name for name in OPTION_FLAGS if getattr(options, name) not in (None, False)}
    if "use_ema" not in is_set:
        is_set.discard("ema_overwrite_frequency")
    for name, flag in rule.flags.items():
        value = options.switches[name] if flag.follows is None else options.hypers[flag.follows] > 0
        if value:
            is_set.add(name)
    return frozenset(is_set)


def own_flags(rule: Rule, flags: Flags) -> Flags:
    """The flags of the rule itself, without what surrounds it."""
    return flags & rule.flags.keys()


def initial_slots(rule: Rule, flags: Flags, dtype: str) -> dict[str, float | str]:
    """The slots that a variable needs, by liveness, with their initial values."""
    return {name: slot.initial for name, slot in codegen.specialize(step_of(rule), flags, dtype).slots.items()}


def slot_order(rule: Rule) -> tuple[str, ...]:
    """All slots a variable may have, in the order in which they are saved."""
    return tuple(step_of(rule).slots)


def explain_step(rule: Rule, flags: Collection[str], dtype: str, form: str) -> str:
    """A stage of the compilation of the whole step, as text."""
    return codegen.explain(step_of(rule), flags, dtype, form)


def forms() -> tuple[str, ...]:
    """What `explain_step` can show."""
    return tuple(codegen.FORMS)


def program_of(rule: Rule, flags: Collection[str], dtype: str) -> Program:
    """The program of the whole step."""
    return codegen.specialize(step_of(rule), flags, dtype)


@functools.lru_cache(maxsize=1024)
def _scalars_of(rule: Rule, flags: Flags, dtype: str) -> ScalarFunction:
    from .codegen.host import compile_scalars

    return compile_scalars(codegen.specialize(step_of(rule), flags, dtype))


class Bucket:
    """Variables of one dtype and one set of flags: a table, and the gradients that it points to now."""

    def __init__(
        self,
        rule: Rule,
        flags: Flags,
        tracked: Sequence[Tracked],
        positions: Sequence[int],
        decaying: Collection[int],
    ) -> None:
        self._index = np.array(positions, np.int64)
        self.members = [tracked[position] for position in positions]
        dtype = self.members[0].array.dtype.name
        self.program = codegen.specialize(step_of(rule), flags, dtype)
        sizes, leads = zip(*((member.array.size, lead_of(member.array)) for member in self.members), strict=True)
        self.table: Table = backends.get("cpu").Table(self.program, sizes, leads)
        self.gradients: Sequence[Array | None] = ()
        self._scalars = _scalars_of(rule, flags, dtype)
        arrays = self.program.arrays
        for i, member in enumerate(self.members):
            for name, array in {"parameter": member.array, **member.slots}.items():
                if name in arrays:
                    self.table.arrays[i, arrays.index(name)] = address_of(array)
        self._column = arrays.index("gradient") if "gradient" in arrays else None
        self._per_tensor = {name: self.table.hypers[:, j] for j, name in enumerate(self.program.tensor_hypers)}
        if "decays" in self._per_tensor:
            self._per_tensor.pop("decays")[:] = [position in decaying for position in positions]
        read = {leaf.name for scalar in self.program.scalars for leaf in walk(scalar.expr) if isinstance(leaf, Symbol)}
        self.reads_update = "step" in read

    def bind(self, gradients: Sequence[Array | None], addresses: Int64) -> None:
        """Point the table at this call's gradients, given for all variables; the bucket keeps them alive."""
        if self._column is not None:
            self.table.arrays[:, self._column] = addresses[self._index]
            self.gradients = gradients

    def set_numbers(self, values: Mapping[str, float]) -> None:
        """Put this call's numbers into the table."""
        self.table.scalars[:] = self._scalars(values)
        for name, column in self._per_tensor.items():
            column[:] = values[name]


def launcher(buckets: Sequence[Bucket]) -> Launch:
    """A function of the number of threads (or None) that launches each kernel of each bucket once."""
    launch: Launch = backends.get("cpu").Launch([bucket.table for bucket in buckets])
    return launch


def new_reader(patterns: Sequence[Array]) -> Reader | None:
    """Reads the addresses of arrays like `patterns` at once; None where that is not possible."""
    return backends.get("cpu").new_reader(patterns)  # type: ignore[no-any-return]


def common_flags(rule: Rule) -> list[Flags]:
    """The option sets that most users run: the rule's flags in all combinations, with decay, clipping or averages."""
    own = [frozenset(chosen) for n in range(len(rule.flags) + 1) for chosen in itertools.combinations(rule.flags, n)]
    around: tuple[set[str], ...] = (
        set(),
        {"weight_decay"},
        {"global_clipnorm"},
        {"clipnorm"},
        {"clipvalue"},
        {"use_ema"},
    )
    return [flags | others for flags in own for others in around]


def compiled_store() -> ModuleType:
    """The store of compiled code, `codegen.store`."""
    from .codegen import store

    return store


def warm(rule: Rule, flags: Flags, dtype: str) -> None:
    """Compile a program, so that the store has it."""
    backends.get("cpu").machine_code(codegen.specialize(step_of(rule), flags, dtype))
