"""From flags to kernels: variables with the same flags in one bucket, one launch.

Beside rules/, errors.py and the homes of arrays the only file that imports codegen.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import codegen
from .arrays.homes import Array, Int64, address_of, backend_of, place_of
from .arrays.memory import lead_of
from .codegen import Rule, backends
from .codegen.expr import Symbol, walk
from .flags import Flags
from .members import Member
from .rules.around import step_of

__all__ = ["Bucket", "step_of"]

if TYPE_CHECKING:
    from .codegen import Program
    from .codegen.backends.cuda import Clock
    from .codegen.host import ScalarFunction


def initial_slots(rule: Rule, flags: Flags, dtype: str) -> dict[str, float | str]:
    """The slots that a variable needs, by liveness, with their initial values."""
    return {name: slot.initial for name, slot in codegen.specialize(step_of(rule), flags, dtype).slots.items()}


def slot_order(rule: Rule) -> tuple[str, ...]:
    """All slots a variable may have, in the order in which they are saved."""
    return tuple(step_of(rule).slots)


def explain_step(rule: Rule, flags: Collection[str], dtype: str, form: str, compiler: str | None = None) -> str:
    """A stage of the compilation of the whole step, as text."""
    return codegen.explain(step_of(rule), flags, dtype, form, compiler)


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
    """Variables of one place, dtype and set of flags: a table, and the arrays that it points to now."""

    def __init__(
        self,
        rule: Rule,
        flags: Flags,
        tracked: Sequence[Member],
        positions: Sequence[int],
        decaying: Collection[int],
        compiler: str | None,
    ) -> None:
        self._index = np.array(positions, np.int64)
        self.members = [tracked[position] for position in positions]
        first = self.members[0].array
        self.place = place_of(first)
        self.program = codegen.specialize(step_of(rule), flags, first.dtype.name)
        sizes = [member.array.size for member in self.members]
        self.table: Any
        if backend_of(self.place) == "cpu":
            leads = [lead_of(member.array) for member in self.members]
            self.table = backends.get("cpu").Table(self.program, sizes, leads)
            self._scalars = _scalars_of(rule, flags, first.dtype.name)
        else:
            index = int(self.place.removeprefix("cuda:"))
            self.table = backends.get("cuda").Table(self.program, sizes, index, compiler)
            self._scalars = _named(self.table.cells)
        self.gradients: Sequence[Array | None] = ()
        arrays = self.program.arrays
        self._kept = [{"parameter": member.array, **member.slots} for member in self.members]
        for i, kept in enumerate(self._kept):
            for name, array in kept.items():
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
            self.table.point(self._column, addresses[self._index])
            self.gradients = gradients

    def set_numbers(self, values: Mapping[str, float]) -> None:
        """Put this call's numbers into the table."""
        self.table.scalars[:] = self._scalars(values)
        for name, column in self._per_tensor.items():
            column[:] = values[name]
        self.table.touch()


def _named(names: Sequence[str]) -> ScalarFunction:
    """The values of some hyperparameters, in order."""
    return lambda values: tuple(values[name] for name in names)


def launcher(buckets: Sequence[Bucket], clock: Clock | None = None) -> Callable[[int | None], None]:
    """A function of the number of threads (or None) that launches each kernel of each bucket once.

    clock: counts steps on the GPU, if these are steps of a graph.
    """
    tables: dict[str, list[Any]] = {}
    for bucket in buckets:
        tables.setdefault(bucket.place, []).append(bucket.table)
    launches = [
        backends.get("cpu").Launch(own) if backend_of(place) == "cpu" else backends.get("cuda").Launch(own, clock)
        for place, own in tables.items()
    ]
    if len(launches) == 1:
        return launches[0]  # type: ignore[no-any-return]
    if not launches:
        return lambda threads: None
    from .codegen.backends.together import Together

    return Together(launches)


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
