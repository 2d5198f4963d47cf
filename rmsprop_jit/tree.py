"""Nested dicts, lists and tuples of arrays: flat dicts by path, as {"dense/kernel": array}, and nests like them.

What is flat already comes back as it is, so that ordinary calls pay for one look at the types and no more. Order is
that of insertion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .errors import ArrayError

NUMBERS = (int, float, complex, np.generic)


def is_nested(nest: object) -> bool:
    """Whether a container has others inside."""
    if not _is_container(type(nest)) or not any(map(_is_container, set(map(type, _values(nest))))):
        return False
    return any(map(_has_others, _values(nest)))


def flat(nest: Any, what: str = "variable") -> Any:
    """A dict by paths, where there are containers inside of others; what is flat, or no container, as it is.

    what: of which the leaves are. Raises ArrayError for keys that are no strings, and for two leaves of one path.
    """
    if not is_nested(nest):
        return nest
    found: dict[str, Any] = {}
    for path, leaf in _leaves(nest, what):
        if path in found:
            raise ArrayError(
                f"two {what}s are called {path!r}. Received: a key with '/' in it beside a nested one. Rename one."
            )
        found[path] = leaf
    return found


def flat_call(grads: Any, variables: Any, inputs: Mapping[str, Any], known: Iterator[str]) -> tuple[Any, Any, Any]:
    """Gradients, variables and inputs of a call, flat where they are nested.

    known: the names of the variables that the optimizer has. Gradients are taken for nested only where variables have
    paths: elsewhere a list in the place of an array is a mistake, and is answered as one.
    """
    variables = flat(variables)
    if not is_nested(grads) and not any(map(is_nested, inputs.values())):
        return grads, variables, inputs
    names = known if variables is None else variables if isinstance(variables, Mapping) else ()
    if not any("/" in name for name in names if isinstance(name, str)):
        return grads, variables, inputs
    return flat(grads, "gradient"), variables, {name: flat(given, "array") for name, given in inputs.items()}


def leaves(nest: Any) -> list[Any]:
    """What is in a nest, in order; of another iterable, what that has."""
    found = flat(nest)
    return list(found.values() if isinstance(found, Mapping) else found)


def like(nest: Any, values: Iterator[Any]) -> Any:
    """A container of the same form with other leaves, one after the other."""

    def inside(one: Any) -> Any:
        return like(one, values) if _has_others(one) else next(values)

    if isinstance(nest, Mapping):
        return {key: inside(value) for key, value in nest.items()}
    made = [inside(value) for value in nest]
    if isinstance(nest, tuple):
        return type(nest)(*made) if hasattr(nest, "_fields") else tuple(made)
    return made


def _leaves(nest: Any, what: str, prefix: str = "", around: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Leaves with their paths; `around` are the containers that this one is in. Raises ArrayError."""
    if id(nest) in around:
        raise ArrayError(
            f"a container of {what}s holds itself. Received: it again as {prefix[:-1]!r}. Take it out there."
        )
    around = (*around, id(nest))
    for key, value in _named(nest):
        if not isinstance(key, str):
            raise ArrayError(
                f"names of {what}s are strings. Received: key {key!r}{f' in {prefix[:-1]!r}' if prefix else ''}."
            )
        path = f"{prefix}{key}"
        if _has_others(value):
            yield from _leaves(value, what, f"{path}/", around)
        else:
            yield path, value


def _named(nest: Any) -> Iterator[tuple[Any, Any]]:
    """What is directly inside of a container, with names: keys, names of fields, or places."""
    if isinstance(nest, Mapping):
        return iter(nest.items())
    return zip(getattr(nest, "_fields", None) or map(str, range(len(nest))), nest, strict=True)


def _is_container(kind: type) -> bool:
    return issubclass(kind, Mapping | list | tuple)


def _has_others(value: object) -> bool:
    """Whether it is a container, and no list of numbers: that stands where an array should."""
    if not _is_container(type(value)):
        return False
    return isinstance(value, Mapping) or not value or not all(isinstance(one, NUMBERS) for one in _values(value))


def _values(nest: Any) -> Any:
    return nest.values() if isinstance(nest, Mapping) else nest
