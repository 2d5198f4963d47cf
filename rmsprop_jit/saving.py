"""State to and from dicts: by name and versioned, or numbered in Keras's order (to move it to and from Keras).

Nothing is written here: what comes back has been checked, so that loading is all or nothing. A state may come from
anywhere, and what does not fit would be read by machine code that trusts it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .arrays.homes import Array, to_host
from .codegen.memory import is_masked
from .errors import ArrayError

FORMAT_VERSION = 2
"""Of the dict that `Optimizer.state_dict` returns. A dict of format 1 has no options; any other is refused."""

REMEDY = "Load a state as it was saved."

MOST_CALLS = 2**63 - 1
"""What a saved count has room for."""


class Opened(NamedTuple):
    """A state as far as it can be read without knowing what it is for.

    options: as plain values; None if it has none. `window`, `started` (None if it has none) and `slots` are still to be
             checked.
    """

    options: dict[str, Any] | None
    calls: int
    window: Any
    started: Any
    slots: dict[str, Any]


class Progress(NamedTuple):
    """How far each variable is.

    windows: whether gradients have been added up for it.
    started: whether it was updated before; None for all where the rule does not ask for that.
    """

    windows: Sequence[bool]
    started: Sequence[bool] | None

    @property
    def cells(self) -> list[int]:
        """As a ledger keeps it."""
        return [int(is_set) for each in (self.windows, self.started or [False] * len(self.windows)) for is_set in each]


def named(slots: Mapping[str, Array], calls: int, progress: Progress, options: str) -> dict[str, Array]:
    """The state as a dict of NumPy arrays; `options` is a text."""
    started = {} if progress.started is None else {"started": np.array(progress.started, bool)}
    return {
        "format_version": np.array(FORMAT_VERSION),
        "iteration": np.array(calls, np.int64),
        "window": np.array(progress.windows, bool),
        **started,
        "options": np.array(options),
        **slots,
    }


def opened(state: Mapping[str, Any]) -> Opened:
    """What is in a dict that `named` has made. Raises ArrayError if that did not make it."""
    _check_store(state, "the state")
    rest = dict(state)
    strange = [key for key in rest if not isinstance(key, str)]
    if strange:
        raise ArrayError(f"the keys of a state are strings. Received: key {strange[0]!r}. {REMEDY}")
    version = _count(_taken(rest, "format_version"), "format_version")
    if version not in (1, FORMAT_VERSION):
        raise ArrayError(f"a state of format {FORMAT_VERSION} or 1 is needed. Received: format_version={version}.")
    calls = _count(_taken(rest, "iteration"), "iteration")
    window, started = _taken(rest, "window"), rest.pop("started", None)
    return Opened(None if version == 1 else _options(_taken(rest, "options")), calls, window, started, rest)


def _taken(rest: dict[str, Any], key: str) -> Any:
    """An entry, which is then no longer there. Raises ArrayError if it never was."""
    if key not in rest:
        raise ArrayError(f"the state has no {key!r}. Received: keys {sorted(rest)[:5]}. {REMEDY}")
    return rest.pop(key)


def _options(value: Any) -> dict[str, Any]:
    """The options in a state. Raises ArrayError unless they are the text of a JSON object."""
    import json  # not light, and only wanted where a state is loaded

    array = value if isinstance(value, str) else _on_host(value, "'options'")
    try:
        options = json.loads(str(array) if np.asarray(array).dtype.kind == "U" else "")
    except (ValueError, RecursionError):  # the latter of brackets alone
        options = None
    if not isinstance(options, dict):
        raise ArrayError(f"'options' must be the text of a JSON object. Received: {value!r}. {REMEDY}")
    return options


def fitted(
    state: Opened, slots: Mapping[str, Array], can_open: Sequence[bool], usual: Progress, others: Sequence[str]
) -> tuple[dict[str, Array], Progress]:
    """What `state` has for `slots`, as host arrays of their shapes and dtypes, and how far its variables are.

    Raises ArrayError where it does not fit.

    can_open: for each variable, whether it adds gradients up at all.
    usual:    what is to be supposed where the state does not say it.
    others:   options that differ, which may be why it does not fit.
    """
    given = _fitted(slots, state.slots, "the state", others)
    windows = _windows(state.window, can_open, state.calls)
    started = usual.started if state.started is None else _truths(state.started, "'started'", len(can_open))
    return given, Progress(windows, started)


def from_numbered(
    slots: Mapping[str, Array], store: Mapping[str, Any], has_rate: bool
) -> tuple[dict[str, Array], int, float | None]:
    """What a store with keys "0", "1", ... has for `slots`, calls and learning rate. Raises ArrayError."""
    _check_store(store, "the store")
    values = _in_order(store)
    head = 2 if has_rate else 1
    if len(values) != head + len(slots):
        raise ArrayError(
            f"this optimizer has {head + len(slots)} variables. Received: a store of {len(values)}. "
            "Build it on the same variables with the same options first."
        )
    calls = _count(values[0], "iteration")
    rate = _rate(values[1]) if has_rate else None
    return _fitted(slots, dict(zip(slots, values[head:], strict=True)), "the store"), calls, rate


def _check_store(store: object, what: str) -> None:
    """Raise ArrayError unless it works like a dict; Keras's stores do without being Mappings."""
    if not (hasattr(store, "keys") and hasattr(store, "__getitem__") and hasattr(store, "__len__")):
        raise ArrayError(f"{what} must be a dict. Received: {type(store).__name__}. {REMEDY}")


def _in_order(store: Mapping[str, Any]) -> list[Any]:
    try:
        return [store[str(i)] for i in range(len(store))]
    except KeyError as missing:
        raise ArrayError(f"a saved optimizer has keys '0', '1', ... Received: no key {missing}.") from None


def _windows(value: Any, can_open: Sequence[bool], calls: int) -> list[bool]:
    """For which variables gradients have been added up. Raises ArrayError where they cannot have been.

    `calls` says little: `gradient_accumulation_steps` may have been another number when those calls were made, so that
    a window can be open, or not, after any number of them but 0.
    """
    windows = _truths(value, "'window'", len(can_open))
    opened = [i for i, window in enumerate(windows) if window]
    if not all(can_open[i] for i in opened):
        raise ArrayError(
            "the state has added up gradients of variables of which this optimizer adds none up. "
            f"Received: window=True for the variables at {opened[:5]}. "
            "Set `gradient_accumulation_steps` as it was when the state was saved."
        )
    if opened and calls == 0:
        raise ArrayError(
            "a state cannot have added up gradients before the first call. "
            f"Received: iteration=0, window=True for the variables at {opened[:5]}. {REMEDY}"
        )
    return windows


def _truths(value: Any, what: str, count: int) -> list[bool]:
    """So many truths. Raises ArrayError for anything else."""
    truths = _on_host(value, what)
    if truths.dtype != bool or truths.shape != (count,):
        raise ArrayError(
            f"{what} must have shape ({count},) and dtype bool. "
            f"Received: shape={truths.shape}, dtype={truths.dtype}. {REMEDY}"
        )
    return [bool(truth) for truth in truths]


def _on_host(value: Any, what: str) -> Array:
    """A saved value as a NumPy array of its own. Raises ArrayError for what cannot be one."""
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


def _is_real(dtype: np.dtype[Any]) -> bool:
    """Whether values of a dtype are real numbers: not truth values, text, dates, complex numbers or objects."""
    return dtype.kind != "b" and np.can_cast(dtype, np.float64, "same_kind")


def _number(value: Any, what: str) -> int | float:
    """One number read from a saved state, integers exactly; nan for anything else."""
    array = _on_host(value, what)
    if array.size != 1 or not _is_real(array.dtype):
        return math.nan
    return int(array.item()) if array.dtype.kind in "iu" else float(array.astype(np.float64).item())


def _count(value: Any, what: str) -> int:
    """A counter read from a saved state. Raises ArrayError unless it is a whole number that can be saved again."""
    number = _number(value, what)
    if not (0 <= number <= MOST_CALLS and number == math.floor(number)):
        raise ArrayError(f"{what} must be a whole number >= 0 and < 2**63. Received: {value!r}. {REMEDY}")
    return int(number)


def _rate(value: Any) -> float:
    """A learning rate read from a saved state. Raises ArrayError unless it is one finite number."""
    number = _number(value, "the store's learning rate")
    if not math.isfinite(number):
        raise ArrayError(f"the store's learning rate must be one finite number. Received: {value!r}. {REMEDY}")
    return float(number)


def _fitted(
    targets: Mapping[str, Array], sources: Mapping[str, Any], what: str, others: Sequence[str] = ()
) -> dict[str, Array]:
    missing, surplus = targets.keys() - sources.keys(), sources.keys() - targets.keys()
    if missing or surplus:
        why = f"; saved with {', '.join(others)}" if others else ""
        remedy = ', or pass options="load" to take over the saved ones' if others else ""
        raise ArrayError(
            f"{what} does not fit this optimizer. Received: without {sorted(missing)[:5]}, with unknown "
            f"{sorted(surplus)[:5]}{why}. Build it on the same variables with the same options first{remedy}."
        )
    return {name: _fitting(sources[name], target, f"{what}: {name!r}") for name, target in targets.items()}


def _fitting(value: Any, target: Array, what: str) -> Array:
    """A saved slot as it will be written, rounded too: NumPy may warn of that, and a warning may be an error."""
    array = _on_host(value, what)
    if array.shape != target.shape or not _is_real(array.dtype):
        raise ArrayError(
            f"{what} must have shape {target.shape} and dtype {target.dtype}. "
            f"Received: shape={array.shape}, dtype={array.dtype}. {REMEDY}"
        )
    return array.astype(target.dtype, copy=False)
