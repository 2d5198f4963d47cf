"""State: what an optimizer was built on, its slots, count and windows; made, read and replaced as a whole.

A state is never changed: what an option or `build` changes is another state, which shares the slots that both have and
the ledger. Only the contents of slots and ledger change, in calls and when a state is loaded. A reader on another
thread sees them before or after a call, never in it, and reading writes nothing. What is loaded has been checked before
(see `saving`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import beside, capture, patterns, slots
from .arrays.homes import Array, home_of
from .codegen import backends
from .codegen.backends.entries import Span
from .codegen.backends.ledger import Ledger
from .codegen.pieces import ERROR
from .copies import hidden_positions
from .endings import NO_ENDINGS, Endings, endings_of
from .errors import ArrayError
from .flags import variable_flags
from .members import Member, Members, Variables, track
from .overlaps import same_variables
from .rules.around import ACCUMULATOR, Rule, accumulators, step_of
from .saving import VARIABLES
from .settings import AskedOf
from .storages import as_variable, full_name, is_scale, shown, with_scales
from .versions import count


@dataclass(frozen=True, eq=False)
class State:
    """The variables of one optimizer with all that belongs to them.

    members:  the variables, ready for questions. `shared`: slots over all, by name; in host memory, or (what a step
              makes of what it reduces) where the variables are.
    ledger:   calls and windows. The window of a variable without an accumulator means nothing, whatever it says.
    built:    whether there are variables. `restored`: whether they are copies that came with pickle or deepcopy.
    hidden:   the positions of variables that nobody but the optimizer has, so that training them is in vain; None if
              that was not asked yet, see `met`.
    endings:  how the updates of variables end, as they were told when the slots were made.
    excluded_names, excluded, excluded_arrays: which variables do not decay: expressions, positions, and arrays that are
              none of the variables (yet).
    """

    rule: Rule
    members: Members = field(default_factory=lambda: Members(()))
    shared: Mapping[str, Array] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=lambda: Ledger(0))
    built: bool = False
    restored: bool = False
    hidden: frozenset[int] | None = frozenset()
    endings: Endings = NO_ENDINGS
    excluded_names: tuple[str, ...] = ()
    excluded: frozenset[int] = frozenset()
    excluded_arrays: tuple[Array, ...] = ()

    @property
    def accumulators(self) -> frozenset[str]:
        """The slots in which calls are added up; what is left over there after an update means nothing."""
        return frozenset((ACCUMULATOR, *accumulators(self.rule)))

    @property
    def variables(self) -> Sequence[Member]:
        """The variables in build order."""
        return self.members.members

    def built_on(self, var_list: Variables, asked: AskedOf) -> State | None:
        """The state of these variables, with slots; None if it is this one. Raises ArrayError."""
        members = track(var_list)
        if not self.built:
            capture.refuse_to_build(members)
        if self.restored:
            members = self._adopted(members)
        elif self.built:
            if not same_variables(members, self.variables):
                received, known = ([one.name for one in side][:5] for side in (members, self.variables))
                raise ArrayError(
                    f"this optimizer was built on other variables. Received: {received}; built on {known}. "
                    "Make a new optimizer for a new set of variables."
                )
            return None
        ledger = self.ledger if self.restored else Ledger(len(members))
        new = dataclasses.replace(
            self,
            members=Members(members),
            ledger=ledger,
            built=True,
            restored=False,
            hidden=frozenset(),
            excluded_arrays=(),
        )
        return new.excluding((), self.excluded_arrays).with_slots(asked)

    def _adopted(self, members: list[Member]) -> list[Member]:
        """The caller's own variables with the slots that came with pickle or deepcopy."""
        ours, theirs = (
            [(one.path, one.array.shape, one.array.dtype, one.place) for one in side]
            for side in (self.variables, members)
        )
        if ours != theirs:
            raise ArrayError(
                f"the restored state belongs to variables {ours[:5]}. Received: {theirs[:5]}. "
                "Build on variables of the same names, shapes, dtypes and places, in the same order."
            )
        pairs = zip(self.variables, members, strict=True)
        return [new.with_slots(old.slots) for old, new in pairs]

    def require_built(self) -> None:
        """Raise ArrayError unless there are variables."""
        if not self.built:
            raise ArrayError(
                "When passing `grads` without `variables`, the optimizer must already be built on a list of variables. "
                "Call `optimizer.build(trainable_variables)` first. Received: an optimizer that is not built."
            )

    def refuse_hidden(self) -> None:
        """Raise ArrayError if there are variables that the caller cannot have."""
        names = [self.variables[position].name for position in sorted(self.hidden or ())[:5]]
        if names:
            raise ArrayError(
                "this optimizer came with pickle or deepcopy, and would train copies that nothing but itself refers "
                f"to. Received: no variables, and copies of {names}. Call `optimizer.build(variables)` on your own "
                "first, or pass `trainable_variables`."
            )

    def knows(self, variables: Variables) -> bool:
        """Whether all of the caller's variables are among those that it was built on."""
        values = variables.values() if isinstance(variables, Mapping) else variables
        return all(self.members.find(getattr(value, "value", value)) is not None for value in values)

    def met(self, variables: Variables | None) -> State:
        """The state of which the caller has passed these variables, if any: it knows then what is hidden."""
        hidden = hidden_positions(self.variables) if self.hidden is None else self.hidden
        hidden -= frozenset(() if variables is None else self.members.positions_of(variables))
        return self if hidden == self.hidden else dataclasses.replace(self, hidden=hidden)

    def with_slots(self, asked: AskedOf) -> State:
        """A state with the slots that the options ask for: new ones, and its own that are needed, converted or not."""
        self.ledger.settle()
        endings = endings_of(self.variables)
        flags, storages, part = asked(self.variables)
        each = enumerate(zip(self.variables, flags, strict=True))
        shaped = [(i, one, own, variable_flags(self.rule, one.array.shape, one.path)) for i, (one, own) in each]
        kinds = [(one.dtype, own, of_shape, i in endings.overwritten) for i, one, own, of_shape in shaped]
        wanted = {kind: slots.of_kind(self.rule, kind, part) for kind in dict.fromkeys(kinds)}
        self.ledger.windows[[i for i, one in enumerate(self.variables) if not one.accumulates]] = 0  # they mean nothing
        every = zip(self.variables, kinds, storages, strict=True)
        had = self.ledger, self.shared
        made = [one.with_slots(slots.of_variable(one, wanted[kind], kept, *had)) for one, kind, kept in every]
        shared = slots.of_all(self.shared, wanted.values(), step_of(self.rule).gathered, self.variables)
        return dataclasses.replace(self, members=Members(made), shared=shared, endings=endings)

    def put_averages(self, var_list: Variables | None) -> None:
        """Write the averages of these variables, or of all, to the variables; those in host memory all at once."""
        self.ledger.settle()
        positions = range(len(self.variables)) if var_list is None else self.members.positions_of(var_list)
        pairs: dict[str, list[tuple[Span, Span]]] = {}
        written = [self.variables[position] for position in positions if position not in self.endings.overwritten]
        for one in written:
            pairs.setdefault(one.place, []).extend(beside.pairs(one, as_variable(one, "average")))
        count(written)
        for place, own in pairs.items():
            backends.of(place).copy(self.ledger, own)

    def excluding(self, names: Sequence[str], arrays: Sequence[Array]) -> State:
        """A state of which further variables do not decay."""
        places = [(self.members.find(array), array) for array in arrays]
        return dataclasses.replace(
            self,
            excluded_names=(*self.excluded_names, *names),
            excluded=self.excluded | {position for position, _ in places if position is not None},
            excluded_arrays=(*self.excluded_arrays, *(array for position, array in places if position is None)),
        )

    def excluding_only(self, paths: Sequence[str]) -> State:
        """A state of which these variables do not decay, and no others."""
        chosen = frozenset(paths)
        excluded = frozenset(position for position, member in enumerate(self.variables) if member.path in chosen)
        return dataclasses.replace(self, excluded_names=(), excluded=excluded, excluded_arrays=())

    def decaying(self) -> frozenset[int]:
        """The positions of the variables that decay."""
        return frozenset(
            position
            for position, member in enumerate(self.variables)
            if position not in self.excluded and not patterns.found_in(self.excluded_names, member.name)
        )

    def targets(self, together: Collection[str] = ()) -> dict[str, Array]:
        """All slots by name, as they are, in the order of `slots`."""
        return {name: array for name, _, _, array in self.slots(together)}

    def slots(self, together: Collection[str] = ()) -> Iterator[tuple[str, str, int, Array]]:
        """All slots: full name, name, position of the variable, array; kind by kind, those `together` by variable."""
        for _, kinds in itertools.groupby(step_of(self.rule).slots, lambda kind: kind in together or kind):
            group = [*kinds]
            for slot in self.shared.keys() & group:
                yield f"all/{slot}", slot, -1, self.shared[slot]
            for (position, member), kind in itertools.product(enumerate(self.variables), group):
                for slot in with_scales(member, kind):
                    yield full_name(member.prefix, slot), slot, position, member.slots[slot]
        for position, member in enumerate(self.variables):
            if ERROR in member.slots:
                yield f"{member.prefix}{beside.SUFFIX}", ERROR, position, member.slots[ERROR]

    def values(self) -> Iterator[tuple[str, str, int, Array]]:
        """The variables themselves, as `slots` has slots."""
        for position, member in enumerate(self.variables):
            yield f"{VARIABLES}/{member.path}", "parameter", position, member.array

    def seen_slots(self, together: Collection[str] = ()) -> Iterator[tuple[str, Array]]:
        """All slots by name, decoded or sharing memory; zeros of their own in place of what empty windows left over."""
        windows = self.ledger.windows.tolist()
        for name, slot, position, array in self.slots(together):
            if not is_scale(slot):
                yield name, self.seen(slot, position, array, windows)

    def seen(self, slot: str, position: int, array: Array, windows: Sequence[int] | None = None) -> Array:
        """A slot, decoded; or zeros in place of what an empty window has left over. `windows`: if they are known."""
        is_left_over = slot in self.accumulators and not (windows or self.ledger.windows)[position]
        now = home_of(array).new_like(array, 0.0) if is_left_over else array
        return shown(now, slot, self.variables[position] if position >= 0 else None)

    def settled_for_reading(self) -> int:
        """Do what is due; the call of which it stays due, because the caller's own Python fails: the next call says."""
        with contextlib.suppress(Exception):
            self.ledger.settle()
        return self.ledger.due

    def __getstate__(self) -> dict[str, Any]:
        self.ledger.refuse_held()
        self.settled_for_reading()
        windows, added_up = self.ledger.windows.tolist(), self.accumulators
        pairs = zip(self.variables, windows, strict=True)
        kept = [
            dataclasses.replace(member, slots=slots.without_leftovers(member, () if window else added_up))
            for member, window in pairs
        ]
        return {**self.__dict__, "members": None, "_kept": kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        kept: list[Member] = state.pop("_kept")
        for member in kept:
            if member.variable is not None:
                member.array = member.variable.value
                member.__post_init__()
        self.__dict__.update(state, members=Members(kept), restored=state["built"], hidden=None)
