"""Averages: variables that hold their averaged weights for a while, and then again what they held.

What the averaged weights are says the rule (`Rule.averages`, around it `use_ema`); a program like that of a step writes
them over the variables, of which a copy is kept. Meanwhile the ledger is held: a call of any thread does nothing then,
in compiled code as elsewhere, so that none can train on averages, or save them beside slots that belong to others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .arrays.homes import Array
from .buckets import Buckets, Kind
from .calls import Calls
from .capture import refuse_block
from .codegen import backends
from .codegen.backends.entries import Span
from .codegen.backends.ledger import Ledger
from .codegen.pieces import COPY, ERROR
from .errors import OptionError
from .flags import FIRST, NO_FLAGS, OVERWRITE, averages_flags, has_averages, variable_flags
from .members import Member
from .rules.around import averages_of
from .versions import count

_NAMES = itertools.count(1)
"""Of blocks, by which each knows the ledger that it holds itself."""


@contextmanager
def averaged(calls: Callable[[], Calls], is_in_graph: bool) -> Iterator[None]:
    """A block in which the variables hold their averaged weights.

    calls: says what the optimizer is now. `is_in_graph`: whether some calls run without being asked.
    Raises OptionError where there are none, inside of another block, or for calls in a graph.
    """
    block = _Block()
    try:
        block.enter(calls, is_in_graph)
        yield
    finally:  # also when nobody refers to the generator any more, because a signal came on the way to it
        try:
            block.leave()
        except BaseException:
            block.leave()  # what was stopped midway is made whole
            raise


class _Block:
    """One entry and its end. `leave` undoes whatever was done of `enter`, and may be called again."""

    def __init__(self) -> None:
        self._name = next(_NAMES)
        self._ledger = Ledger(0)
        self._kept: list[tuple[Member, str, Array]] = []

    def enter(self, calls: Callable[[], Calls], is_in_graph: bool) -> None:
        """Hold the ledger, keep copies, and write the averaged weights; all of it, or (after `leave`) nothing."""
        state = calls().state
        refuse_block(state.variables, is_in_graph)
        self._ledger = state.ledger
        self._ledger.settle()
        _buckets(calls())  # compiles what is not compiled yet, before anybody is kept waiting
        while not backends.hold(self._ledger, self._name):
            self._ledger.settle()  # of a call that came between
        now = calls()
        members = now.state.variables
        for member in members:
            member.refuse_changed()
        for member in members:
            for name in ("parameter", *[one for one in (ERROR, COPY) if one in member.slots]):
                array = member.named(name)
                self._kept.append((member, name, member.home.new_like(array, array)))
        buckets = _buckets(now)
        if buckets.programs and now.options.update_of(self._ledger.calls) > 1:
            buckets.run(buckets.prepared(None, _numbers(now)))

    def leave(self) -> None:
        """Write back what was kept, and release the ledger. Raises ArrayError for variables that are elsewhere now."""
        if self._ledger.due != -self._name:
            return
        whole = [one for one in self._kept if one[0].is_as_built()]
        pairs: dict[str, list[tuple[Span, Span]]] = {}
        for member, name, kept in whole:
            source, own = Span(kept, member.home.address(kept)), Span(member.named(name), member.address(name))
            pairs.setdefault(member.place, []).append((own, source))
        count([one for one, name, _ in whole if name == "parameter"])
        for place, each in pairs.items():
            backends.of(place).copy(Ledger(0), each)
        backends.release(self._ledger, self._name)
        for member, *_ in self._kept:
            member.refuse_changed()


def _buckets(calls: Calls) -> Buckets:
    """What writes averaged weights over the variables that have others. Raises OptionError where there are none."""
    state, rule = calls.state, calls.state.rule
    if not any(has_averages(rule, flags) for flags in dict.fromkeys([calls.flags, *calls.settings.each])):
        raise OptionError(
            f"this optimizer has no averaged weights. Received: rule {rule.name!r}, use_ema={calls.options.use_ema}. "
            "Set use_ema=True before training, or use a rule with averaged weights of its own, as ScheduleFreeAdamW."
        )
    settings, made = calls.settings, state.ledger.calls
    unstarted = calls.unstarted
    kinds: dict[int, Kind] = {}
    for position, member in enumerate(state.variables):
        flags = settings.flags_of(position) | variable_flags(rule, member.array.shape, member.path)
        flags |= settings.due_at(position, settings.rate_of(position, made), calls.options.update_of(made) - 1)
        flags |= {FIRST} if position in unstarted else NO_FLAGS
        flags |= {OVERWRITE} if position in state.endings.overwritten else NO_FLAGS
        read = averages_flags(rule, flags)
        if read is not None:
            kinds[position] = read, (None,) * (1 + len(rule.inputs))
    return Buckets(
        rule, state.variables, kinds, calls.options.backend, {}, shared=state.shared, part=settings.part(averages_of)
    )


def _numbers(calls: Calls) -> dict[str, Any]:
    """The numbers of the moment: the step is the last one that was made, the learning rate that of the next call."""
    settings, made = calls.settings, calls.state.ledger.calls
    return settings.numbers(settings.rate(made), calls.options.update_of(made) - 1)
