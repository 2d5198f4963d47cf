"""The name that a wrong one was meant for."""

from __future__ import annotations

from collections.abc import Iterable


def meant(name: str, known: Iterable[str]) -> str:
    """The remedy for a wrong name, where a known one is near."""
    import difflib  # only wanted where something is wrong

    by_small = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), by_small, 1)
    return f" Did you mean {by_small[near[0]]!r}?" if near else ""
