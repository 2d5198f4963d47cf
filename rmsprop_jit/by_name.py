"""By name: numbers that variables have of their own, as a dict of patterns over their names.

A pattern matches the whole path or name of a variable, the first one that matches wins, and a variable that none
matches has the default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import patterns
from .codegen import Hyper, Rule

Setting = float | dict[str, float]
"""What a number of a rule is set to: one for all variables, or (where it is one a variable) by patterns."""


def setting(hyper: Hyper, name: str, value: object) -> Setting:
    """A value as it is kept. Raises OptionError if it, or one in a dict, is no number in range, or a pattern is bad."""
    if hyper.per != "tensor" or not isinstance(value, Mapping):
        return hyper.checked(name, value)
    patterns.checked(name, value)
    return {pattern: hyper.checked(f"{name}[{pattern!r}]", number) for pattern, number in value.items()}


def shown(value: Any) -> Any:
    """A setting as a caller gets it: what he does to it changes nothing."""
    return dict(value) if isinstance(value, dict) else value


def largest(value: Setting, hyper: Hyper) -> float:
    """The largest number that any variable may have."""
    return max([hyper.default, *value.values()]) if isinstance(value, dict) else value


def resolved(rule: Rule, settings: Mapping[str, Any], names: Sequence[tuple[str, str]]) -> dict[str, list[float]]:
    """For each number that is set by patterns, that of each variable; `names` has their paths and names.

    Raises OptionError if a pattern matches none of the variables.
    """
    own = {name: settings[name] for name, hyper in rule.hypers.items() if hyper.per == "tensor"}
    by_patterns = {name: value for name, value in own.items() if isinstance(value, dict)}
    return {name: _numbers(name, value, rule.hypers[name].default, names) for name, value in by_patterns.items()}


def _numbers(name: str, value: dict[str, float], default: float, names: Sequence[tuple[str, str]]) -> list[float]:
    found = patterns.first_matches(name, value, names)
    return [default if one is None else one for one in found]
