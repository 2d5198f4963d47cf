"""Resuming: what shapes training beside the arrays, as plain values in a saved state; compared, and taken over.

Only the learning rate is state like a slot: training changes it by hand, so a number takes the place of a number. All
else is what an optimizer is made with; where that differs, the caller says which is meant.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from . import digests
from .by_name import setting
from .errors import OptionError
from .options import OPTIONS, LearningRate, Options, check_switch
from .saving import VARIABLES
from .schedules import SCHEDULES, LearningRateSchedule, deserialize, serialize
from .state import State

MODES = ("check", "load", "keep")
"""What becomes of the saved options; see `Optimizer.load_state_dict`."""

RATE, RULE, EXCLUSIONS = "learning_rate", "rule", "weight_decay_exclusions"

RULE_DIGEST, CONSTRAINTS = "rule_digest", "constraints"
"""What a state of an earlier format does not say."""

FUNCTION, DIGEST = "function", "digest"
"""The keys under which a learning rate is named that has no config, and that of what a user has written."""

LATER = ("nonfinite",)
"""Options that states of the present format may lack: when those were saved, the default was all that there was."""

COMPARED = [name for name, option in OPTIONS.items() if not option.backend and name != "name"]
"""The options that shape training; the others say what slots are called, and how kernels are compiled and launched."""


def plain(options: Options, state: State) -> dict[str, Any]:
    """All that shapes training, as JSON has it."""
    values = {name: getattr(options, name) for name in COMPARED}
    decaying = state.decaying()
    excluded = [member.path for i, member in enumerate(state.variables) if i not in decaying]
    values |= {RULE: state.rule.name, RATE: _plain_rate(options.learning_rate), EXCLUSIONS: sorted(excluded)}
    values |= {RULE_DIGEST: digests.of_rule(state.rule), CONSTRAINTS: _constraints(state)}
    return {**values, **options.hypers, **options.switches}


def text(options: Options, state: State) -> str:
    """`plain` and the variables' names, as JSON."""
    import json  # not light, and only wanted where a state is saved

    return json.dumps({**plain(options, state), VARIABLES: [member.path for member in state.variables]})


def _plain_rate(rate: LearningRate) -> Any:
    """A number, or a schedule's class and config; of what has none, its name. What a user has written has a digest."""
    if isinstance(rate, float):
        return rate
    described = digests.of_callable(rate)
    if isinstance(rate, LearningRateSchedule):
        is_ours = type(rate) in SCHEDULES.values()
        try:
            return {**_serialized(rate), **({} if is_ours else {DIGEST: described[DIGEST]})}
        except (AttributeError, TypeError, ValueError, NotImplementedError):
            pass
    return described


def _serialized(rate: LearningRateSchedule) -> dict[str, Any]:
    """A schedule's class and config, as JSON has it."""
    import json

    made = {key: value for key, value in serialize(rate).items() if key in ("class_name", "config")}
    found: dict[str, Any] = json.loads(json.dumps(made, default=lambda value: value.tolist()))
    return found


def _constraints(state: State) -> dict[str, dict[str, str]]:
    """The function of each variable that is constrained, by the variable's path."""
    found = {one.path: one.variable.constraint for one in state.variables if one.variable is not None}
    return {path: digests.of_callable(function) for path, function in found.items() if function is not None}


def _is_function(rate: Any) -> bool:
    return isinstance(rate, dict) and FUNCTION in rate


def converted(saved: dict[str, Any], is_earlier: bool) -> dict[str, Any]:
    """The options of a state, of an earlier format or not, as they are compared: what it does not say is not."""
    unsaid = {RULE_DIGEST: None, CONSTRAINTS: None} if is_earlier else {}
    return {**unsaid, **{name: OPTIONS[name].default for name in LATER}, **saved}


def differing(saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """The names of what differs."""
    missing = own.keys() ^ saved.keys()
    names = [name for name in {**own, **saved} if name in missing or not _are_same(name, saved[name], own[name])]
    return [name for name in names if not (name == RULE_DIGEST and RULE in names)]  # which says enough


def _are_same(name: str, saved: Any, own: Any) -> bool:
    """Whether two values are equal; patterns in their order, too, since the first one that matches wins."""
    if name == RULE_DIGEST:
        return digests.agree(saved, own)
    if name == CONSTRAINTS:
        return saved is None or _are_same_functions(saved, own)
    if name == RATE:
        return _without_digest(saved) == _without_digest(own) and digests.agree(_digest(saved), _digest(own))
    are_patterns = isinstance(saved, dict) and isinstance(own, dict)
    return bool(saved == own) and (not are_patterns or list(saved) == list(own))


def _are_same_functions(saved: Any, own: Mapping[str, Any]) -> bool:
    if not isinstance(saved, dict) or saved.keys() != own.keys():
        return False
    return all(digests.same_function(saved[path], own[path]) for path in own)


def _without_digest(rate: Any) -> Any:
    return {key: value for key, value in rate.items() if key != DIGEST} if isinstance(rate, dict) else rate


def _digest(rate: Any) -> Any:
    return rate.get(DIGEST) if isinstance(rate, dict) else None


def are_numbers(saved: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether the saved learning rate and the own one are both numbers: then the saved one is that of the moment."""
    rate = saved.get(RATE)
    return isinstance(rate, int | float) and not isinstance(rate, bool) and isinstance(own[RATE], float)


def described(names: Sequence[str], saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """What differs, with both values, for a message."""
    return [f"{name}={saved.get(name, 'nothing')!r} (here {own.get(name, 'nothing')!r})" for name in names]


def checked_mode(mode: object) -> str:
    """One of `MODES`. Raises OptionError."""
    if mode not in MODES:
        raise OptionError(f"`options` must be one of {', '.join(MODES)}. Received: options={mode!r}.")
    return str(mode)


def refuse(others: Sequence[str]) -> None:
    """Raise OptionError if anything differs."""
    if others:
        raise OptionError(
            f"the state was saved with other options. Received: {', '.join(others)}. Set them as they were first, or "
            'pass options="load" to take over the saved ones, or options="keep" to go on with those here.'
        )


def taken_over(names: Sequence[str], saved: Mapping[str, Any], options: Options, state: State) -> Options:
    """Options with the saved values of these names. Raises OptionError for what cannot be taken over."""
    changes: dict[str, Any] = {}
    for name in names:
        value = saved.get(name)
        if name == EXCLUSIONS and _are_paths(value, state):
            continue
        if name in options.hypers:
            changes[name] = setting(state.rule.hypers[name], name, value)
        elif name in options.switches:
            changes[name] = check_switch(name, value)
        elif name == RATE and not _is_function(value):
            changes[name] = deserialize(value) if isinstance(value, dict) else value
        elif name in COMPARED and name != RATE:
            changes[name] = value
        else:
            (what,) = described([name], saved, plain(options, state))
            raise OptionError(
                f"this cannot be taken over from a state. Received: {what}. Make the optimizer as it was, with the "
                'same rule, variables and functions, or pass options="keep".'
            )
    return options.updated(changes)


def can_be_taken(names: Sequence[str], saved: Mapping[str, Any], options: Options, state: State) -> list[str]:
    """Those of these names whose saved values can be taken over: together, or each alone."""
    with contextlib.suppress(OptionError):
        taken_over(names, saved, options, state)
        return [*names]
    found = []
    for name in names:
        with contextlib.suppress(OptionError):
            taken_over([name], saved, options, state)
            found.append(name)
    return found


def _are_paths(value: object, state: State) -> bool:
    """Whether a saved value is a list of names of variables."""
    paths = {member.path for member in state.variables}
    return isinstance(value, list) and all(isinstance(one, str) and one in paths for one in value)
