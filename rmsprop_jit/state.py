"""State: what an optimizer was built on, its slots, count and windows; made, read and replaced as a whole.

A reader on another thread sees the state before or after a call, never in it, and reading writes nothing. What is
replaced has been checked before (see `saving`).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import capture, patterns
from .arrays.homes import Array, address_of, home_of, place_of
from .buckets import initial_slots
from .codegen import backends
from .codegen.backends.ledger import Ledger, Span
from .errors import ArrayError
from .flags import Flags
from .members import Member, Members, Variables, same_variables, track
from .rules.around import Rule, step_of

ACCUMULATOR = "gradient_accumulator"


class State:
    """The variables of one optimizer with all that belongs to them.

    built:    whether there are any. `restored`: whether they are copies that came with pickle or deepcopy.
    members:  the variables, ready for questions.
    ledger:   calls and windows.
    excluded_names, excluded_arrays: which variables do not decay.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.built = self.restored = False
        self.members = Members(())
        self.ledger = Ledger(0)
        self.excluded_names: list[str] = []
        self.excluded_arrays: list[Array] = []

    @property
    def variables(self) -> Sequence[Member]:
        """The variables in build order."""
        return self.members.members

    def build(self, var_list: Variables) -> bool:
        """Take the variables; False if they are those that it has. Raises ArrayError, and keeps nothing then."""
        members = track(var_list)
        if not self.built:
            capture.refuse_to_build(members)
        if self.restored:
            self._adopt(members)
        elif self.built:
            if not same_variables(members, self.variables):
                received, known = ([one.name for one in side][:5] for side in (members, self.variables))
                raise ArrayError(
                    f"this optimizer was built on other variables. Received: {received}; built on {known}. "
                    "Make a new optimizer for a new set of variables."
                )
            return False
        else:
            self.ledger = Ledger(len(members))
        self.members = Members(members)
        self.built, self.restored = True, False
        return True

    def _adopt(self, members: list[Member]) -> None:
        """Move the state that came with pickle or deepcopy to the caller's own arrays."""
        ours, theirs = (
            [(one.path, one.array.shape, one.array.dtype, one.place) for one in side]
            for side in (self.variables, members)
        )
        if ours != theirs:
            raise ArrayError(
                f"the restored state belongs to variables {ours[:5]}. Received: {theirs[:5]}. "
                "Build on variables of the same names, shapes, dtypes and places, in the same order."
            )
        for old, new in zip(self.variables, members, strict=True):
            new.slots = old.slots
        place = {id(old.array): new.array for old, new in zip(self.variables, members, strict=True)}
        self.excluded_arrays = [place.get(id(array), array) for array in self.excluded_arrays]

    def require_built(self) -> None:
        """Raise ArrayError unless there are variables."""
        if not self.built:
            raise ArrayError(
                "When passing `grads` without `variables`, the optimizer must already be built on a list of variables. "
                "Call `optimizer.build(trainable_variables)` first. Received: an optimizer that is not built."
            )

    def allocate(self, flags: Flags) -> None:
        """Make the slots that the flags ask for, drop those that are no longer needed, keep the others."""
        self.ledger.settle()
        wanted = {dtype: initial_slots(self.rule, flags, dtype) for dtype in {one.dtype for one in self.variables}}
        for member in self.variables:
            initial = wanted[member.dtype]
            member.slots = {
                name: member.slots[name] if name in member.slots else _new_slot(member, value)
                for name, value in initial.items()
            }
        self.ledger.windows[[i for i, one in enumerate(self.variables) if not one.accumulates]] = 0
        self.members = Members(self.variables)

    def decaying(self) -> frozenset[int]:
        """The positions of the variables that decay."""
        excluded = {self.members.find(array) for array in self.excluded_arrays}
        return frozenset(
            position
            for position, member in enumerate(self.variables)
            if position not in excluded and not patterns.found_in(self.excluded_names, member.name)
        )

    def targets(self) -> dict[str, Array]:
        """All slots by name, as they are."""
        return {name: array for name, _, _, array in self.slots()}

    def slots(self) -> Iterator[tuple[str, str, int, Array]]:
        """All slots: full name, name, position of the variable, array; kind by kind as Keras, in build order inside."""
        for slot in step_of(self.rule).slots:
            for position, member in enumerate(self.variables):
                if slot in member.slots:
                    yield f"{member.prefix}_{slot}", slot, position, member.slots[slot]

    def seen(self) -> Iterator[tuple[str, Array]]:
        """All slots by name, sharing memory; zeros of their own in place of what empty windows have left over."""
        windows = self.ledger.windows.tolist()
        for name, slot, position, array in self.slots():
            is_left_over = slot == ACCUMULATOR and not windows[position]
            yield name, home_of(array).new_like(array, 0.0) if is_left_over else array

    def read(self) -> tuple[dict[str, Array], int, list[bool]]:
        """Copies of all slots in host memory, the calls made and the windows, all of one moment.

        What is due of the last call is done first; where a constraint fails, the averages are those before it.
        Raises BackendError if a call was torn.
        """
        named = list(self.slots())
        while True:
            self.ledger.wait_for_marked()
            calls = self.ledger.calls  # asked for before what is due is done: no call came since if it is the same
            due = self._settled_for_reading()
            copies, counts, windows = self._read(named)
            if {calls} == set(counts) and not self.ledger.torn and self.ledger.due == due:
                break  # no call that Python runs came between
        for name, slot, position, _ in named:
            if slot == ACCUMULATOR and not windows[position]:
                copies[name] = np.zeros_like(copies[name])
        return {name: copies[name] for name, _, _, _ in named}, counts[0], [bool(window) for window in windows]

    def _settled_for_reading(self) -> int:
        """Do what is due; the call of which it stays due, because the caller's own Python fails: the next call says."""
        with contextlib.suppress(Exception):
            self.ledger.settle()
        return self.ledger.due

    def _read(self, named: Sequence[tuple[str, str, int, Array]]) -> tuple[dict[str, Array], list[int], Sequence[int]]:
        copies: dict[str, Array] = {}
        counts, windows = [self.ledger.calls], self.ledger.windows.tolist()
        for place, own in _by_place(named).items():
            spans = [Span(array, address_of(array)) for array in own.values()]
            read_here, calls, seen = backends.of(place).read(self.ledger, spans)
            copies |= dict(zip(own, read_here, strict=True))
            counts.append(calls)
            windows = seen.tolist()
        return copies, [*counts, self.ledger.calls], windows

    def write(self, given: Mapping[str, Array], calls: int, windows: Sequence[bool]) -> None:
        """Replace all slots, the count and the windows; `given` are host arrays of the slots' shapes and dtypes."""
        pairs: dict[str, list[tuple[Span, Array]]] = {member.place: [] for member in self.variables}
        for place, own in _by_place(self.slots()).items():
            spans = [(Span(array, address_of(array)), given[name]) for name, array in own.items()]
            pairs[place] = [(span, np.ascontiguousarray(source)) for span, source in spans]
        backends.write(self.ledger, pairs, calls, [int(window) for window in windows])

    def __getstate__(self) -> dict[str, Any]:
        self._settled_for_reading()
        places = [(array, self.members.find(array)) for array in self.excluded_arrays]
        excluded = [array if i is None else self.variables[i].array for array, i in places]
        windows = self.ledger.windows.tolist()
        pairs = zip(self.variables, windows, strict=True)
        kept = [dataclasses.replace(member, slots=_without_leftovers(member, window)) for member, window in pairs]
        return {**self.__dict__, "excluded_arrays": excluded, "members": None, "_kept": kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        kept: list[Member] = state.pop("_kept")
        for member in kept:
            if member.variable is not None:
                member.array = member.variable.value
                member.__post_init__()
        self.__dict__.update(state)
        self.members = Members(kept)
        self.restored = self.built


def _by_place(named: Iterable[tuple[str, str, int, Array]]) -> dict[str, dict[str, Array]]:
    places: dict[str, dict[str, Array]] = {}
    for name, _, _, array in named:
        places.setdefault(place_of(array), {})[name] = array
    return places


def _new_slot(member: Member, initial: float | str) -> Array:
    return member.home.new_like(member.array, member.array if initial == "parameter" else float(initial))


def _without_leftovers(member: Member, window: int) -> dict[str, Array]:
    """A variable's slots, zeros in place of what an empty window has left over."""
    return {
        slot: home_of(array).new_like(array, 0.0) if slot == ACCUMULATOR and not window else array
        for slot, array in member.slots.items()
    }
