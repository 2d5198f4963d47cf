"""Checkers: how a value of an option becomes what is kept, or is refused."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from . import patterns
from .codegen.backends import cuda_compilers
from .codegen.dtypes import FINE, LIGHT
from .errors import OptionError
from .groups import Groups
from .rates import RATE
from .schedules import LearningRateSchedule, deserialize

COMPILERS = tuple(cuda_compilers.COMPILERS)
"""For GPUs, first choice first."""

Checker = Callable[[str, object], Any]
"""Takes a name and a value; returns the value as it is kept or raises OptionError."""


def one_learning_rate(name: str, value: object) -> float | LearningRateSchedule | Callable[..., float]:
    """A number, a schedule (also as its config), or a callable."""
    if isinstance(value, dict):
        return deserialize(value)
    if isinstance(value, LearningRateSchedule) or callable(value):
        return value
    return RATE.checked(name, value)


def check_switch(name: str, value: object) -> bool:
    """A truth value: a bool, NumPy's included. Raises OptionError for anything else."""
    if type(value).__name__ not in ("bool", "bool_"):
        raise OptionError(f"`{name}` must be True or False. Received: {name}={value!r}.")
    return bool(value)


def integer(low: int) -> Checker:
    """A checker of integers from `low` on."""

    def check(name: str, value: object) -> int:
        try:
            number = low - 1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            number = low - 1
        if number < low:
            raise OptionError(f"`{name}` must be an integer >= {low} or None. Received: {name}={value!r}.")
        return number

    return check


def or_none(check: Checker) -> Checker:
    """A checker that takes None, too."""
    return lambda name, value: None if value is None else check(name, value)


def one_name(name: str, value: object) -> str:
    """A name of an optimizer."""
    if not isinstance(value, str) or "/" in value:
        raise OptionError(
            f"Argument `name` must be a string and cannot contain character `/`. Received: {name}={value!r}."
        )
    return value


NONFINITE = ("propagate", "skip", "raise")
"""What becomes of a call with a gradient that holds inf or nan."""


def one_nonfinite(name: str, value: object) -> str:
    """What becomes of such a call."""
    if value not in NONFINITE:
        raise OptionError(f"`{name}` must be one of {', '.join(NONFINITE)}. Received: {name}={value!r}.")
    return str(value)


STORAGES = ("float32", *LIGHT)
"""What slots of float32 variables can be kept in."""


def one_storage(name: str, value: object) -> str | dict[str, str]:
    """What slots are kept in: one storage, or a dict from patterns over "variable:slot" to storages."""
    each = dict(value) if isinstance(value, Mapping) else {"": value}
    for kept in each.values():
        if kept not in (*STORAGES, *([FINE] if isinstance(value, Mapping) else [])):
            raise OptionError(
                f"`{name}` must be one of {', '.join(map(repr, STORAGES))}, or a dict from patterns to one of them. "
                f"Received: {name}={value!r}. Write {{'.*:velocity': {LIGHT[0]!r}}}, for 'variable:slot'."
            )
    if not isinstance(value, Mapping):
        return str(value)
    patterns.checked(name, each)
    return {pattern: str(kept) for pattern, kept in each.items()}


MOST_SEED = 2**32 - 1


def one_seed(name: str, value: object) -> int:
    """A seed of random numbers: 32 bits."""
    number = integer(0)(name, value)
    if number > MOST_SEED:
        raise OptionError(f"`{name}` must be an integer from 0 to {MOST_SEED}. Received: {name}={value!r}.")
    return int(number)


def one_compiler(name: str, value: object) -> str:
    """A compiler for GPUs, or None."""
    if value not in COMPILERS:
        raise OptionError(f"`{name}` must be one of {', '.join(COMPILERS)} or None. Received: {name}={value!r}.")
    return str(value)


def all_groups(name: str, value: object) -> Groups | None:
    """Groups as `grouping` makes them of what a caller gives; None of none."""
    if not isinstance(value, Groups):
        raise OptionError(f"`{name}` is {{pattern: {{option: value}}}}, or a list. Received: {name}={value!r}.")
    return value or None
