"""Engine: from the groups, states and gradients of torch's optimizer to a launch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import is_, itemgetter
from typing import Any, NamedTuple

from torch.autograd import graph

from ..arrays import versions
from ..arrays.checks import DTYPES
from ..buckets import inputs_read, needed_slots, program_of
from ..codegen import locks
from ..codegen.backends.attribute import Attribute, Held
from ..errors import ArrayError
from ..flags import NO_FLAGS, Flags, variable_flags
from ..identity import same
from ..members import Member, Members, track
from ..readers import Resolved
from ..rules.around import step_of
from .kept import STEP, Kept
from .launches import Launches, Moment, depends, due_flags
from .lent import Reach
from .settings import Settings, rate_of, settings_of
from .words import Words

MOST_KINDS = 64
"""Kinds of steps that are remembered; one whose gradients are missing at random has very many."""

Group = dict[str, Any]

_parameters = itemgetter("params")


class _Given(NamedTuple):
    """Which parameters have gradients, and of which dtypes; and what counts that these are written."""

    dtypes: tuple[str | None, ...]
    positions: list[int]
    count_writes: Callable[[], None]


def refuse_light(members: Sequence[Member]) -> None:
    """Raise ArrayError for parameters of fewer bits, whose state torch would keep in their dtype."""
    for one in members:
        if one.dtype not in DTYPES:
            raise ArrayError(
                f"{one.name!r} must be of dtype {' or '.join(DTYPES)} in an optimizer of torch's kind. "
                f"Received: dtype={one.dtype}. Use an optimizer of rmsprop_jit itself, or parameter.to(torch.float32)."
            )


class Engine:
    """What does the steps of one optimizer. All that lasts is in torch's dicts; this can be made anew at any time.

    lock: who steps has it, so that of several threads one makes the states, and each step is counted.
    """

    def __init__(self, words: Words) -> None:
        self._words, self.lock = words, locks.new()
        self._settings: list[Settings | None] = []
        self._bound: _Bound | None = None

    def step(self, groups: Sequence[Group], states: Any, reach: Reach, scale: float | None) -> None:
        """One step of all parameters that have gradients, which are `scale` times too large.

        reach: what others may have of the states, and so may have changed.

        Raises ArrayError or OptionError before anything is written.
        """
        words = self._words
        old = self._settings if len(self._settings) == len(groups) else [None] * len(groups)
        pairs = zip(groups, old, strict=True)
        settings = [settings_of(words, group, scale, known) for group, known in pairs]
        rates = [rate_of(words, group) for group in groups]
        self._settings = list(settings)
        lists = list(map(_parameters, groups))
        counts = list(map(len, lists))
        parameters = lists[0] if len(lists) == 1 else list(chain.from_iterable(lists))
        bound = self._bound
        if bound is not None and not (bound.counts == counts and bound.covers(parameters, settings, states, reach)):
            bound = None
        if bound is None or not bound.step(settings, rates):
            bound = _Bound(words, groups, list(parameters), settings, states)
            bound.step(settings, rates)
            self._bound = bound

    def reach(self, known: Reach) -> Reach:
        """What others may have of the states, where it is known already that it is no more than this."""
        return Reach.OBJECTS if self._bound is None else self._bound.kept.reach(known)


class _Bound:
    """Some parameters with their states, as they are now.

    Those take part that have a gradient or a state; the others need not be of a kind that could.

    counts: how many each group has. `kept`: their states.
    """

    def __init__(
        self,
        words: Words,
        groups: Sequence[Group],
        parameters: list[Any],
        settings: Sequence[Settings],
        states: Any,
    ) -> None:
        self._words, self._parameters = words, parameters
        gradients = [one.grad for one in parameters]
        self.counts = [len(group["params"]) for group in groups]
        owners = [i for i, count in enumerate(self.counts) for _ in range(count)]
        names = names_of(groups)
        pairs = enumerate(zip(parameters, gradients, strict=True))
        self._active = [i for i, (one, gradient) in pairs if gradient is not None or states.get(one)]
        self._idle = [parameters[i] for i in sorted({*range(len(parameters))} - {*self._active})]
        self._gradients = Attribute("grad", [parameters[i] for i in self._active])
        self._groups = [owners[i] for i in self._active]
        members = track({names[i]: parameters[i] for i in self._active})
        refuse_light(members)
        self._settings, self._flags = settings, [one.flags for one in settings]
        flags = [
            settings[group].flags | variable_flags(words.rule, one.array.shape, one.path)
            for one, group in zip(members, self._groups, strict=True)
        ]
        kinds = self._own = list(zip(flags, [one.dtype for one in members], strict=True))
        wanted = [needed_slots(words.rule, *kind) for kind in kinds]
        self._depends = bool(words.rule.decided_by_step) or any(
            depends(program_of(words.rule, *kind)) for kind in dict.fromkeys(kinds)
        )
        Members(members).read([gradients[i] for i in self._active])  # before a state is made for any
        self.kept = Kept(members, states, wanted, words.slots, step_of(words.rule).gathered, words.has_twin)
        self._members = Members(self.kept.members)
        self._usual: tuple[str | None, ...] = tuple([one.dtype for one in members])
        self._given = _Given((), [], lambda: None)
        self._reads: dict[Any, dict[str, list[int]]] = {}
        self._kinds: dict[Any, Launches] = {}
        self._last: Launches | None = None
        self._last_key: tuple[Any, ...] = ()

    def covers(self, parameters: list[Any], settings: Sequence[Settings], states: Any, reach: Reach) -> bool:
        """Whether these are the parameters, with the same slots as then, and the same states."""
        if not same(parameters, self._parameters):
            return False
        if not all(map(is_, settings, self._settings)) and [one.flags for one in settings] != self._flags:
            return False
        self._settings = settings
        return self.kept.stays(states, reach)

    def step(self, settings: Sequence[Settings], rates: Sequence[float]) -> bool:
        """Do it; False if a parameter was pointed elsewhere, or an idle one has a gradient now: nothing was done.

        Nothing is kept of the gradients, whose memory torch may want for others.
        """
        if self._idle and any(one.grad is not None for one in self._idle):
            return False
        gradients = Held(self._gradients)
        resolved = self._resolved(gradients)
        if resolved is None:
            return False
        dtypes = resolved.dtypes
        if dtypes is not self._given.dtypes:
            given = [i for i, dtype in enumerate(dtypes) if dtype is not None]
            objects = [self._gradients.objects[i] for i in given]
            self._given = _Given(dtypes, given, versions.of_tensors(graph.increment_version, objects))
        given = self._given.positions
        if not given:
            return True
        whose, seen = self._moments(given, len(dtypes))
        rule = self._words.rule
        due = self._due(settings, rates, seen) if rule.decided_by_step else ()
        brought = self._brought(resolved, whose, seen, due) if rule.inputs else resolved
        launches = self._launches(brought, settings, rates, whose, seen, due)
        made = launches.prepare(brought.addresses, settings, rates, seen)
        self._given.count_writes()
        self.kept.enter()  # nothing can be refused any more
        launches.run()
        self._count(given, whose, made)
        return True

    def _count(self, given: Sequence[int], whose: Sequence[int], made: Sequence[Mapping[str, float]]) -> None:
        """A step was made of parameters with gradients, by which slots over all have new values for each moment."""
        for name, vector in self.kept.numbers.items():
            if self.kept.is_common or (name == STEP and len(given) == len(vector)):
                if name == STEP:
                    vector += 1
                else:
                    vector[:] = made[0].get(name, vector[0])
            elif name == STEP:
                vector[given] += 1
            else:
                for i in given:
                    vector[i] = made[whose[i]].get(name, vector[i])

    def _due(self, settings: Sequence[Settings], rates: Sequence[float], seen: Sequence[Moment]) -> tuple[Flags, ...]:
        """The flags that the step decides, for each group of each moment."""
        pairs = zip(settings, rates, strict=True)
        return tuple([due_flags(self._words.rule, one, rate, moment) for one, rate in pairs for moment in seen])

    def _brought(
        self, resolved: Resolved, whose: Sequence[int], seen: Sequence[Moment], due: tuple[Flags, ...]
    ) -> Resolved:
        """Gradients, with what else this step reads: attributes of parameters by the names of the rule's inputs.

        Raises ArrayError, naming the parameter, for one that is missing.
        """
        rule = self._words.rule
        key = resolved.dtypes, due, tuple(whose) if len(seen) > 1 else ()
        reads = self._reads.get(key)
        if reads is None:
            self._reads = self._reads if len(self._reads) < MOST_KINDS else {}
            reads = self._reads[key] = self._read_by(whose, len(seen), due)
        return resolved.beside([self._input(name, reads[name]) for name in rule.inputs])

    def _read_by(self, whose: Sequence[int], moments: int, due: tuple[Flags, ...]) -> dict[str, list[int]]:
        """For each further input of the rule, the parameters with gradients whose programs read it."""
        rule = self._words.rule
        found: dict[str, list[int]] = {name: [] for name in rule.inputs}
        for i in self._given.positions:
            flags, dtype = self._own[i]
            own = due[self._groups[i] * moments + whose[i]] if due else NO_FLAGS
            for name in inputs_read(rule, flags | own, dtype):
                found[name].append(i)
        return found

    def _input(self, name: str, wanted: Sequence[int]) -> Resolved:
        """What some parameters have under the name of a further input."""
        members = self._members.members
        found: list[Any] = [None] * len(members)
        for i in wanted:
            found[i] = getattr(members[i].given, name, None)
            if found[i] is None:
                raise ArrayError(
                    f"the {name} of {members[i].name!r} is missing, and this step reads it. Received: no attribute "
                    f"{name!r}. Before the step, set parameter.{name} to a tensor of the parameter's shape."
                )
        return self._members.read(found, f"input {name!r}")

    def _resolved(self, gradients: Sequence[Any]) -> Resolved | None:
        """What is found of gradients; None if a parameter was pointed elsewhere. Raises ArrayError."""
        members = self._members
        dtypes = self._usual if self._last is None else self._last.dtypes
        read = members.read_at_once(gradients, dtypes)
        if read is None:  # others have none than in the last step, perhaps
            dtypes = tuple([None if one is None else usual for one, usual in zip(gradients, self._usual, strict=True)])
            read = members.read_at_once(gradients, dtypes)
        if read is not None:
            return Resolved(gradients, read.addresses, dtypes, None)
        if not all(one.is_as_built() for one in members.members):
            return None
        return members.read(gradients)

    def _moments(self, given: Sequence[int], count: int) -> tuple[list[int], list[Moment]]:
        """How far parameters with gradients are: for each of all the number of its moment, and the moments."""
        numbers = self.kept.numbers
        steps = numbers[STEP]
        if not self._depends or (len(numbers) == 1 and steps.min() == steps.max()):
            return [0] * count, [Moment(float(steps[0]), ())]
        shared = [name for name in numbers if name != STEP]
        rows = list(zip(*(numbers[name].tolist() for name in (STEP, *shared)), strict=True))
        seen = dict.fromkeys(rows[i] for i in given)
        place = {row: number for number, row in enumerate(seen)}
        moments = [Moment(row[0], tuple(zip(shared, row[1:], strict=True))) for row in seen]
        return [place.get(row, 0) for row in rows], moments

    def _launches(
        self,
        brought: Resolved,
        settings: Sequence[Settings],
        rates: Sequence[float],
        whose: list[int],
        seen: Sequence[Moment],
        due: tuple[Flags, ...],
    ) -> Launches:
        apart = tuple(whose) if len(seen) > 1 else ()
        dtypes, rest = brought.dtypes, (due, apart, brought.inputs)
        last, key = self._last, (dtypes, *rest)
        if last is not None and last.dtypes is dtypes and self._last_key == rest:
            return last
        launches = self._kinds.get(key)
        if launches is None:
            if len(self._kinds) >= MOST_KINDS:
                self._kinds = {}
            members = self._members.members
            common = {name: tensor.data_ptr() for name, tensor in self.kept.common.items()}
            more = brought.inputs, common
            launches = Launches(self._words.rule, members, dtypes, self._groups, settings, whose, seen, rates, *more)
            self._kinds[key] = launches
        self._last, self._last_key = launches, rest
        return launches


def names_of(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """What parameters are called in messages, and where random numbers are drawn, each by a name of its own."""
    found: list[str] = []
    for number, group in enumerate(groups):
        named = list(group.get("param_names") or ())
        count = len(group["params"])
        own = named if len({*named}) == count else [f"parameter {i} of group {number}" for i in range(count)]
        found += own if {*own}.isdisjoint(found) else [f"{name} of group {number}" for name in own]
    return found
