"""Whether a saved state fits an optimizer: all of it, or what of it.

Nothing is written here: what comes back has been checked, so that loading is all or nothing. What does not fit would be
read by machine code that trusts it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .arrays.homes import Array
from .errors import ArrayError
from .saving import REMEDY, VARIABLES, Opened, Progress, check_store, count, is_real, number, on_host


class Own(NamedTuple):
    """What an optimizer has room for.

    slots:        by name, and the variables' values, if they are wanted, too.
    names:        of the variables, as slots begin with them.
    accumulators: for each variable, the names of the slots in which it adds gradients up, if it does.
    now, usual:   how far the variables are, and what is to be supposed where a state does not say it.
    """

    slots: Mapping[str, Array]
    names: Sequence[str]
    accumulators: Sequence[Sequence[str]]
    now: Progress
    usual: Progress


class Fitted(NamedTuple):
    """What of a state fits: host arrays of the slots' shapes and dtypes, and how far variables are.

    unfit: why something of the state, or of the optimizer, was left out, by its name.
    """

    given: dict[str, Array]
    progress: Progress
    unfit: dict[str, str]


def fitted(state: Opened, own: Own, others: Sequence[str]) -> Fitted:
    """All of a state. Raises ArrayError where anything does not fit.

    others: options that differ, which may be why it does not.
    """
    given = as_targets(own.slots, state.slots, "the state", others)
    places = _places(state, own)
    unknown = sorted({*(state.names or ())} - {*own.names})
    if None in places or unknown:
        lacking = [name for name, place in zip(own.names, places, strict=True) if place is None]
        raise ArrayError(
            f"the state is of other variables. Received: without {lacking[:5]}, with unknown {unknown[:5]}. "
            "Build the optimizer on the variables that it was saved with first."
        )
    windows, started = _progress(state, own)
    chosen = [place for place in places if place is not None]
    opened = [windows[place] for place in chosen]
    _check_windows(opened, own, state.calls)
    was_started = own.usual.started if started is None else [started[place] for place in chosen]
    return Fitted(given, Progress(opened, was_started, state.skipped), {})


def fitted_in_part(state: Opened, own: Own) -> Fitted:
    """What fits of a state. Raises ArrayError where it makes no sense in itself.

    A variable's window is taken with all that was added up in it, or not at all.
    """
    if state.names is None and on_host(state.window, "'window'").shape != (len(own.names),):  # of whom, nothing says
        state = state._replace(names=[], window=np.zeros(0, bool), started=None)
    surplus = {*state.slots, *(state.names or ())} - {*own.slots, *own.names}
    unfit = dict.fromkeys(surplus, "not here")
    given: dict[str, Array] = {}
    for name, target in own.slots.items():
        try:
            given[name] = _fitting(state.slots[name], target, f"{name!r} in the state")
        except KeyError:
            unfit[name] = "not in the state"
        except ArrayError as problem:
            unfit[name] = str(problem)
    saved_windows, saved_started = _progress(state, own)
    windows, started = [*own.now.windows], [*(own.now.started or own.usual.started or ())]
    for i, place in enumerate(_places(state, own)):
        sums = own.accumulators[i]
        if place is not None and started:
            started[i] = started[i] if saved_started is None else saved_started[place]
        if place is not None and all(name in given for name in sums):
            windows[i] = saved_windows[place] and bool(sums)
            continue
        if place is None:
            unfit[own.names[i]] = "not among the state's variables"
        for name in sums:
            if given.pop(name, None) is not None:
                unfit[name] = "left out with the rest of its window"
    _check_windows(windows, own, state.calls)
    return Fitted(given, Progress(windows, started, state.skipped), dict(sorted(unfit.items())))


def from_numbered(
    slots: Mapping[str, Array], store: Mapping[str, Any], has_rate: bool, what: str = "store"
) -> tuple[dict[str, Array], int, float | None]:
    """What a store (or `what` else) with keys "0", "1", ... has for `slots`, calls and learning rate.

    Raises ArrayError.
    """
    check_store(store, f"the {what}")
    values = _in_order(store)
    head = 2 if has_rate else 1
    if len(values) != head + len(slots):
        raise ArrayError(
            f"this optimizer has {head + len(slots)} variables. Received: a {what} of {len(values)}. "
            "Build it on the same variables with the same options first."
        )
    calls = count(values[0], "iteration")
    rate = learning_rate_in(values[1], f"the {what}") if has_rate else None
    return as_targets(slots, dict(zip(slots, values[head:], strict=True)), f"the {what}"), calls, rate


def _in_order(store: Mapping[str, Any]) -> list[Any]:
    try:
        return [store[str(i)] for i in range(len(store))]
    except KeyError as missing:
        raise ArrayError(f"a saved optimizer has keys '0', '1', ... Received: no key {missing}.") from None


def learning_rate_in(value: Any, what: str) -> float:
    """A learning rate read from a saved state. Raises ArrayError unless it is one finite number."""
    found = number(value, f"{what}'s learning rate")
    if not math.isfinite(found):
        raise ArrayError(f"{what}'s learning rate must be one finite number. Received: {value!r}. {REMEDY}")
    return float(found)


def _places(state: Opened, own: Own) -> list[int | None]:
    """Where in the state each variable is; None if it is not there. States of earlier formats have no names."""
    if state.names is None:
        return [*range(len(own.names))]
    at = {name: place for place, name in enumerate(state.names)}
    return [at.get(name) for name in own.names]


def _progress(state: Opened, own: Own) -> tuple[list[bool], list[bool] | None]:
    """How far the state's variables are, in its own order. Raises ArrayError unless it says so for each."""
    length = len(own.names if state.names is None else state.names)
    started = None if state.started is None else _truths(state.started, "'started'", length)
    return _truths(state.window, "'window'", length), started


def _check_windows(windows: Sequence[bool], own: Own, calls: int) -> None:
    """Raise ArrayError where gradients cannot have been added up.

    `calls` says little: `gradient_accumulation_steps` may have been another number when those calls were made, so that
    a window can be open, or not, after any number of them but 0.
    """
    opened = [i for i, window in enumerate(windows) if window]
    if not all(own.accumulators[i] for i in opened):
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


def _truths(value: Any, what: str, length: int) -> list[bool]:
    """So many truths. Raises ArrayError for anything else."""
    truths = on_host(value, what)
    if truths.dtype != bool or truths.shape != (length,):
        raise ArrayError(
            f"{what} must have shape ({length},) and dtype bool. "
            f"Received: shape={truths.shape}, dtype={truths.dtype}. {REMEDY}"
        )
    return [bool(truth) for truth in truths]


def as_targets(
    targets: Mapping[str, Array], sources: Mapping[str, Any], what: str, others: Sequence[str] = ()
) -> dict[str, Array]:
    """Sources as host arrays of the targets' shapes and dtypes. Raises ArrayError where one is missing or unfit."""
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
    array = on_host(value, what)
    are_codes = target.dtype.kind in "iu"
    if array.shape != target.shape or not is_real(array.dtype) or (are_codes and array.dtype != target.dtype):
        raise ArrayError(
            f"{what} must have shape {target.shape} and dtype {target.dtype}. "
            f"Received: shape={array.shape}, dtype={array.dtype}. {REMEDY}"
        )
    return array.astype(target.dtype, copy=False)


def wanted_variables(state: Opened, wanted: bool | None) -> tuple[Opened, bool]:
    """The state with or without its variables' values, and whether it has them; by default it is as it is.

    Raises ArrayError where they are wanted, and are not there.
    """
    prefix = f"{VARIABLES}/"
    has = any(name.startswith(prefix) for name in state.slots)
    if wanted and not has:
        raise ArrayError(
            "the state has no values of variables. Received: variables=True. Save it with variables=True, or restore "
            "the variables from where they were saved."
        )
    if has and wanted is False:
        slots = {name: value for name, value in state.slots.items() if not name.startswith(prefix)}
        return state._replace(slots=slots), False
    return state, has
