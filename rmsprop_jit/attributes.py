"""Attributes: an optimizer's options as attributes, and the one reference behind which all that can change stands.

What an optimizer is at a moment (options, flags, variables, slots, plans) is one record, `Calls`, which is never
changed: a change makes another record aside and takes it over by one assignment. So an exception or a signal finds the
change done or not begun, and another thread goes on with the one record or the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from . import grouping, transfers, tree
from .arrays.homes import Array
from .by_name import setting, shown
from .calls import Calls
from .checkers import check_switch
from .codegen import locks
from .endings import endings_of
from .errors import OptionError
from .graphs import Graph, refuse_new_endings
from .members import Member, Variables
from .moving import MOVED, Move, is_moved
from .option_table import OPTIONS
from .options import Options, own_values
from .plural import counted
from .resolve import NO_INPUTS, Gradients, Inputs, checked_first
from .rules.around import Rule
from .saving import Progress
from .settings import Asked, Settings, asked_of
from .state import State
from .state_view import sizes
from .variable import Variable

_SWITCH = locks.new()
"""Held while one reference is compared and replaced, and nothing is called: no signal is handled meanwhile."""


class Attributes:
    """Options that can be read and set, and how changes are taken over; of every optimizer."""

    _rule: Rule
    _calls: Calls
    _graph: Graph | None
    _together: tuple[str, ...] = ()
    """Slots that Keras numbers variable by variable, and not kind by kind."""

    def __repr__(self) -> str:
        hypers, switches = own_values(self._rule, {})
        shown = self._options.differing({**hypers, **switches, "name": self._usual_name})
        arguments = ", ".join(f"{name}={value!r}" for name, value in {"rule": self._rule.name, **shown}.items())
        calls = counted(self._state.ledger.calls, "call")
        return f"<{type(self).__name__}({arguments}): {sizes(self._state)}, {calls}>"

    @property
    def _usual_name(self) -> str:
        """What an optimizer is called that is given no name."""
        return self._rule.name

    @property
    def _options(self) -> Options:
        return self._calls.options

    @property
    def _state(self) -> State:
        return self._calls.state

    @property
    def groups(self) -> grouping.GroupsView:
        """Options that some variables have of their own: `optimizer.groups["head/.*"]["learning_rate"] = 1e-4`.

        By patterns, or (of a list) by numbers. What a group does not name, the optimizer's own option says. Set it as a
        whole, or an option of a group: it is checked first, and holds from the next call on.
        """

        def change(changed: grouping.Change) -> None:
            self._change(
                lambda calls: self._with_options(
                    calls, calls.options.replaced("groups", changed(calls.options.each_group))
                )
            )

        return grouping.GroupsView(lambda: self._options.each_group, self._rule, change)

    @groups.setter
    def groups(self, value: Any) -> None: ...  # as of every option, see `__setattr__`

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            options = self._options
            for group in (options.hypers, options.switches):
                if name in group:
                    return shown(group[name])
            if name in OPTIONS:
                return shown(getattr(options, name))
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}.")

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
            return
        known = getattr(type(self), name, None)
        if name in GIVEN_OTHERWISE:
            value = GIVEN_OTHERWISE[name](self, value)
        elif isinstance(known, property):
            if known.fset is None:
                raise AttributeError(f"`{name}` of {type(self).__name__!r} cannot be set.")
        elif name in self._rule.hypers:
            value = setting(self._rule.hypers[name], name, value)
        elif name in self._options.switches:
            value = check_switch(name, value)
        elif name not in OPTIONS:
            raise AttributeError(f"{type(self).__name__!r} has no option {name!r}. Received: {name}={value!r}.")
        self._change(lambda calls: self._with_option(calls, name, value))

    def _with_option(self, calls: Calls, name: str, value: Any) -> Calls:
        """The calls of one other option; of another learning rate, which programs assign before every step, at once."""
        if name == "learning_rate" and self._graph is None and (settings := calls.settings.rated(value)) is not None:
            return calls.following(settings)
        return self._with_options(calls, calls.options.replaced(name, value))

    def _with_options(self, calls: Calls, options: Options) -> Calls:
        """The calls of other options; where these change the structure, with other slots and no plans."""
        settings = Settings(self._rule, options, calls.state.variables, calls.settings)
        if self._graph is not None:
            self._graph.check_change(calls.settings, settings)
        if settings.structure != calls.settings.structure:
            for one in calls.state.variables:
                one.refuse_changed()  # slots and readers that are made now would be of what it has become
            return Calls(self._rule, settings, calls.state.with_slots(asked_of(self._rule, options)))
        if (options.backend, options.nonfinite) != (calls.options.backend, calls.options.nonfinite):
            return Calls(self._rule, settings, calls.state)
        return calls.following(settings)

    def _with_state(self, calls: Calls, state: State) -> Calls:
        """The calls of another state; the same ones, if it is none."""
        if state is calls.state:
            return calls
        return Calls(self._rule, Settings(self._rule, calls.options, state.variables, calls.settings), state)

    def _change(self, make: Callable[[Calls], Calls]) -> None:
        """Take over what `make` makes of today's calls, all of it or nothing."""
        old = self._calls
        try:
            while True:
                new = make(old)
                is_done = self._move(old, make) if is_moved(old.state, new.state) else self._replace(old, new)
                if is_done:
                    break
                old = self._calls  # another thread was faster
        finally:
            self._tell_graph(old)

    def _replace(self, old: Calls, new: Calls) -> bool:
        """Take over `new` in place of `old`; False if that is no longer what is there."""
        with _SWITCH:
            if self._calls is not old:
                return False
            self.__dict__["_calls"] = new  # no call of `__setattr__`, in which a signal could be handled
        return True

    def _move(self, old: Calls, make: Callable[[Calls], Calls]) -> bool:
        """As `_replace`, where slots are converted: while no call is at work, and none of the old state comes after."""
        move = Move(self._rule, old, make)
        try:
            move.begin()
        finally:  # no signal is handled from here to the assignment
            with _SWITCH:
                if move.cells[MOVED] == move.name:
                    if move.new is not None and self._calls is old:
                        self.__dict__["_calls"] = move.new
                    else:
                        move.cells[MOVED] = 0
        return bool(move.cells[MOVED] == move.name)

    def _load(self, old: Calls, new: Calls, given: Mapping[str, Array], calls: int, progress: Progress) -> None:
        """Take over `new` in place of `old`, and let its slots, count and progress be these; both or neither."""
        done = None if new is old else np.zeros(1, np.int64)
        try:
            try:
                transfers.write(new.state, given, calls, progress, done)
            finally:  # that may end in a signal after all was written; none is handled from here to the assignment
                if done is not None and done[0]:
                    self.__dict__["_calls"] = new
        finally:
            self._tell_graph(old)

    def _tell_graph(self, old: Calls) -> None:
        """Give the calls that are part of a graph the numbers of today's options, if these are not the old ones."""
        if self._graph is None or self._options is old.options:
            return
        try:
            self._graph.send_numbers(self._calls.settings)
        except BaseException:
            self._graph.send_numbers(self._calls.settings)  # what was stopped midway is made whole
            raise

    def _meet(self, grads: Gradients = (), variables: Variables | None = None, inputs: Inputs = NO_INPUTS) -> None:
        """Build on the variables of a first call, also of the first one after pickle or deepcopy. Raises ArrayError."""
        self._look_again()
        state = self._state
        if variables is None:
            state.require_built()
        elif not state.built or (state.restored and not state.knows(variables)):
            first = checked_first(self._rule, grads, variables, inputs)
            self._build(variables if state.restored else first)
        if state.hidden != frozenset():
            self._change(lambda calls: self._with_state(calls, calls.state.met(variables)))
            if variables is None:
                self._state.refuse_hidden()

    def _flat_call(self, grads: Any, variables: Any, inputs: Any) -> tuple[Any, Any, Any]:
        """What a call is passed, flat."""
        return tree.flat_call(grads, variables, inputs, (one.name for one in self._state.variables))

    def _look_again(self) -> None:
        """See how updates end, if any variable was told so since that was last seen."""
        if self._state.built and not self._state.endings.is_of_now:
            self._change(self._looked_again)

    def _looked_again(self, calls: Calls) -> Calls:
        endings = endings_of(calls.state.variables)
        if endings.is_like(calls.state.endings):
            return calls.of_moment(endings)
        if self._graph is not None:
            refuse_new_endings()
        for one in calls.state.variables:
            one.refuse_changed()  # slots that are made now would be of what it has become
        return self._with_state(calls, calls.state.with_slots(asked_of(self._rule, calls.options)))

    def _build(self, var_list: Variables | Sequence[Mapping[str, Any]]) -> None:
        listed = grouping.parts(var_list)
        variables = tree.flat(var_list) if listed is None else listed.variables

        def options_on(members: Sequence[Member], options: Options) -> Options:
            return options if listed is None else options.replaced("groups", listed.groups(self._rule, members))

        def on_variables(calls: Calls) -> Calls:
            calls.state.ledger.refuse_held()

            def asked(members: Sequence[Member]) -> Asked:
                return asked_of(self._rule, options_on(members, calls.options))(members)

            state = calls.state.built_on(variables, asked)
            if state is None:
                options = options_on(calls.state.variables, calls.options)
                return calls if options is calls.options else self._with_options(calls, options)
            options = options_on(state.variables, calls.options)
            return Calls(self._rule, Settings(self._rule, options, state.variables), state)

        self._change(on_variables)

    def _each_variable(self) -> Iterator[Variable]:
        """`variables`, one at a time, so that saving needs room for no more than one array that is made for it."""
        options, state = self._calls.options, self._calls.state
        name, calls = options.name, np.array(state.ledger.calls, np.int64)
        yield Variable(calls, name="iteration", path=f"{name}/iteration")
        if isinstance(options.learning_rate, float):
            rate = np.array(options.learning_rate, np.float64)
            yield Variable(rate, name="learning_rate", path=f"{name}/learning_rate")
        for slot, array in state.seen_slots(self._together):
            yield Variable(array, name=slot, path=f"{name}/{slot}")

    def __getstate__(self) -> dict[str, Any]:
        calls = self._calls
        own = {key: value for key, value in self.__dict__.items() if key != "_calls"}
        return {**own, "_graph": None, "_kept": (calls.options, calls.state)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        options, kept = state.pop("_kept")
        self.__dict__.update(state)
        whole = kept.with_slots(asked_of(self._rule, options))
        self._calls = Calls(self._rule, Settings(self._rule, options, whole.variables), whole)


def _groups(optimizer: Attributes, value: Any) -> Any:
    """Groups as options keep them, which may name what the optimizer was built on."""
    state = optimizer._state
    return grouping.grouped(optimizer._rule, value, state.members if state.built else None)


GIVEN_OTHERWISE: Mapping[str, Callable[[Attributes, Any], Any]] = {"groups": _groups}
"""Options that a caller assigns in another form than that which options keep, with what makes one of the other."""


def refuse_without_rule(name: str) -> NoReturn:
    """Raise OptionError: an optimizer of this class is made from its config and nothing else."""
    raise OptionError(
        f"a config holds no equations. Received: {name}.from_config(config) without `rule`. Pass the rule that the "
        f"optimizer had: {name}.from_config(config, rule=...)."
    )
