"""Grouping: what a caller gives as groups, checked; and groups as a caller sees them, to read and to set."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import patterns, tree
from .arrays.homes import is_array
from .checkers import check_switch
from .errors import OptionError
from .groups import NO_GROUPS, PARAMS, Group, Groups
from .nearest import meant
from .option_table import OPTIONS
from .rules.around import Rule
from .variable import Variable

if TYPE_CHECKING:
    from .members import Member, Members

GROUPED = tuple(name for name, option in OPTIONS.items() if option.grouped)
"""Options that variables can have of their own, beside the numbers and switches of the rule."""

Change = Callable[[Groups], Groups]


def grouped(rule: Rule, given: object, members: Members | None = None) -> Groups:
    """What a caller gives, checked.

    given:   {pattern: {option: value}}, [{"params": [...], option: value}, ...], or None.
    members: the variables, so that lists can have them and not only their names.
    Raises OptionError, naming group and option.
    """
    if given is None or isinstance(given, Groups):
        return given or NO_GROUPS
    if isinstance(given, GroupsView):  # perhaps of another rule
        groups = given.value
        each = [Group(one.key, _values(rule, one.key, one.values), one.params) for one in groups]
        return Groups(tuple(each), groups.is_listed)
    if isinstance(given, Mapping):
        patterns.checked("groups", given)
        return Groups(tuple([Group(key, _values(rule, key, values)) for key, values in given.items()]))
    if not isinstance(given, list | tuple):
        raise OptionError(
            f"`groups` is {{pattern: {{option: value}}}}, or a list of dicts with {PARAMS!r}. "
            f"Received: groups={given!r}."
        )
    return Groups(tuple([_listed(rule, i, values, members) for i, values in enumerate(given)]), is_listed=True)


def _listed(rule: Rule, i: int, given: object, members: Members | None) -> Group:
    if not isinstance(given, Mapping) or PARAMS not in given:
        raise OptionError(f"a listed group is a dict with {PARAMS!r}. Received: groups[{i}]={given!r}.")
    values = {name: value for name, value in given.items() if name != PARAMS}
    try:
        params = _all(given[PARAMS])
    except TypeError:
        raise OptionError(
            f"a listed group has a list of variables or names. Received: {PARAMS}={given[PARAMS]!r} in groups[{i}]."
        ) from None
    paths = [_path(i, one, members) for one in params]
    return Group(i, _values(rule, i, values), tuple(paths))


def _all(params: Any) -> Iterable[Any]:
    """Variables of a group, of which one may stand alone. Raises OptionError."""
    if isinstance(params, Mapping):
        return params.values()
    is_one = isinstance(params, str | Variable) or (not isinstance(params, list | tuple) and is_array(params))
    if not is_one and not isinstance(params, Iterable):
        raise OptionError(
            f"a group's {PARAMS!r} are variables, or their names. Received: {params!r}. Pass a list of them."
        )
    return [params] if is_one else list(params)


def _path(i: int, one: Any, members: Members | None) -> str:
    """The path of a variable that a group lists."""
    if isinstance(one, str):
        return one
    if members is None:
        raise OptionError(
            f"a group lists variables by their names before the optimizer is built. Received: {type(one).__name__} in "
            f"groups[{i}]. Pass patterns, or `optimizer.build(groups)`, which takes the variables of the list."
        )
    position = members.find(getattr(one, "value", one))
    if position is None:
        raise OptionError(
            f"a group lists what is no variable. Received: {type(one).__name__} in groups[{i}]. Build the optimizer on "
            "all variables of its groups."
        )
    return members.members[position].path


def _values(rule: Rule, key: object, given: object) -> dict[str, Any]:
    """A group's options as they are kept."""
    if not isinstance(given, Mapping):
        raise OptionError(f"a group is {{option: value}}. Received: groups[{key!r}]={given!r}.")
    return {name: _value(rule, key, name, value) for name, value in given.items()}


def _value(rule: Rule, key: object, name: Any, value: object) -> Any:
    called = f"groups[{key!r}][{name!r}]"
    if name in rule.hypers:
        return rule.hypers[name].checked(called, value)
    if name in rule.flags and rule.flags[name].is_option:
        return check_switch(called, value)
    if name in GROUPED:
        return OPTIONS[name].check(called, value)
    own = [*GROUPED, *rule.hypers, *(name for name, flag in rule.flags.items() if flag.is_option)]
    why = "is the optimizer's, for all variables" if name in OPTIONS else "is no option"
    raise OptionError(
        f"`{name}` {why}. Received: {called}={value!r}. A group can have {', '.join(own)}.{meant(str(name), own)}"
    )


class Listed(NamedTuple):
    """A list of groups with their variables: all of these, and how many each group has."""

    given: Sequence[Mapping[str, Any]]
    variables: Any
    counts: list[int]

    def groups(self, rule: Rule, members: Sequence[Member]) -> Groups:
        """The groups, once their variables are known. Raises OptionError."""
        paths = iter([member.path for member in members])
        pairs = zip(self.given, self.counts, strict=True)
        return grouped(rule, [{**one, PARAMS: list(itertools.islice(paths, count))} for one, count in pairs])


def parts(given: Any) -> Listed | None:
    """A list of groups, as `build` takes it; None of what is no such list. Raises OptionError."""
    is_listed = isinstance(given, list | tuple) and given
    if not is_listed or not all(isinstance(one, Mapping) and PARAMS in one for one in given):
        return None
    each = [tree.flat(one[PARAMS]) for one in given]
    if all(isinstance(one, Mapping) for one in each):
        named = [pair for one in each for pair in one.items()]
        if len(dict(named)) < len(named):
            raise OptionError("a variable is in one group. Received: a name that is in two. Name variables once.")
        return Listed(given, dict(named), [len(one) for one in each])
    lists = [list(_all(one)) for one in each]
    return Listed(given, [variable for one in lists for variable in one], [len(one) for one in lists])


class GroupsView:
    """An optimizer's groups: by pattern, or by number; what is assigned is checked, and holds from the next call on."""

    def __init__(self, read: Callable[[], Groups], rule: Rule, change: Callable[[Change], None]) -> None:
        self._read, self._rule, self._change = read, rule, change

    @property
    def value(self) -> Groups:
        """The groups of this moment."""
        return self._read()

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        """Patterns, or the groups of a list."""
        return iter([self[group.key] if self.value.is_listed else group.key for group in self.value])

    def __contains__(self, key: object) -> bool:
        return any(group.key == key for group in self.value)

    def __getitem__(self, key: str | int) -> GroupView:
        return GroupView(self, self.value.named(self._key(key)).key)

    def __setitem__(self, key: str | int, values: Mapping[str, Any]) -> None:
        """A group with these options in place of another, or, of a pattern, a new one behind the others."""
        own = _values(self._rule, key, values)
        if isinstance(key, str):
            patterns.checked("groups", [key])

        def changed(groups: Groups) -> Groups:
            known = [group.key for group in groups]
            if self._key(key) not in known and not groups.is_listed and isinstance(key, str):
                return Groups((*groups.each, Group(key, own)))
            return with_values(groups, groups.named(self._key(key)).key, own)

        self._change(changed)

    def __delitem__(self, key: str | int) -> None:
        def changed(groups: Groups) -> Groups:
            gone = groups.named(self._key(key))
            left = [group for group in groups if group is not gone]
            if groups.is_listed:
                left = [Group(i, group.values, group.params) for i, group in enumerate(left)]
            return Groups(tuple(left), groups.is_listed)

        self._change(changed)

    def keys(self) -> list[str | int]:
        """Patterns or numbers, in order."""
        return [group.key for group in self.value]

    def values(self) -> list[GroupView]:
        """The groups, in order."""
        return [self[key] for key in self.keys()]

    def items(self) -> list[tuple[str | int, GroupView]]:
        """Both."""
        return [(key, self[key]) for key in self.keys()]

    def set(self, key: str | int, name: str, value: object) -> None:
        """Give a group an option."""
        own = _value(self._rule, key, name, value)
        self._change(lambda groups: with_values(groups, key, {**groups.named(key).values, name: own}))

    def drop(self, key: str | int, name: str) -> None:
        """Let a group have the optimizer's."""
        _own(self.value.named(key), name)

        def changed(groups: Groups) -> Groups:
            return with_values(groups, key, {k: v for k, v in groups.named(key).values.items() if k != name})

        self._change(changed)

    def _key(self, key: str | int) -> str | int:
        """A number from the end as one from the front."""
        return key + len(self.value) if isinstance(key, int) and key < 0 else key

    def __eq__(self, other: object) -> bool:
        mine = self.value.plain()
        theirs = other.value.plain() if isinstance(other, GroupsView) else other
        if not mine and not theirs:
            return True
        return bool(mine == (list(theirs) if isinstance(theirs, tuple) else theirs))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.value)


class GroupView(MutableMapping[str, Any]):
    """One group's options; what it does not have, the optimizer says."""

    def __init__(self, groups: GroupsView, key: str | int) -> None:
        self._groups, self._of = groups, key

    @property
    def _values(self) -> Mapping[str, Any]:
        return self._groups.value.named(self._of).values

    def __getitem__(self, name: str) -> Any:
        group = self._groups.value.named(self._of)
        return list(group.params) if name == PARAMS and self._groups.value.is_listed else _own(group, name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._groups.set(self._of, name, value)

    def __delitem__(self, name: str) -> None:
        self._groups.drop(self._of, name)

    def __iter__(self) -> Iterator[str]:
        return iter([*((PARAMS,) if self._groups.value.is_listed else ()), *self._values])

    def __len__(self) -> int:
        return len(self._values) + self._groups.value.is_listed

    def __repr__(self) -> str:
        return repr(dict(self))


def _own(group: Group, name: str) -> Any:
    """An option that a group names. Raises KeyError for another."""
    if name not in group.values:
        raise KeyError(f"{group.title} names no {name!r}, so that it is the optimizer's; it names {[*group.values]}.")
    return group.values[name]


def with_values(groups: Groups, key: str | int, values: Mapping[str, Any]) -> Groups:
    """Groups of which one has these options; the others stay the very same."""
    old = groups.named(key)
    each = [Group(old.key, values, old.params) if group is old else group for group in groups]
    return Groups(tuple(each), groups.is_listed)
