"""By name: numbers that variables have of their own, as a dict of patterns over their names.

A pattern matches the whole path or name of a variable, the first one that matches wins, and a variable that none
matches has the default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import patterns
from .codegen import Hyper, Rule

if TYPE_CHECKING:
    from .members import Member

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


def check(rule: Rule, settings: Mapping[str, Setting], members: Sequence[Member]) -> None:
    """Raise OptionError if a pattern matches none of the variables."""
    Named(rule, members).resolved(settings)


class Named:
    """The numbers of some variables; found once for each setting."""

    def __init__(self, rule: Rule, members: Sequence[Member]) -> None:
        self._rule, self._members = rule, members
        self._names = [name for name, hyper in rule.hypers.items() if hyper.per == "tensor"]
        self._found: dict[str, tuple[object, list[float]]] = {}

    def resolved(self, numbers: Mapping[str, Any]) -> dict[str, list[float]]:
        """For each number that is set by patterns, that of each variable, in their order."""
        values = {name: numbers.get(name) for name in self._names}
        return {name: self._of(name, value) for name, value in values.items() if isinstance(value, dict)}

    def _of(self, name: str, value: dict[str, float]) -> list[float]:
        known = self._found.get(name)
        if known is None or known[0] is not value:
            names = [(member.path, member.name) for member in self._members]
            default = self._rule.hypers[name].default
            found = patterns.first_matches(name, value, names)
            known = self._found[name] = value, [default if one is None else one for one in found]
        return known[1]
