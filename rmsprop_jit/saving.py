"""State to and from dicts: by name and versioned, or numbered in Keras's order (to move it to and from Keras).

Loading is all or nothing: every array is checked before the first is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .arrays.homes import Array, to_host, write
from .errors import ArrayError

FORMAT_VERSION = 1
"""Of the dict that `Optimizer.state_dict` returns; a dict of another version is refused."""


def named(slots: Mapping[str, Array], calls: int, windows: Sequence[bool]) -> dict[str, Array]:
    """The state as a dict of NumPy arrays; slots are copied, from a GPU too."""
    return {
        "format_version": np.array(FORMAT_VERSION),
        "iteration": np.array(calls, np.int64),
        "window": np.array(windows, bool),
        **{name: to_host(array) for name, array in slots.items()},
    }


def load_named(slots: Mapping[str, Array], state: Mapping[str, Any], variables: int) -> tuple[int, list[bool]]:
    """Copy `state` into `slots`; returns calls and windows. Raises ArrayError where it does not fit."""
    rest = dict(state)
    version = _count(rest.pop("format_version", None), "format_version")
    if version != FORMAT_VERSION:
        raise ArrayError(f"a state of format {FORMAT_VERSION} is needed. Received: format_version={version}.")
    calls = _count(rest.pop("iteration", None), "iteration")
    windows = np.asarray(rest.pop("window", ()), bool)
    if windows.shape != (variables,):
        raise ArrayError(f"'window' must have shape ({variables},). Received: shape={windows.shape}.")
    _copy_into(slots, rest, "the state")
    return calls, [bool(window) for window in windows]


def load_numbered(slots: Mapping[str, Array], store: Mapping[str, Any], has_rate: bool) -> tuple[int, float | None]:
    """Copy a store with keys "0", "1", ... into `slots`; returns calls and learning rate. Raises ArrayError."""
    values = _in_order(store)
    head = 2 if has_rate else 1
    if len(values) != head + len(slots):
        raise ArrayError(
            f"this optimizer has {head + len(slots)} variables. Received: a store of {len(values)}. "
            "Build it on the same variables with the same options first."
        )
    calls = _count(values[0], "iteration")
    rate = _rate(values[1]) if has_rate else None
    _copy_into(slots, dict(zip(slots, values[head:], strict=True)), "the store")
    return calls, rate


def _in_order(store: Mapping[str, Any]) -> list[Any]:
    try:
        return [store[str(i)] for i in range(len(store))]
    except KeyError as missing:
        raise ArrayError(f"a saved optimizer has keys '0', '1', ... Received: no key {missing}.") from None


def _number(value: Any) -> float:
    """One number read from a saved state; nan for anything else."""
    try:
        return float(np.asarray(value, dtype=np.float64).reshape(()))
    except (TypeError, ValueError):
        return math.nan


def _count(value: Any, what: str) -> int:
    """A counter read from a saved state. Raises ArrayError unless it is a whole number >= 0."""
    number = _number(value)
    if not (0 <= number < math.inf and number == math.floor(number)):
        raise ArrayError(f"{what} must be a whole number >= 0. Received: {value!r}.")
    return int(number)


def _rate(value: Any) -> float:
    """A learning rate read from a saved state. Raises ArrayError unless it is one finite number."""
    number = _number(value)
    if not math.isfinite(number):
        raise ArrayError(f"the store's learning rate must be one finite number. Received: {value!r}.")
    return number


def _copy_into(targets: Mapping[str, Array], sources: Mapping[str, Any], what: str) -> None:
    missing, surplus = targets.keys() - sources.keys(), sources.keys() - targets.keys()
    if missing or surplus:
        raise ArrayError(
            f"{what} does not fit this optimizer. Received: without {sorted(missing)[:5]}, with unknown "
            f"{sorted(surplus)[:5]}. Build it on the same variables with the same options first."
        )
    given = {name: to_host(getattr(sources[name], "value", sources[name])) for name in targets}
    for name, target in targets.items():
        if given[name].shape != target.shape or not np.can_cast(given[name].dtype, target.dtype, "same_kind"):
            raise ArrayError(
                f"{what}: {name!r} must have shape {target.shape} and dtype {target.dtype}. "
                f"Received: shape={given[name].shape}, dtype={given[name].dtype}."
            )
    for name, target in targets.items():
        write(target, given[name])
