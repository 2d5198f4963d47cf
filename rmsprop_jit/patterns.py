"""Patterns: choosing variables by regular expressions over their names.

A pattern matches a whole name, the first that matches wins, and one that matches nothing is an error: a typing mistake
would otherwise change no variable and no one would see it. Only Keras's `exclude_from_weight_decay` looks for its
expressions anywhere in a name, and may name what is not there (yet).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from .errors import OptionError

T = TypeVar("T")


def checked(option: str, patterns: Iterable[object]) -> list[str]:
    """The patterns, if all are regular expressions. Raises OptionError, naming the option and the pattern."""
    good = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        try:
            re.compile(pattern)  # type: ignore[call-overload]
        except (re.error, TypeError) as problem:
            raise OptionError(f"`{option}` holds regular expressions. Received: {pattern!r} ({problem}).") from None
        if not isinstance(pattern, str):
            raise OptionError(
                f"`{option}` holds regular expressions as text. Received: {pattern!r}. "
                "Write what it was compiled from; flags go in front, as in '(?i)bias'."
            )
        good.append(pattern)
    return good


def first_matches(option: str, values: Mapping[str, T], names: Sequence[str | tuple[str, ...]]) -> list[T | None]:
    """For each name the value of the first pattern that matches all of it, or None.

    values: pattern -> value, in order. `names`: of each one, or of each several that are as good.
    Raises OptionError for a bad pattern and for one that matches none of the names.
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        for one in dict.fromkeys([name] if isinstance(name, str) else name):
            places.setdefault(one, []).append(place)
    chosen: dict[int, T] = {}
    for pattern in checked(option, values):
        matching = _matching(pattern, places)
        if not matching:
            known = [name if isinstance(name, str) else name[0] for name in names[:5]]
            some = (", ".join(map(repr, known)) or "none") + (" and more" if len(names) > 5 else "")
            raise OptionError(
                f"`{option}`: a pattern matches no variable. Received: {pattern!r}; names: {some}. "
                "A pattern must match a whole name: write '.*bias' for names that end in 'bias'."
            )
        for place in matching:
            chosen.setdefault(place, values[pattern])
    return [chosen.get(place) for place in range(len(names))]


def _matching(pattern: str, places: Mapping[str, list[int]]) -> list[int]:
    """The places of the names that a pattern matches; one without special characters is asked for as it is."""
    if re.escape(pattern) == pattern:
        return places.get(pattern, [])
    match = re.compile(pattern).fullmatch
    return [place for name, own in places.items() if match(name) for place in own]


def found_in(patterns: Sequence[str], name: str) -> bool:
    """Whether any of the patterns is found anywhere in a name, as Keras looks for those of weight decay."""
    return any(re.search(pattern, name) for pattern in patterns)
