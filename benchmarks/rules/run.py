"""All rules, a process for each rule beside each peer, so that one that dies or compiles for ever leaves the others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from .. import children
from ..rows import Row
from .cases import COMPILED, OfRule, cases_of, rules

LIMIT = 120.0
"""Seconds that a rule beside one peer may take, with all that is compiled."""


def chosen(only: Sequence[str]) -> list[str]:
    """The rules of these names, in whatever letters; all without any. Raises ValueError for one that there is not."""
    known = {name.lower(): name for name in rules()}
    strange = [name for name in only if name.lower() not in known]
    if strange:
        raise ValueError(f"There is no such rule. Received: {', '.join(strange)}. The rules are: {', '.join(rules())}.")
    return [known[name] for name in dict.fromkeys(map(str.lower, only))] or rules()


def planned(names: Sequence[str], sizes: str) -> dict[str, list[OfRule]]:
    """The cases of some rules; in a quick look torch compiles nothing."""
    left_out = (COMPILED,) if sizes == "quick" else ()
    return {name: [case for case in cases_of(name, sizes) if case.against not in left_out] for name in names}


def measured(plan: dict[str, list[OfRule]], sizes: str, seconds: float, limit: float = LIMIT) -> Iterator[Row]:
    """A row for each case, whatever happens."""
    for name, cases in plan.items():
        for peer in dict.fromkeys(case.against for case in cases):
            numbers = [i for i, case in enumerate(cases) if case.against == peer]
            end = time.monotonic() + limit
            yield from children.rows_of(
                "benchmarks.rules.measure", seconds, cases, numbers, until=end, which=(name, sizes)
            )
