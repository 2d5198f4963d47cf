"""Launches: a kind of step over some parameters, with a table for each kernel and set of numbers, in one launch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..arrays.homes import Int64
from ..buckets import program_of, refuse_unfit
from ..codegen import Rule, backends
from ..errors import OptionError
from ..flags import FIRST, Flags, step_flags, variable_flags
from ..members import Member
from ..scratch import lend
from ..shared import Shared
from .common import Common, keys_of_tensors
from .settings import Settings

if TYPE_CHECKING:
    from ..codegen import Program

Numbers = Mapping[str, Any]

FAR = 2.0**53
"""Steps from which on a state does not count them: a number of that size and the next are one in float64."""


class Moment(NamedTuple):
    """How far some parameters are: the steps made, and their slots over all by name."""

    steps: float
    shared: tuple[tuple[str, float], ...]


class Kind(NamedTuple):
    """What parameters of one table have in common: where they are, their program, their group and their moment.

    moment: its number among those of the step; 0 where nothing depends on it, as `is_dated` says.
    """

    place: str
    program: Program
    group: int
    moment: int
    is_dated: bool


class Brought(NamedTuple):
    """What numbers of a table follow from; `moment`: None where they do not depend on it."""

    settings: Settings
    rate: float
    moment: Moment | None


class Launches:
    """A step over the parameters that have gradients of these dtypes.

    groups, moments: for each parameter its group, and the number of its moment among `seen`.
    inputs: for each further input of the rule, the dtypes of what is brought. `common`: where slots over all begin that
            the step gathers.
    """

    def __init__(
        self,
        rule: Rule,
        members: Sequence[Member],
        dtypes: tuple[str | None, ...],
        groups: Sequence[int],
        settings: Sequence[Settings],
        moments: Sequence[int],
        seen: Sequence[Moment],
        rates: Sequence[float],
        inputs: Sequence[tuple[str | None, ...]] = (),
        common: Mapping[str, int] | None = None,
    ) -> None:
        self.dtypes = dtypes
        kinds: dict[Kind, list[int]] = {}
        for i, dtype in enumerate(dtypes):
            if dtype is not None:
                own = settings[groups[i]]
                flags = due_flags(rule, own, rates[groups[i]], seen[moments[i]]) | own.flags
                flags |= variable_flags(rule, members[i].array.shape, members[i].path)
                brought = dtype, *(each[i] for each in inputs)
                program = program_of(rule, flags, members[i].dtype, brought)
                is_dated = depends(program)
                kind = Kind(members[i].place, program, groups[i], moments[i] if is_dated else 0, is_dated)
                kinds.setdefault(kind, []).append(i)
        places = sorted({kind.place for kind in kinds})
        _refuse_far_apart(places, kinds)
        self._kept = members
        by_place = [[(kind, own) for kind, own in kinds.items() if kind.place == place] for place in places]
        order = [i for tables in by_place for _, own in tables for i in own]
        self._order, self._is_in_order = np.array(order, np.int64), order == list(range(len(members)))
        self._launches = [
            _Launch(rule, place, [(kind, [members[i] for i in own]) for kind, own in tables], settings, common or {})
            for place, tables in zip(places, by_place, strict=True)
        ]

    def prepare(
        self, addresses: Int64, settings: Sequence[Settings], rates: Sequence[float], seen: Sequence[Moment]
    ) -> list[dict[str, float]]:
        """Make a step on gradients that begin here ready; the new values of slots over all, for each moment.

        Raises OptionError.
        """
        ours = addresses if self._is_in_order else addresses[..., self._order]
        made: list[dict[str, float]] = [{} for _ in seen]
        begin = 0
        for launch in self._launches:
            end = begin + launch.tensors
            launch.prepare(ours[..., begin:end], settings, rates, seen, made)
            begin = end
        return made

    def run(self) -> None:
        """Do what was made ready."""
        for launch in self._launches:
            launch.run()


class _Launch:
    """The part of a step in one place."""

    def __init__(
        self,
        rule: Rule,
        place: str,
        tables: Sequence[tuple[Kind, Sequence[Member]]],
        settings: Sequence[Settings],
        common: Mapping[str, int],
    ) -> None:
        self._kinds = [kind for kind, _ in tables]
        programs = [kind.program for kind in self._kinds]
        self._common = Common(rule, programs, [settings[kind.group].flags for kind in self._kinds])
        self._keys = keys_of_tensors(programs, [one.path for _, members in tables for one in members])
        self.tensors = sum(len(members) for _, members in tables)
        made = []
        for kind, members in tables:
            sizes = [one.array.size for one in members]
            refuse_unfit(rule, kind.program, members)
            shapes, options = [one.array.shape for one in members], settings[kind.group].options.backend
            table = backends.of(place).table(kind.program, sizes, place, options, shapes)
            for array in kind.program.arrays:
                if array.is_common:
                    table.point(array.name, np.full(len(members), common[array.name], np.int64))
                elif not (array.is_brought or array.is_scratch or array.is_made):
                    table.point(array.name, np.array([one.address(array.name) for one in members], np.int64))
            lend(table, members)
            made.append(table)
        names = ("gradient", *(f"x.{name}" for name in rule.inputs))
        self._launch = backends.launch({place: made}, brought=names)
        self._brought: list[Brought] | None = None
        self._made: dict[int, dict[str, float]] = {}  # of what was brought
        self._addresses = b""
        self._record: Any = None

    def prepare(
        self,
        addresses: Int64,
        settings: Sequence[Settings],
        rates: Sequence[float],
        seen: Sequence[Moment],
        made: list[dict[str, float]],
    ) -> None:
        brought = [
            Brought(settings[kind.group], rates[kind.group], seen[kind.moment] if kind.is_dated else None)
            for kind in self._kinds
        ]
        is_same = brought == self._brought
        record = self._record if is_same else self._dated(brought)
        numbers, own = None, self._made if is_same else {}  # nothing is dated that changes slots over all
        if record is None:
            numbers, own = self._numbers(settings, rates, seen)
        where = addresses.tobytes()  # to compare them so takes a tenth of the time that arrays do
        if numbers is not None or where != self._addresses:
            record = self._launch.prepared(addresses, numbers, record)
        self._record, self._brought, self._made, self._addresses = record, brought, own, where
        for moment, slots in own.items():
            made[moment].update(slots)

    def _dated(self, brought: Sequence[Brought]) -> Any:
        """What is prepared, for another step and its rate, where these are the same of all tables; None elsewhere."""
        old = self._brought
        if old is None or any(one.settings is not other.settings for one, other in zip(brought, old, strict=True)):
            return None
        rates, moments = {one.rate for one in brought}, {one.moment for one in brought if one.moment is not None}
        if len(rates) > 1 or len(moments) > 1 or any(moment.shared for moment in moments):
            return None
        steps = moments.pop().steps if moments else 0.0  # which no program reads
        return self._launch.dated(self._record, rates.pop(), int(steps) + 1) if steps < FAR else None

    def run(self) -> None:
        self._launch(self._record)

    def _numbers(
        self, settings: Sequence[Settings], rates: Sequence[float], seen: Sequence[Moment]
    ) -> tuple[list[Numbers], dict[int, dict[str, float]]]:
        """Those of each table; and what slots over all become, for moments by their numbers."""
        numbers: list[Numbers] = []
        made: dict[int, dict[str, float]] = {}
        for kind in self._kinds:
            moment = seen[kind.moment]
            own: Numbers = settings[kind.group].numbers(rates[kind.group], int(moment.steps) + 1)
            if kind.program.shared or moment.shared:
                shared: dict[str, Any] = {name: np.float64(value) for name, value in moment.shared}
                own = Shared([kind.program], shared).beside(own)
                new = {name: own[f"s.{name}'"] for name in shared if f"s.{name}'" in own}
                made.setdefault(kind.moment, {}).update(new)
            numbers.append({**own, "decays": 1.0, **self._keys})
        self._common.check(numbers)
        return numbers, made


def depends(program: Program) -> bool:
    """Whether it matters how far the parameters of a program are."""
    return bool(program.shared) or any(name == "step" or name.startswith("s.") for name in program.hypers)


def due_flags(rule: Rule, settings: Settings, rate: float, moment: Moment) -> Flags:
    """The flags that a step decides of parameters that are so far."""
    due = step_flags(rule, lambda: settings.numbers(rate, int(moment.steps) + 1))
    return due | {FIRST} if moment.steps == 0 and FIRST in rule.decided_by_step else due


def _refuse_far_apart(places: Sequence[str], kinds: Iterable[Kind]) -> None:
    if len(places) > 1 and any(kind.program.reductions() for kind in kinds):
        raise OptionError(
            "a norm over parameters in several places is not made here. Received: parameters on "
            f"{', '.join(places)}. Use an optimizer for each place."
        )
