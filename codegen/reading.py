"""Reading: which draw of a random number comes next, while a rule's equations are read.

Equations are read more than once, and must say the same each time: draws are told apart by their order in a reading.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .errors import RuleError

_PLACES: ContextVar[Iterator[int] | None] = ContextVar("places", default=None)


@contextmanager
def reading() -> Iterator[None]:
    """Equations are read in the `with` block, from their first draw."""
    before = _PLACES.set(itertools.count())
    try:
        yield
    finally:
        _PLACES.reset(before)


def next_place(name: str, most: int) -> int:
    """The place of a draw in the rule that is read. Raises RuleError outside of equations, and for too many draws."""
    places = _PLACES.get()
    if places is None:
        raise RuleError(
            f"{name}() is drawn by the equations of a rule, where each call is a draw of its own. Received: a call "
            f"outside of them. Call {name}() inside the function that is given to Rule."
        )
    place = next(places)
    if place >= most:
        raise RuleError(
            f"a rule draws at most {most} random numbers for an element. Received: one more {name}(). Give a number "
            "that is drawn a name, and use it where the same one will do."
        )
    return place
