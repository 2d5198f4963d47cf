"""Memo: what is derived from an object, made once and kept with it, so that it goes when the object goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Memo:
    """Results by key. Without a lock: two threads may make one at the same time, and agree on one of the two."""

    def __init__(self) -> None:
        self._made: dict[object, Any] = {}

    def __call__(self, key: object, make: Callable[[], Any]) -> Any:
        """What `make` makes, the same object for equal keys."""
        try:
            return self._made[key]
        except KeyError:
            return self._made.setdefault(key, make())
