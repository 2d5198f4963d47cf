"""Memo: what is derived from an object, made once and kept with it, so that it goes when the object goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


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


class derived(Generic[T]):
    """A property that is computed once. `functools.cached_property` holds a lock on Python 3.11, which a fork can leave
    held in the child for ever; here two threads may compute it at the same time, and get the same.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute, self._name = compute, compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, owner: Any, kind: type | None = None) -> T:
        made: T = owner.__dict__.setdefault(self._name, self._compute(owner))
        return made
