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
from .checkers import check_switch
from .errors import OptionError
from .grouping import grouped
from .groups import Groups
from .option_table import OPTIONS
from .options import LearningRate, Options
from .rules.around import Rule
from .saving import VARIABLES
from .schedules import SCHEDULES, LearningRateSchedule, deserialize, serialize
from .state import State

MODES = ("check", "load", "keep")
"""What becomes of the saved options; see `Optimizer.load_state_dict`."""

RATE, RULE, EXCLUSIONS, GROUPS = "learning_rate", "rule", "weight_decay_exclusions", "groups"

SEED = "seed"

RULE_DIGEST, CONSTRAINTS = "rule_digest", "constraints"
"""What a state of an earlier format does not say."""

FUNCTION, DIGEST = "function", "digest"
"""The keys under which a learning rate is named that has no config, and that of what a user has written."""

LATER = ("nonfinite", "storage", SEED)
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
    groups: Groups | None = values.pop(GROUPS)
    values |= {} if groups is None else {GROUPS: groups.plain(_plain_value)}
    return {**values, **options.hypers, **options.switches}


def text(options: Options, state: State) -> str:
    """`plain` and the variables' names, as JSON."""
    import json  # not light, and only wanted where a state is saved

    return json.dumps({**plain(options, state), VARIABLES: [member.path for member in state.variables]})


def _plain_value(value: Any) -> Any:
    """An option of a group; its learning rate is the only one that is no number, truth or None."""
    return value if isinstance(value, float | int | None) else _plain_rate(value)


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
    if name == GROUPS:
        return not _differing_groups(saved, own) and list(_by_key(saved)) == list(_by_key(own))
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


def is_of_the_moment(name: str, saved: Mapping[str, Any], own: Mapping[str, Any], rule: Rule) -> bool:
    """Whether what differs is state like a slot: the seed of a rule that draws random numbers, or learning rates, which
    training moves, all of them numbers here and as they were saved.
    """
    if name == SEED:
        return rule.draws and isinstance(saved.get(SEED), int)
    if name == RATE:
        return _are_numbers(saved.get(RATE), own[RATE])
    if name != GROUPS or not {GROUPS} <= saved.keys() & own.keys():
        return False
    theirs, ours = _by_key(saved[GROUPS]), _by_key(own[GROUPS])
    if list(theirs) != list(ours) or _without_rates(theirs) != _without_rates(ours):
        return False
    differing = _differing_groups(saved[GROUPS], own[GROUPS])
    return all(_are_numbers(theirs[key].get(RATE), ours[key].get(RATE)) for key in differing)


def _are_numbers(saved: object, own: object) -> bool:
    return isinstance(saved, int | float) and not isinstance(saved, bool) and isinstance(own, float)


# Groups, as JSON has them: a dict of dicts, or a list of them.


def _by_key(groups: Any) -> dict[Any, Any]:
    """Groups by pattern or number; what is no group, by itself."""
    if isinstance(groups, list):
        return {i: one if isinstance(one, dict) else {"": one} for i, one in enumerate(groups)}
    pairs = groups.items() if isinstance(groups, dict) else [("", groups)]
    return {key: one if isinstance(one, dict) else {"": one} for key, one in pairs}


def _differing_groups(saved: Any, own: Any) -> list[Any]:
    """The keys of groups that differ."""
    theirs, ours = _by_key(saved), _by_key(own)
    return [key for key in {**ours, **theirs} if not _are_same_group(theirs.get(key), ours.get(key))]


def _are_same_group(saved: Any, own: Any) -> bool:
    if saved is None or own is None or saved.keys() != own.keys():
        return False
    return all(_are_same(name, saved[name], own[name]) for name in own)


def _without_rates(groups: Mapping[Any, Any]) -> list[dict[str, Any]]:
    return [{name: value for name, value in one.items() if name != RATE} for one in groups.values()]


def _taken_groups(saved: Any, options: Options, state: State) -> Groups:
    """Saved groups as they are kept; functions, which a state only names, are those here. Raises OptionError."""
    here = {group.key: group.values for group in options.each_group}
    plain_here = {key: {name: _plain_value(one) for name, one in values.items()} for key, values in here.items()}

    def taken(key: Any, values: Any) -> Any:
        if not isinstance(values, dict) or not _is_function(values.get(RATE)):
            return values
        if not _are_same(RATE, values[RATE], plain_here.get(key, {}).get(RATE)):
            raise OptionError(
                f"a function for a learning rate cannot be taken over from a state. Received: {values[RATE]!r} in "
                f'groups[{key!r}]. Make the optimizer with that function there, or pass options="keep".'
            )
        return {**values, RATE: here[key][RATE]}

    given = saved or None
    if isinstance(given, dict):
        given = {key: taken(key, values) for key, values in given.items()}
    elif isinstance(given, list):
        given = [taken(i, values) for i, values in enumerate(given)]
    groups = grouped(state.rule, given)
    groups.of([(member.path, member.name) for member in state.variables])
    return groups


def described(names: Sequence[str], saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """What differs, with both values, for a message."""
    return [_described(name, saved, own) for name in names]


def _described(name: str, saved: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    if name == GROUPS and {GROUPS} <= saved.keys() & own.keys():
        theirs, ours = _by_key(saved[name]), _by_key(own[name])
        keys = _differing_groups(saved[name], own[name])
        if keys:
            return ", ".join(
                _described(
                    f"{name}[{key!r}]",
                    {f"{name}[{key!r}]": theirs[key]} if key in theirs else {},
                    {f"{name}[{key!r}]": ours[key]} if key in ours else {},
                )
                for key in keys
            )
    return f"{name}={saved.get(name, 'nothing')!r} (here {own.get(name, 'nothing')!r})"


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
        if name == GROUPS:
            changes[name] = _taken_groups(value, options, state)
        elif name in options.hypers:
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
