"""Transfers: a state is copied to host memory as it is at one moment, and written as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from . import beside
from .arrays.homes import Array, address_of, place_of
from .codegen import backends
from .codegen.backends.entries import Span
from .flags import FIRST
from .saving import VARIABLES, Progress
from .state import State
from .versions import count


def read(state: State, with_values: bool = False) -> tuple[dict[str, Array], int, Progress]:
    """Copies of all slots in host memory, the calls made and how far each variable is, all of one moment.

    with_values: whether the variables are copied, too.

    What is due of the last call is done first; where a constraint fails, the averages are those before it.
    Raises BackendError if a call was torn, OptionError while the variables hold their averaged weights.
    """
    named = [*state.slots(), *(state.values() if with_values else ())]
    while True:
        state.ledger.refuse_held()
        state.ledger.wait_for_marked()
        calls = state.ledger.calls  # asked for before what is due is done: no call came since if it is the same
        due = state.settled_for_reading()
        copies, counts, progress = _read(state, named)
        if {calls} == set(counts) and not state.ledger.torn and state.ledger.due == due:
            break  # no call that Python runs came between
    added_up, count, (skipped, *cells) = state.accumulators, len(state.variables), progress
    windows = [bool(cell) and one.accumulates for cell, one in zip(cells[:count], state.variables, strict=True)]
    for name, slot, position, _ in named:
        if slot in added_up and not windows[position]:
            copies[name] = np.zeros_like(copies[name])
    started = [bool(cell) for cell in cells[count:]] if FIRST in state.rule.decided_by_step else None
    return {name: copies[name] for name, _, _, _ in named}, counts[0], Progress(windows, started, skipped)


def _read(
    state: State, named: Sequence[tuple[str, str, int, Array]]
) -> tuple[dict[str, Array], list[int], Sequence[int]]:
    copies: dict[str, Array] = {}
    counts, progress = [state.ledger.calls], state.ledger.progress.tolist()
    for place, own in _by_place(named).items():
        spans = [Span(array, address_of(array)) for array in own.values()]
        read_here, calls, seen = backends.of(place).read(state.ledger, spans)
        copies |= dict(zip(own, read_here, strict=True))
        counts.append(calls)
        progress = seen.tolist()
    return copies, [*counts, state.ledger.calls], progress


def write(state: State, given: Mapping[str, Array], calls: int, progress: Progress, done: Array | None = None) -> None:
    """Replace the count, progress, and the slots and variables in `given`: host arrays of their shapes and dtypes.

    done: an array of one zero, which becomes 1 where all else does: in the same compiled call, in host memory.
    """
    pairs: dict[str, list[tuple[Span, Array]]] = {member.place: [] for member in state.variables}
    wanted = [one for one in (*state.slots(), *state.values()) if one[0] in given]
    for place, own in _by_place(wanted).items():
        spans = [(Span(array, address_of(array)), given[name]) for name, array in own.items()]
        pairs[place] = [(span, np.ascontiguousarray(source)) for span, source in spans]
    values = {one.path: given.get(f"{VARIABLES}/{one.path}") for one in state.variables}
    for one in state.variables:
        if (value := values[one.path]) is not None:
            pairs[one.place] += beside.loaded(one, value)
    count([one for one in state.variables if values[one.path] is not None])
    if done is not None:
        pairs.setdefault("cpu", []).append((Span(done, address_of(done)), np.ones_like(done)))
    backends.write(state.ledger, pairs, calls, progress.cells)
    beside.show([one for one in state.variables if values[one.path] is None], state.ledger)


def _by_place(named: Iterable[tuple[str, str, int, Array]]) -> dict[str, dict[str, Array]]:
    places: dict[str, dict[str, Array]] = {}
    for name, _, _, array in named:
        places.setdefault(place_of(array), {})[name] = array
    return places
