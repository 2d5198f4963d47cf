"""A view of the state: the slots of each variable, by the names of both; always those of the moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from . import beside
from .arrays.homes import Array, find_home
from .arrays.numpy import HOME as NUMPY
from .codegen.dtypes import FINE
from .codegen.pieces import COPY, ERROR
from .members import Member
from .nearest import meant
from .plural import counted
from .state import State
from .storages import is_scale

ALL = "all"
"""The key of slots over all variables."""

MOST_LINES = 12
"""Variables that are listed one by one."""


class Slots(Mapping[str, Array]):
    """The slots of one variable, or those over all, by name.

    Arrays share memory with the optimizer: they change with it, and NumPy's cannot be written here. What adds gradients
    up is a new array of zeros while nothing is added up; what is kept in fewer bits is decoded, as an array of its own.
    """

    def __init__(self, path: str, array_of: Callable[[str], Array], arrays: Mapping[str, Array]) -> None:
        self._path, self._array_of, self._arrays = path, array_of, arrays

    def __getitem__(self, name: str) -> Array:
        if name not in self._arrays:
            known = ", ".join(self._arrays) or "none"
            raise KeyError(f"{self._path!r} has no slot {name!r}; its slots: {known}.{_near(name, self._arrays)}")
        return _read_only(self._array_of(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        listed = (f"{name} {array.shape} {array.dtype}" for name, array in self._arrays.items())
        return f"<slots of {self._path!r}: {', '.join(listed) or 'none'}>"


class StateView(Mapping[str, Slots]):
    """Slots by the paths of variables: `optimizer.state["dense/kernel"]["velocity"]`; those over all under "all"."""

    def __init__(self, now: Callable[[], State]) -> None:
        self._now = now
        self._known: tuple[Any, dict[str, int]] = None, {}

    def __getitem__(self, path: str) -> Slots:
        state = self._now()
        places = self._places(state)
        if path not in places:
            built = f"; its variables: {[*places][:5]}." if state.built else ": it is not built, call build() first."
            raise KeyError(f"this optimizer has no variable {path!r}{built}{_near(path, places)}")
        position = places[path]
        own = _shown(state.variables[position]) if position >= 0 else {}
        every = {**own, **state.shared} if path == ALL else own
        return Slots(path, lambda name: _seen(state, position, name, every[name]), every)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places(self._now()))

    def __len__(self) -> int:
        return len(self._places(self._now()))

    def __repr__(self) -> str:
        state = self._now()
        lines = [f"{one.path} {one.array.shape} {one.dtype}: {_listed(one)}" for one in state.variables[:MOST_LINES]]
        lines += [f"{ALL}: {', '.join(state.shared)}"] if state.shared else []
        more = len(state.variables) - MOST_LINES
        lines += [f"and {counted(more, 'more variable')}"] if more > 0 else []
        return "\n  ".join([f"<state of {sizes(state)}>", *lines])

    def _places(self, state: State) -> dict[str, int]:
        """Where each variable is; found once for each set of variables."""
        members, places = self._known
        if members is not state.members:
            places = {one.path: i for i, one in enumerate(state.variables)}
            if state.shared:
                places.setdefault(ALL, -1)
            self._known = state.members, places
        return places


def _listed(one: Member) -> str:
    """A variable's slots, and what they are kept in where that is not its dtype."""
    light = dict(one.light) | {"parameter": FINE}
    return ", ".join(f"{name} in {light[name]}" if name in light else name for name in _shown(one)) or "no slots"


def _shown(one: Member) -> dict[str, Array]:
    """A variable's slots, without their scales; and itself, if it is more than its array shows; no copies."""
    shown = {name: array for name, array in one.slots.items() if name not in (ERROR, COPY) and not is_scale(name)}
    return shown | ({"parameter": one.array} if ERROR in one.slots else {})


def sizes(state: State) -> str:
    """How large a state is, in words."""
    if not state.built:
        return "0 variables"
    own = [(name, array) for one in state.variables for name, array in one.slots.items() if name != COPY]
    slots = [*state.shared.values(), *(array for name, array in own if not is_scale(name))]
    parameters = sum(one.array.size for one in state.variables)
    nbytes = sum(array.nbytes for array in [*state.shared.values(), *(array for _, array in own)])
    each = f", {nbytes / parameters:.3g} a parameter" if any(one.light for one in state.variables) else ""
    return (
        f"{counted(len(state.variables), 'variable')} of {counted(parameters, 'parameter')}, "
        f"{counted(len(slots), 'slot')} of {counted(nbytes, 'byte')}{each}"
    )


def _seen(state: State, position: int, name: str, array: Array) -> Array:
    """A slot as a reader sees it, or the variable itself with all its bits."""
    return beside.whole(state.variables[position]) if name == "parameter" else state.seen(name, position, array)


def _read_only(array: Array) -> Array:
    """The same memory; NumPy's in a view that cannot be written."""
    if find_home(array) is not NUMPY:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def _near(name: object, known: Mapping[str, Any]) -> str:
    return meant(name, known) if isinstance(name, str) else ""
