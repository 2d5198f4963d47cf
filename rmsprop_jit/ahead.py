"""Ahead: what the host works out for many updates at once, where a GPU counts calls and nobody else knows which it is.

A row for each update: which kind of step it is, where a rule has several; its slots over all that the host makes; its
learning rates. The GPU counts the calls that were done, and finds the row of each update's number, whichever calls were
skipped before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .capture import of_host
from .flags import NO_FLAGS, Flags, due_flags

if TYPE_CHECKING:
    from .arrays.homes import Array
    from .codegen.backends.entries import Clock
    from .rules.around import Rule
    from .settings import Settings
    from .shared import Shared

ALONE: tuple[tuple[Flags, ...], ...] = ((NO_FLAGS,),)
"""The kinds of a rule that has one."""


def has_kinds(rule: Rule) -> bool:
    """Whether a rule has flags that the step decides by its numbers."""
    return any(flag.when is not None for flag in rule.flags.values())


def columns_of(rule: Rule) -> tuple[str, ...]:
    """The numbers of a step that its row has: slots over all before and after it, last the optimizer's rate."""
    slots = [name for slot in of_host(rule) for name in (f"s.{slot}", f"s.{slot}'")]
    return *slots, "h.learning_rate"


class Ahead:
    """What is known of updates from the next one on.

    kinds:   what the step decides, of each kind of step among these updates; as many as a clock has room for.
    sources: what it follows from; of other settings it is worth nothing.
    calls, skipped: those that were made before.

    Raises what a schedule, or the function of a flag, raises of the next update; of a later one, when it is the next.
    """

    def __init__(self, rule: Rule, settings: Settings, clock: Clock, calls: int, skipped: int) -> None:
        self.calls, self.skipped, self.sources = calls, skipped, sources_of(rule, settings)
        self._rule, self._options, self._every = rule, settings.options, clock.counts.every
        self._first = settings.options.update_of(calls)
        kinds: dict[tuple[Flags, ...], int] = {}
        self._steps: list[tuple[int, list[float]]] = []
        for update in range(self._first, self._first + clock.horizon):
            last = update * clock.counts.every - 1  # calls before the one that is done as this update
            try:
                rates = settings.rates(last)
                due = due_flags(rule, settings.kinds, last) if has_kinds(rule) else ALONE[0]
            except Exception:
                if update == self._first:
                    raise
                break
            if due not in kinds and len(kinds) == clock.MOST_KINDS:
                break
            self._steps.append((kinds.setdefault(due, len(kinds)), rates))
        self.kinds = tuple(kinds)
        self._slots = of_host(rule)
        self._before: dict[str, list[float]] = {}
        self._arrays: Mapping[str, Array] = {}

    def is_of(self, rule: Rule, settings: Settings) -> bool:
        """Whether these settings would have the same rows."""
        mine, theirs = self.sources, sources_of(rule, settings)
        return len(mine) == len(theirs) and all(a is b for a, b in zip(mine, theirs, strict=True))

    def send(self, clock: Clock, shared: Sequence[Shared], arrays: Mapping[str, Array]) -> None:
        """Write the rows to the clock, with one more, of the update behind them.

        shared: of each kind of step, what makes its slots over all. `arrays`: these slots, before the next update.
        """
        now = {f"s.{slot}": float(arrays[slot]) for slot in self._slots if slot in arrays}
        rows, before = [], []
        for i, (kind, rates) in enumerate([*self._steps, self._steps[-1]]):
            numbers = {**self._options.numbers(rates[0], self._first + i), **now}
            made = shared[kind].beside(numbers) if now else numbers
            slots = [made.get(f"s.{slot}{end}", 0.0) for slot in self._slots for end in ("", "'")]
            rows.append([float(kind), *slots, *rates])
            before.append(now)
            now = {name: made.get(f"{name}'", value) for name, value in now.items()}
        self._before = {name: [one[name] for one in before] for name in now}
        self._arrays = arrays
        clock.write_ahead(self.calls, self.skipped, np.array(rows, np.float64), self)

    def give(self, calls: int) -> None:
        """Let slots over all be what they are after so many calls, which the clock has counted."""
        for name, values in self._before.items():
            self._arrays[name.removeprefix("s.")][...] = values[calls // self._every + 1 - self._first]


def sources_of(rule: Rule, settings: Settings) -> list[Any]:
    """What rows follow from: the rates alone, unless equations of the host's read other numbers, too."""
    return [settings] if has_kinds(rule) or of_host(rule) else settings.sources
