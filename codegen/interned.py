"""Interned: objects of the same fields are one object, for as long as somebody holds it."""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any, ClassVar, NoReturn, Self

from . import locks

Described = dict[str, Any]
"""What an object knows of itself beside its fields, by name."""


class Interned:
    """An object that never changes. Its fields, in order, are what `__match_args__` names; last ones may have a value
    of the class.
    """

    __match_args__: ClassVar[tuple[str, ...]] = ()

    def __new__(cls, *fields: Any) -> Self:
        """The object with these fields: the one that exists, or a new one."""
        key = cls, cls._key(*fields)
        with _LOCK:
            kept = _KEPT.get(key)
            found: Any = None if kept is None else kept()
            if found is None:
                found = object.__new__(cls)
                known = vars(found)
                known.update(zip(cls.__match_args__, fields, strict=False))  # `_key` takes no fewer, and no more
                known.update(found._described())
                _keep(found, key)
        made: Self = found
        return made

    @staticmethod
    def _key(*fields: Any) -> object:
        """What tells objects of one class apart: what they are made of, by its identity.

        Identity is safe: an object keeps its fields alive, and its entry goes when it goes.
        """
        return tuple(map(id, fields))

    def _described(self) -> Described:
        """What it knows of itself beside its fields."""
        raise NotImplementedError

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an expression cannot be changed. Received: {name}={value!r}.")


class _Kept(weakref.ref["Interned"]):
    """An object as long as somebody else holds it, and what it is found by."""

    __slots__ = ("key",)
    key: object


_KEPT: dict[object, _Kept] = {}
_GONE: deque[Any] = deque()
"""Those that went. Their entries go under the lock, when the next one is made: an object can go at any time, in any
thread, also while the lock is held. (A WeakValueDictionary takes its entries out at once, and three times as long.)
"""
_LOCK = locks.new()


def _keep(made: Interned, key: object) -> None:
    """Enter an object, and take out those that went."""
    while _GONE:
        gone = _GONE.popleft()
        place = gone.key
        if _KEPT.get(place) is gone:
            del _KEPT[place]
    kept = _Kept(made, _GONE.append)
    kept.key = key
    _KEPT[key] = kept
