"""Groups: options that some variables have of their own. A value: nothing here changes.

A dict has patterns over names, each with the options of the variables that it matches: whole names, the first pattern
that matches wins. A list, as in torch, names each variable of each group. What a group does not say, the optimizer
says; a variable in no group has the optimizer's options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import patterns
from .errors import OptionError
from .nearest import meant

PARAMS = "params"
"""The key of a listed group's variables, as torch has it."""


@dataclass(frozen=True)
class Group:
    """Some variables' own options.

    key:    the pattern, or (of a listed group) its number.
    values: its options, checked.
    params: the paths of its variables, where it lists them.
    """

    key: str | int
    values: Mapping[str, Any]
    params: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"groups[{self.key!r}]"


@dataclass(frozen=True)
class Groups:
    """All groups, in order; `is_listed` where each lists its variables."""

    each: tuple[Group, ...] = ()
    is_listed: bool = False

    def __len__(self) -> int:
        return len(self.each)

    def __iter__(self) -> Iterator[Group]:
        return iter(self.each)

    def __repr__(self) -> str:
        return repr(self.plain())

    def named(self, key: object) -> Group:
        """The group of a pattern, or of a number. Raises KeyError."""
        found = [group for group in self.each if type(group.key) is type(key) and group.key == key]
        if not found:
            keys = [group.key for group in self.each]
            near = meant(key, [str(one) for one in keys]) if isinstance(key, str) else ""
            raise KeyError(f"no group has the key {key!r}; the groups here: {keys[:5]}.{near}")
        return found[0]

    def plain(self, value: Callable[[Any], Any] = lambda one: one) -> Any:
        """As dicts and lists that are the caller's own; each option's value as `value` has it."""
        own = [{name: value(one) for name, one in group.values.items()} for group in self.each]
        if self.is_listed:
            pairs = zip(self.each, own, strict=True)
            return [{PARAMS: list(group.params), **values} for group, values in pairs]
        return {str(group.key): values for group, values in zip(self.each, own, strict=True)}

    def of(self, names: Sequence[tuple[str, str]]) -> list[int | None]:
        """For each variable, by path and name, the position of its group; None of one in no group.

        Raises OptionError for a pattern or a listed name that is no variable's, and for a variable in two lists.
        """
        if not self.is_listed:
            return patterns.first_matches("groups", {str(one.key): i for i, one in enumerate(self.each)}, names)
        found: dict[str, int] = {}
        for i, group in enumerate(self.each):
            for path in group.params:
                if path in found:
                    raise OptionError(
                        f"a variable is in one group. Received: {path!r} in groups {found[path]} and {i}. "
                        "List it once, or give patterns, of which the first that matches wins."
                    )
                found[path] = i
        unknown = sorted(found.keys() - {path for path, _ in names})
        if unknown:
            raise OptionError(
                f"a group lists what is no variable. Received: {unknown[:5]}; variables: "
                f"{[path for path, _ in names[:5]]}. Build the optimizer on all variables of its groups."
            )
        return [found.get(path) for path, _ in names]


NO_GROUPS = Groups()
