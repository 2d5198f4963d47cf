"""Settings: what each variable's options are: those of its group, or the optimizer's own.

Options that differ in numbers alone are one kernel, which reads those numbers one a variable: they are NumPy vectors,
made when an option changes, or when a schedule gives another rate. Options that differ in structure are flags of the
variable, as what its shape decides is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .by_name import resolved
from .codegen.memo import derived
from .errors import OptionError
from .flags import Flags, option_flags, step_flags, variable_flags
from .option_table import OPTIONS
from .options import Options
from .rates import RATE, rate_of
from .rules.around import Rule, step_of
from .seeds import seeded
from .storages import USUAL, Storages, of_each

if TYPE_CHECKING:
    from .arrays.homes import Array
    from .groups import Group
    from .members import Member

NUMBERS = frozenset(["learning_rate", *(name for name, row in OPTIONS.items() if row.hyper is not None)])
"""The options that equations read as numbers."""


class Rates(NamedTuple):
    """The learning rates of one call: the optimizer's, and each variable's, as the bytes of float64."""

    common: float
    own: bytes


class Matched(NamedTuple):
    """Which group each variable is in, by its position, None where in none; and what that follows from."""

    keys: list[Any]
    names: list[tuple[str, str]]
    chosen: Sequence[int | None]


class Settings:
    """The options of each variable; never changed.

    flags: those that the optimizer's own options switch on. `each`: of each variable, if there are groups.
    kinds: the optimizer's own options, then those of each group.
    names: the numbers that some group names; they are one a variable in all kernels.
    base:  the same object in settings that differ in the learning rate alone.

    Raises OptionError, naming the group, for options that do not go together, and for patterns that match nothing.
    """

    def __init__(self, rule: Rule, options: Options, members: Sequence[Member], old: Settings | None = None) -> None:
        options = seeded(rule, options)
        self.rule, self.options, self.base = rule, options, object()
        self.flags = option_flags(rule, options)
        self._known = self._of_groups(old)
        kinds = [(options, self.flags), *(known[1:] for known in self._known.values())]
        self.kinds = [kind for kind, _ in kinds]
        self._kind_flags = [flags for _, flags in kinds]
        names = [(one.path, one.name) for one in members]
        self._matched = self._match(names, old)
        self._kind_of = [0 if position is None else position + 1 for position in self._matched.chosen]
        self.each = tuple([self._kind_flags[kind] for kind in self._kind_of])
        own = {name for group in options.each_group for name in group.values}
        self.names = frozenset(own & (NUMBERS | rule.hypers.keys()))
        self._refuse_common()
        self._by_name = resolved(rule, options.hypers, names) if members else {}

    def rated(self, value: object) -> Settings | None:
        """The settings with another learning rate; None where groups may follow it. Raises OptionError."""
        if self.options.each_group:
            return None
        other = object.__new__(Settings)
        kept = vars(other)
        kept.update(vars(self), options=self.options.rated(value))
        kept["kinds"] = [other.options]
        for name in ("constant", "places", "_is_common", "_sources"):
            kept.pop(name, None)
        return other

    def _of_groups(self, old: Settings | None) -> dict[int, tuple[Group, Options, Flags]]:
        """Each group with its options and flags, by the group's identity: what was found for one holds while it lives.

        A group is never changed; one of other values is another object. To compare their values, or to hash them, takes
        as long as to find it all again, and with hundreds of groups that is what an assignment's time goes into. The
        groups are kept beside, so that no other object can have the identity of one.
        """
        known = old._known if old is not None and old.flags == self.flags else {}
        is_base = bool(known) and old is not None and self.options.has_base_of(old.options)
        found: dict[int, tuple[Group, Options, Flags]] = {}
        for group in self.options.each_group:
            kept = known.get(id(group))
            found[id(group)] = kept if is_base and kept else self._of_group(group, kept)
        return found

    def _of_group(self, group: Group, old: tuple[Group, Options, Flags] | None) -> tuple[Group, Options, Flags]:
        """A group with its options and flags; the latter follow from its values and the optimizer's own flags."""
        try:
            options = self.options.of_group(group.values)
        except OptionError as problem:
            raise OptionError(f"`{group.title}`: {problem}") from None
        return group, options, option_flags(self.rule, options) if old is None else old[-1]

    def _match(self, names: list[tuple[str, str]], old: Settings | None) -> Matched:
        """Which variables are in which groups, found once for the same patterns and names."""
        keys = [(group.key, group.params) for group in self.options.each_group]
        if old is not None and (old._matched.keys, old._matched.names) == (keys, names):
            return old._matched
        return Matched(keys, names, self.options.each_group.of(names) if names and keys else [])

    def _refuse_common(self) -> None:
        """Raise OptionError where what a step gathers over all variables would follow from a number that differs.

        What the host keeps once for all is one a variable then, and follows from its own number.
        """
        if not self.names:
            return
        from .rules.by_tensor import made_own

        for flags in dict.fromkeys(self._kind_flags):
            gathered = step_of(self.rule).gathered
            for name, slot in made_own(self.rule, self.names, flags):
                if slot in gathered:
                    raise OptionError(
                        f"`groups`: rule {self.rule.name!r} keeps {slot!r} once for all variables, which a step sums "
                        f"up, and it follows from {name}. Received: a group with {name} of its own. Give {name} to the "
                        "optimizer alone."
                    )

    @property
    def structure(self) -> tuple[object, ...]:
        """Equal to that of settings of the same variables which differ in numbers alone."""
        storage = self.options.storage
        asked = tuple(storage.items()) if isinstance(storage, dict) else storage
        return self.flags, self.each, self.names, tuple(self._kind_flags), asked

    def structures(self) -> dict[Flags, list[str]]:
        """What groups are called, by the flags of their options, where these are not the optimizer's."""
        found: dict[Flags, list[str]] = {}
        for group, _, flags in self._known.values():
            if flags != self.flags:
                found.setdefault(flags, []).append(group.title)
        return found

    def part(self, part: Callable[[Rule], Rule]) -> Callable[[Rule], Rule]:
        """A part of a rule in which what groups name is one a variable."""
        if not self.names:
            return part
        from .rules.by_tensor import by_tensor  # only wanted where there are groups

        return lambda rule: by_tensor(part(rule), self.names)

    def flags_of(self, position: int) -> Flags:
        """The flags that a variable's options switch on."""
        return self.each[position] if self.each else self.flags

    def due_at(self, position: int, rate: float, update: int) -> Flags:
        """The flags that such a step decides, of a variable."""
        options = self.kinds[self._kind_of[position] if self._kind_of else 0]
        return step_flags(self.rule, lambda: options.numbers(rate, update))

    def rate_of(self, position: int, calls: int) -> float:
        """The learning rate of a variable after so many calls."""
        return self.kinds[self._kind_of[position] if self._kind_of else 0].rate(calls)

    def with_due(self, due: tuple[Flags, ...]) -> tuple[Flags, ...]:
        """The flags of each variable in such a step; nothing where all have the optimizer's options."""
        whole = [flags | due[min(i, len(due) - 1)] for i, flags in enumerate(self._kind_flags)]
        return tuple([whole[kind] for kind in self._kind_of])

    # Numbers.

    @property
    def sources(self) -> list[Any]:
        """What gives the learning rates: the optimizer's, and each group's."""
        return [kind.learning_rate for kind in self.kinds]

    @derived
    def constant(self) -> float | Rates | None:
        """The learning rates of every call; None where something is to be asked at each."""
        if any(type(source) is not float for source in self.sources):
            return None
        return self.rate(0)

    def rate(self, calls: int) -> float | Rates:
        """The learning rate, or rates, after so many calls. Each schedule is asked once, whoever has it."""
        common = self.options.rate(calls)
        if "learning_rate" not in self.names or not self._kind_of:
            return common
        fixed, sources, at, of = self._sources
        rates = fixed.copy()
        rates[self._is_common] = common
        if sources:
            rates[at] = _asked(sources, calls)[of]
        return Rates(common, rates.tobytes())

    def rates(self, calls: int) -> list[float]:
        """The learning rate of each of `kinds` after so many calls. Each schedule is asked once, whoever has it."""
        found: dict[int, float] = {}
        for kind in self.kinds:
            source = id(kind.learning_rate)
            found[source] = found[source] if source in found else kind.rate(calls)
        return [found[id(kind.learning_rate)] for kind in self.kinds]

    @derived
    def places(self) -> float | Rates:
        """In place of rates, where those of `kinds` lie one behind the other: which of them each variable has."""
        if "learning_rate" not in self.names or not self._kind_of:
            return 0.0
        return Rates(0.0, np.array(self._kind_of, np.float64).tobytes())

    @derived
    def _is_common(self) -> Array:
        """The variables that have the optimizer's own rate."""
        source = self.options.learning_rate
        return np.array([self.kinds[kind].learning_rate is source for kind in self._kind_of], bool)

    @derived
    def _sources(self) -> tuple[Array, list[Any], Array, Array]:
        """Rates that stay; what is asked for the others; the variables that have those, and which of them."""
        fixed = np.zeros(len(self._kind_of))
        sources: dict[int, tuple[int, Any]] = {}
        at: list[int] = []
        of: list[int] = []
        for position, kind in enumerate(self._kind_of):
            source = self.kinds[kind].learning_rate
            if type(source) is float:
                fixed[position] = source
            elif not self._is_common[position]:
                at.append(position)
                of.append(sources.setdefault(id(source), (len(sources), source))[0])
        return fixed, [source for _, source in sources.values()], np.array(at, np.int64), np.array(of, np.int64)

    def numbers(self, rate: float | Rates, update: int) -> dict[str, Any]:
        """The numbers of an update (counted from 1): one for all variables, or a vector of one each."""
        if not isinstance(rate, Rates):
            common = self.options.numbers(rate, update)
            return {**common, **self._own} if self._own else common
        own = {**self._own, "learning_rate": np.frombuffer(rate.own, np.float64)}
        return {**self.options.numbers(rate.common, update), **own}

    @derived
    def _own(self) -> dict[str, Array]:
        """The numbers but for the learning rate that variables have of their own."""
        found = {name: np.array(values, np.float64) for name, values in self._by_name.items()}
        for name in self.names - {"learning_rate"} if self._kind_of else ():
            of_kinds = [kind.number(name) for kind in self.kinds]
            usual = found.get(name)
            own = [i for i, kind in enumerate(self._kind_of) if usual is None or self._says(kind, name)]
            vector = np.zeros(len(self._kind_of)) if usual is None else usual
            vector[own] = [of_kinds[self._kind_of[i]] for i in own]
            found[name] = vector
        return found

    def _says(self, kind: int, name: str) -> bool:
        """Whether a group names an option."""
        return kind > 0 and name in self.options.each_group.each[kind - 1].values


class Asked(NamedTuple):
    """What the options ask for, of each of some variables: flags, and what slots are kept in.

    part: a rule's step, in which what groups name is one a variable.
    """

    flags: Sequence[Flags]
    storages: Sequence[Storages]
    part: Callable[[Rule], Rule]


AskedOf = Callable[[Sequence[Any]], Asked]


def asked_of(rule: Rule, options: Options) -> AskedOf:
    """What says what options ask for. It raises OptionError as `Settings` and `storages` do."""

    def found(members: Sequence[Member]) -> Asked:
        settings = Settings(rule, options, members)
        flags = settings.each or [settings.flags] * len(members)
        if options.storage is None:
            return Asked(flags, [USUAL] * len(members), settings.part(step_of))
        pairs = zip(flags, members, strict=True)
        shaped = [own | variable_flags(rule, one.array.shape, one.path) for own, one in pairs]
        return Asked(flags, of_each(rule, options.storage, members, shaped), settings.part(step_of))

    return found


def _asked(sources: Sequence[Any], calls: int) -> Array:
    """The rates that schedules and callables give. Raises OptionError where one gives no finite number."""
    given = [rate_of(source, calls) for source in sources]
    rates = np.array(given, np.float64) if all([type(one) is float for one in given]) else np.array([np.nan])
    if not np.isfinite(rates).all():
        rates = np.array([RATE.checked("learning_rate", one) for one in given], np.float64)
    return rates
