"""Members: the variables that an optimizer was built on, and how a caller's arrays are matched to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays.checks import NAMES, adopted, check_gradient, check_variable, check_writable, for_variable
from .arrays.homes import Array, Home, home_of, is_array, keeps_its_memory
from .arrays.memory import Memory, same_memory
from .arrays.parts import is_complex
from .codegen.dtypes import BYTE, light_name
from .codegen.memo import derived
from .codegen.pieces import COPY, ERROR
from .errors import ArrayError
from .overlaps import memory_of, written
from .readers import Readers, Resolved
from .variable import Variable

if TYPE_CHECKING:
    from .codegen.backends.contract import Read, Reader

Variables = Mapping[str, Any] | Sequence[Any]
"""Arrays or Variables: a list, or a dict from names to them; from callers also nested, see `tree`."""


@dataclass
class Member:
    """A variable that an optimizer updates.

    name, path: as the variable's own; slots are called `<path with _>_<slot>`.
    array:      what is updated; `given` is the caller's object for the same memory (a torch tensor, say), or itself.
    slots:      its state, each slot of the shape and dtype of the array, or one float64.
    works_in_place: whether its constraint is known to change the array that it is passed, rather than to return one.
    is_of_parts: whether the array is of the parts of complex numbers; copies of it are, too.
    home, place, dtype: which kind of array it is, where it lies, and the name of its dtype.
    """

    name: str
    path: str
    array: Array
    variable: Variable | None
    given: Any = None
    slots: dict[str, Array] = field(default_factory=dict)
    works_in_place: bool = False
    is_of_parts: bool = False
    home: Home = field(init=False, repr=False)
    place: str = field(init=False)
    dtype: str = field(init=False)

    def __post_init__(self) -> None:
        self.home = home_of(self.caller_s)
        self.place, self.dtype = self.home.place(self.array), NAMES[self.array.dtype]
        self._built = self._layout(self.array)
        self._begins = {"parameter": self._built[0]}
        self.scratch: dict[str, Array] = {}  # see `scratch.py`

    def address(self, name: str = "parameter") -> int:
        """Where the array (as it was built), or the slot of this name, begins."""
        begin = self._begins.get(name)
        if begin is None:
            begin = self._begins[name] = self.home.address(self.slots[name])
        return begin

    def named(self, name: str) -> Array:
        """Its array, "parameter", or the slot of this name."""
        return self.array if name == "parameter" else self.slots[name]

    def _layout(self, array: Array) -> tuple[int, tuple[int, ...], tuple[int, ...], np.dtype[Any]]:
        return self.home.address(array), array.shape, array.strides, array.dtype

    @property
    def caller_s(self) -> Any:
        """The caller's own object for the array, or the array itself."""
        return self.array if self.given is None else self.given

    def is_as_built(self) -> bool:
        """Whether the caller's object stands for the same memory, in the same shape and dtype, as when it was built."""
        seen, _ = adopted(self.caller_s, f"variable {self.name!r}", for_variable)
        return self._layout(seen) == self._built

    def refuse_changed(self) -> None:
        """Raise ArrayError unless it is as built."""
        if not self.is_as_built():
            raise ArrayError(
                f"variable {self.name!r} has other memory than when the optimizer was built, or another shape or "
                f"dtype. Received: {type(self.caller_s).__name__} that was changed or pointed elsewhere. "
                "Make a new optimizer for it."
            )

    def with_slots(self, slots: dict[str, Array]) -> Member:
        """The same variable, as it was built, with these slots."""
        other = object.__new__(Member)
        other.__dict__.update(self.__dict__, slots=slots, _begins={"parameter": self._built[0]})
        return other

    @property
    def may_be_complex(self) -> tuple[bool, ...]:
        """Whether gradients may, or must, be complex: as the caller's object; of parts that are arrays both will do."""
        return (False, self.is_of_parts) if self.home.keeps_memory(self.caller_s) else (self.is_of_parts,)

    @property
    def prefix(self) -> str:
        """The first part of its slots' names."""
        return self.path.replace("/", "_")

    @property
    def light(self) -> tuple[tuple[str, str], ...]:
        """The slots that are kept in fewer bits than the variable, and what lies beside it, each with its storage."""
        slots = [(name, light_name(one.dtype)) for name, one in self.slots.items()]
        return tuple([(name, BYTE if name == ERROR else kept) for name, kept in slots if kept])

    @property
    def accumulates(self) -> bool:
        """Whether gradients can be added up for it; a window can be open only then."""
        return "gradient_accumulator" in self.slots

    def __getstate__(self) -> dict[str, Any]:
        slots = {name: array for name, array in self.slots.items() if name != COPY}  # which is the caller's own
        return {**self.__dict__, "slots": slots, "given": None, "home": None, "_begins": None, "scratch": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()


def track(variables: Variables | Iterable[Any]) -> list[Member]:
    """Check the variables and list them. Raises ArrayError, naming the culprit, for arrays that cannot be updated."""
    if isinstance(variables, Variable | str) or (
        not isinstance(variables, Mapping | list | tuple) and is_array(variables)
    ):
        raise ArrayError(
            f"variables are a list or a dict of arrays. Received: one {type(variables).__name__}. Pass [variable]."
        )
    members = [_member(i, key, value) for i, (key, value) in enumerate(_with_names(variables))]
    _refuse_shared(members)
    _tell_apart(members)
    return members


def _with_names(variables: Variables | Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    return iter(variables.items()) if isinstance(variables, Mapping) else ((None, one) for one in variables)


def _member(i: int, key: object, value: object) -> Member:
    variable = value if isinstance(value, Variable) else None
    if key is not None and not isinstance(key, str):
        raise ArrayError(f"names of variables are strings. Received: key {key!r}.")
    name = key or (f"variable_{i}" if variable is None else variable.name)
    path = key or (name if variable is None else variable.path)
    given = value if variable is None else variable.value
    of_parts = is_complex(given) if variable is None else variable.is_of_parts
    return Member(name, path, check_variable(given, name), variable, given, is_of_parts=of_parts)


def _refuse_shared(members: Sequence[Member]) -> None:
    seen: dict[int, str] = {}
    for one in members:
        if id(one.caller_s) in seen:
            raise ArrayError(
                f"variable {one.name!r} is in the list twice (also as {seen[id(one.caller_s)]!r}). "
                f"Received: the same array of shape {one.array.shape}. Pass each variable once."
            )
        seen[id(one.caller_s)] = one.name
    pair = memory_of([(one, "parameter") for one in members]).overlapping_pair()
    if pair:
        first, second = (members[i].name for i in pair)
        raise ArrayError(
            f"variables {first!r} and {second!r} share memory, so that one update would destroy the other's. "
            "Received: overlapping arrays. Pass only the array that holds both, or make one of them "
            "anew before the optimizer is built, and use the new array from then on."
        )


def _tell_apart(members: Sequence[Member]) -> None:
    """Give variables of equal paths paths of their own ("variable", "variable_1"), so that state has unique names."""
    taken: set[str] = set()
    tried: dict[str, int] = {}  # where to go on: thousands of variables may have one name
    for one in members:
        path, prefix = one.path, one.prefix
        i = tried.get(prefix, 0)
        while one.prefix in taken:
            i += 1
            one.path = f"{path}_{i}"
        tried[prefix] = i
        taken.add(one.prefix)


class Members:
    """The built variables, ready for questions: which one is this array, may this gradient be used."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members

    @derived
    def _stay(self) -> bool:
        return all(one.given is None or one.home.keeps_memory(one.given) for one in self.members)

    @derived
    def _position(self) -> dict[int, int]:
        given = {id(one.given): i for i, one in enumerate(self.members) if one.given is not None}
        return given | {id(one.array): i for i, one in enumerate(self.members)}

    def positions_of(self, variables: Variables) -> list[int]:
        """Where each of the caller's variables is in the built list. Raises ArrayError for unknown or repeated ones."""
        positions = [self._position_of(key, variable) for key, variable in _with_names(variables)]
        for i, position in enumerate(positions) if len(set(positions)) < len(positions) else ():
            if position in positions[:i]:
                raise ArrayError(
                    f"variable {self.members[position].name!r} is in this call twice. Received: {len(positions)} "
                    "variables. Add its gradients up and pass it once."
                )
        return positions

    @derived
    def _memory(self) -> Memory:
        """Of all that a step may write."""
        return memory_of(written(self.members))

    def read(self, gradients: Sequence[Any], what: str = "gradient") -> Resolved:
        """Each variable's gradient (or `what` else it is), after all checks. Raises ArrayError for a bad one."""
        dtypes = tuple([NAMES.get(getattr(gradient, "dtype", None)) for gradient in gradients])
        read = self.read_at_once(gradients, dtypes)
        return self._read_each(gradients, what) if read is None else Resolved(gradients, read.addresses, dtypes, read)

    def read_at_once(self, gradients: Sequence[Any], dtypes: tuple[str | None, ...]) -> Read | None:
        """What `read` finds, at once, if all are ordinary arrays of these dtypes; None: `read` must look at each."""
        return None if self._reader is None else self._reader.read(gradients, dtypes)

    @derived
    def _reader(self) -> Reader | None:
        """What looks at all gradients at once; None where there are arrays that can only be looked at one by one."""
        homes: dict[Home, list[int]] = {}
        if self._stay or all(one.is_as_built() for one in self.members):  # readers take what they see first as built
            for position, one in enumerate(self.members):
                homes.setdefault(one.home, []).append(position)
        given, spans = [one.caller_s for one in self.members], (self._memory.begins, self._memory.ends)
        readers = [(positions, home.reader([given[i] for i in positions], *spans)) for home, positions in homes.items()]
        known = [(positions, reader) for positions, reader in readers if reader is not None]
        if len(known) < len(readers) or not known:
            return None
        return known[0][1] if len(known) == 1 else Readers(known)

    def _read_each(self, gradients: Sequence[Any], what: str) -> Resolved:
        for one in self.members:
            check_writable(one.caller_s, one.name, one.home)
            one.refuse_changed()
        pairs = zip(gradients, self.members, strict=True)
        found = [(0, None) if gradient is None else self._read(gradient, one, what) for gradient, one in pairs]
        dtypes = tuple(dtype for _, dtype in found)
        read = self.read_at_once(gradients, dtypes)  # torch's dtypes have no names before they are adopted
        addresses = np.array([address for address, _ in found], np.int64) if read is None else read.addresses
        return Resolved(gradients, addresses, dtypes, read)

    def keep_their_memory(self, gradients: Sequence[Any]) -> bool:
        """Whether all gradients, and the variables, stand for the same memory as long as they live."""
        return self._stay and all(map(keeps_its_memory, gradients))

    def find(self, array: object) -> int | None:
        """The position of an array, itself or a full view of it, in the built list."""
        position = self._position.get(id(array))
        if position is not None and array is not self.members[position].array:
            position = position if self.members[position].is_as_built() else None
        if position is None and is_array(array):
            seen, _ = adopted(array, "a variable", for_variable)
            position = next((i for i, one in enumerate(self.members) if same_memory(one.array, seen)), None)
        return position

    def _position_of(self, key: str | None, variable: object) -> int:
        array = variable.value if isinstance(variable, Variable) else variable
        position = self.find(array)
        if position is None:
            known = self._position.get(id(array))
            changed = None if known is None else f"{self.members[known].name!r}, with other memory than when built"
            label = changed or key or getattr(variable, "name", None) or f"of shape {getattr(array, 'shape', None)}"
            raise ArrayError(
                f"Unknown variable: {label}. This optimizer can only be called for the variables it was built with. "
                f"Received: an array that is none of {[one.name for one in self.members][:5]}. "
                "Make a new optimizer for a new set of variables."
            )
        return position

    def _read(self, gradient: object, one: Member, what: str) -> tuple[int, str]:
        """A gradient's address and dtype. Raises ArrayError unless it fits, or if a step writes to its memory."""
        named = f"the {what} of {one.name!r}"
        checked, _, address = check_gradient(gradient, one.array, one.place, named, one.may_be_complex)
        touched = self._memory.touched_by(address, checked.nbytes)
        if touched is not None:
            other, name = written(self.members)[touched]
            whose = f"variable {other.name!r}" if name == "parameter" else f"slot {name!r} of {other.name!r}"
            raise ArrayError(
                f"the {what} of {one.name!r} shares memory with {whose}, which the step writes. "
                f"Received: overlapping arrays. Pass a copy of the {what}."
            )
        return address, NAMES[checked.dtype]
