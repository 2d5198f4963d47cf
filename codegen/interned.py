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
        kept = _KEPT.get(key)
        found: Any = None if kept is None else kept()
        made: Self = cls._made(fields, key) if found is None else found
        return made

    @classmethod
    def _made(cls, fields: tuple[Any, ...], key: object) -> Any:
        """A new object, unless another thread has made it by now."""
        known = cls._described(*fields)
        known.update(zip(cls.__match_args__, fields))  # noqa: B905 `_key` takes no fewer, and no more
        made = object.__new__(cls)
        object.__setattr__(made, "__dict__", known)
        return _kept(made, key)

    @staticmethod
    def _key(*fields: Any) -> object:
        """What tells objects of one class apart: what they are made of, by its identity.

        Identity is safe: an object keeps its fields alive, and its entry goes when it goes.
        """
        return tuple(map(id, fields))

    @staticmethod
    def _described(*fields: Any) -> Described:
        """What an object of these fields knows of itself beside them."""
        raise NotImplementedError

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an expression cannot be changed. Received: {name}={value!r}.")


class _Kept(weakref.ref["Interned"]):
    """An object as long as somebody else holds it, and what it is found by."""

    __slots__ = ("key",)
    key: object


_KEPT: dict[object, _Kept] = {}
_GONE: deque[Any] = deque()
"""Those that went. Their entries go when others are made: an object can go at any time, in any thread. (A
WeakValueDictionary takes its entries out at once, and three times as long.)
"""
FEW = 4
"""So many wait until they go together: the lock takes as long as they do."""
_LOCK = locks.new()
"""For those that take entries out. Who finds or enters one needs no lock: either is one call of a dict's."""


def _kept(made: Interned, key: object) -> Interned:
    """An object that is entered now, or the one that another thread has entered."""
    own = _Kept(made, _GONE.append)
    own.key = key
    kept = _KEPT.setdefault(key, own)
    while kept is not own:
        found = kept()
        if found is not None:
            return found
        with _LOCK:  # that one went
            if _KEPT.get(key) is kept:
                del _KEPT[key]
        kept = _KEPT.setdefault(key, own)
    if len(_GONE) > FEW:
        _take_out()
    return made


def _take_out() -> None:
    """Take out the entries of those that went."""
    with _LOCK:
        for _ in range(len(_GONE)):
            gone = _GONE.popleft()
            place = gone.key
            if _KEPT.get(place) is gone:
                del _KEPT[place]
