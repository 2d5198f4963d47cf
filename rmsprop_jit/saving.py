"""State to and from dicts: by name and versioned, or numbered in Keras's order (to move it to and from Keras).

Nothing is written here, and nothing is trusted: a state may come from anywhere. `fitting` asks whether it fits an
optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .arrays.homes import Array, to_host
from .codegen.memory import is_masked
from .errors import ArrayError

FORMAT_VERSION = 3
"""Of the dict that `Optimizer.state_dict` returns. Earlier ones are read, too: in format 2 nothing says which function
or rule it was, nor what the variables are called, and format 1 has no options at all."""

REMEDY = "Load a state as it was saved."

VARIABLES = "variables"
"""The key under which the options have the variables' names, in the order of windows; "variables/<name>" are their
values, in a state that was asked for them."""

MOST_CALLS = 2**63 - 1
"""What a saved count has room for."""


class Handed(NamedTuple):
    """An array that nobody else has, so that none need be made of it that is sure to stay as it was checked."""

    array: Array


class Opened(NamedTuple):
    """A state as far as it can be read without knowing what it is for.

    options: as plain values; None if it has none.
    names:   of the variables, in the order of `window` and `started`; None if it does not say them.
    skipped: how many calls were; 0 where it does not say so.
    `window`, `started` (None if it has none) and `slots`, with variables among them, are still to be checked.
    """

    options: dict[str, Any] | None
    names: list[str] | None
    calls: int
    window: Any
    started: Any
    skipped: int
    slots: dict[str, Any]


class Progress(NamedTuple):
    """How far each variable is.

    windows: whether gradients have been added up for it.
    started: whether it was updated before; None for all where the rule does not ask for that.
    skipped: calls that were not done, because a gradient held inf or nan.
    """

    windows: Sequence[bool]
    started: Sequence[bool] | None
    skipped: int

    @classmethod
    def after(cls, calls: int, every: int | None, accumulate: Sequence[int]) -> Progress:
        """What is to be supposed after so many calls, from their number alone, and of which gradients are added up."""
        steps = every or 1
        return cls([calls % steps != 0 and bool(one) for one in accumulate], [calls >= steps] * len(accumulate), 0)

    @property
    def cells(self) -> list[int]:
        """As a ledger keeps it."""
        truths = (*self.windows, *(self.started or [False] * len(self.windows)))
        return [self.skipped, *map(int, truths)]


def named(slots: Mapping[str, Array], calls: int, progress: Progress, options: str) -> dict[str, Array]:
    """The state as a dict of NumPy arrays; `options` is a text."""
    started = {} if progress.started is None else {"started": np.array(progress.started, bool)}
    return {
        "format_version": np.array(FORMAT_VERSION),
        "iteration": np.array(calls, np.int64),
        "window": np.array(progress.windows, bool),
        **started,
        **({"skipped": np.array(progress.skipped, np.int64)} if progress.skipped else {}),
        "options": np.array(options),
        **slots,
    }


def opened(state: Mapping[str, Any]) -> Opened:
    """What is in a dict that `named` has made. Raises ArrayError if that did not make it."""
    check_store(state, "the state")
    rest = dict(state)
    strange = [key for key in rest if not isinstance(key, str)]
    if strange:
        raise ArrayError(f"the keys of a state are strings. Received: key {strange[0]!r}. {REMEDY}")
    version = count(_taken(rest, "format_version"), "format_version")
    if not 1 <= version <= FORMAT_VERSION:
        raise ArrayError(
            f"a state of a format from 1 to {FORMAT_VERSION} is needed. Received: format_version={version}."
        )
    calls = count(_taken(rest, "iteration"), "iteration")
    window, started = _taken(rest, "window"), rest.pop("started", None)
    skipped = count(rest.pop("skipped", 0), "skipped")
    options = None if version == 1 else _options(_taken(rest, "options"))
    names = None if options is None or version == 2 else _names(options.pop(VARIABLES, None))
    return Opened(options, names, calls, window, started, skipped, rest)


def _taken(rest: dict[str, Any], key: str) -> Any:
    """An entry, which is then no longer there. Raises ArrayError if it never was."""
    if key not in rest:
        raise ArrayError(f"the state has no {key!r}. Received: keys {sorted(rest)[:5]}. {REMEDY}")
    return rest.pop(key)


def _names(value: Any) -> list[str]:
    """The names of variables in the options, as slots begin with them. Raises ArrayError for anything else."""
    are_texts = isinstance(value, list) and all(isinstance(name, str) for name in value)
    names = [name.replace("/", "_") for name in value] if are_texts else []
    if not are_texts or len({*names}) < len(names):
        raise ArrayError(f"{VARIABLES!r} in 'options' must be a list of different names. Received: {value!r}. {REMEDY}")
    return names


def _options(value: Any) -> dict[str, Any]:
    """The options in a state. Raises ArrayError unless they are the text of a JSON object."""
    import json  # not light, and only wanted where a state is loaded

    array = value if isinstance(value, str) else on_host(value, "'options'")
    try:
        options = json.loads(str(array) if np.asarray(array).dtype.kind == "U" else "")
    except (ValueError, RecursionError):  # the latter of brackets alone
        options = None
    if not isinstance(options, dict):
        raise ArrayError(f"'options' must be the text of a JSON object. Received: {value!r}. {REMEDY}")
    return options


def check_store(store: object, what: str) -> None:
    """Raise ArrayError unless it works like a dict; Keras's stores do without being Mappings."""
    if not (hasattr(store, "keys") and hasattr(store, "__getitem__") and hasattr(store, "__len__")):
        raise ArrayError(f"{what} must be a dict. Received: {type(store).__name__}. {REMEDY}")


def on_host(value: Any, what: str) -> Array:
    """A saved value as a NumPy array of its own. Raises ArrayError for what cannot be one."""
    if isinstance(value, Handed):
        return value.array
    value = getattr(value, "value", value)
    if is_masked(value):
        raise ArrayError(
            f"{what} is a masked array, whose mask would be ignored. Received: {type(value).__name__}. "
            "Pass array.filled(...)."
        )
    try:
        return to_host(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as problem:
        raise ArrayError(f"{what} is no array ({problem}). Received: {type(value).__name__}. {REMEDY}") from problem


def is_real(dtype: np.dtype[Any]) -> bool:
    """Whether values of a dtype are real numbers: not truth values, text, dates, complex numbers or objects."""
    return dtype.kind != "b" and np.can_cast(dtype, np.float64, "same_kind")


def number(value: Any, what: str) -> int | float:
    """One number read from a saved state, integers exactly; nan for anything else."""
    array = on_host(value, what)
    if array.size != 1 or not is_real(array.dtype):
        return math.nan
    return int(array.item()) if array.dtype.kind in "iu" else float(array.astype(np.float64).item())


def count(value: Any, what: str) -> int:
    """A counter read from a saved state. Raises ArrayError unless it is a whole number that can be saved again."""
    found = number(value, what)
    if not (0 <= found <= MOST_CALLS and found == math.floor(found)):
        raise ArrayError(f"{what} must be a whole number >= 0 and < 2**63. Received: {value!r}. {REMEDY}")
    return int(found)
