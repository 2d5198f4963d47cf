"""Buckets: variables of one place, dtype, gradient dtype and set of flags share a program and a table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import codegen
from .arrays.homes import Array, Int64, address_of
from .arrays.parts import WHOLE
from .codegen import Rule, Slot, backends
from .codegen.backends.entries import NO_ARRAYS, Marks
from .codegen.kinds import KEY
from .errors import ArrayError
from .flags import Flags, looks_at_shapes
from .members import Member
from .rules.around import step_of
from .scratch import lend
from .shared import Shared
from .storages import keys_of
from .versions import counted

if TYPE_CHECKING:
    import numpy.typing as npt

    from .codegen import Program
    from .codegen.backends.contract import BackendOptions, Launch, Table
    from .codegen.backends.ledger import Ledger

    Float64 = npt.NDArray[np.float64]

Brought = tuple[str | None, ...]
"""The dtypes of a variable's gradient and of the rule's further inputs, in their order; None of what is not there."""

Part = Callable[[Rule], Rule]
"""What programs are made of: the whole step, or what else is computed of variables and slots."""

Light = tuple[tuple[str, str], ...]
"""The slots that are kept in fewer bits than the variable, each with its storage."""

Kind = tuple[Flags, Brought]
"""What a variable does in a call: its flags, and what it is brought."""


def program_of(
    rule: Rule,
    flags: Collection[str],
    dtype: str,
    brought: Brought = (None,),
    part: Part = step_of,
    light: Light = (),
) -> Program:
    """The program of the whole step, or of another part of a rule, for what is brought in the own dtype or another."""
    inputs = {name: kept for name, kept in zip(rule.inputs, brought[1:], strict=False) if kept is not None}
    return codegen.specialize(part(rule), flags, dtype, brought[0], inputs, dict(light))


def explain_step(
    rule: Rule,
    flags: Collection[str],
    dtype: str,
    form: str,
    options: BackendOptions | None = None,
    part: Part = step_of,
    light: Light = (),
) -> str:
    """A stage of the compilation of the whole step, as text."""
    return codegen.explain(part(rule), flags, dtype, form, (options or {}).get("compiler"), slots=dict(light))


def needed_slots(rule: Rule, flags: Flags, dtype: str, part: Part = step_of) -> dict[str, Slot]:
    """The slots that a variable needs, by liveness; those over all are among them."""
    return program_of(rule, flags, dtype, part=part).slots


def inputs_read(rule: Rule, flags: Flags, dtype: str) -> frozenset[str]:
    """The further inputs that the program of a variable reads."""
    if not rule.inputs:
        return frozenset()
    return frozenset(name.removeprefix("x.") for name in program_of(rule, flags, dtype).brought) & rule.inputs.keys()


class Buckets:
    """Some variables with what they do in a call, as one launch.

    kinds: for each position in `members` that takes part, what it does.
    own:   per-tensor numbers, for each position. `shared`: slots over all, by name. `part`: of the rule, what they do.
    """

    def __init__(
        self,
        rule: Rule,
        members: Sequence[Member],
        kinds: Mapping[int, Kind],
        options: BackendOptions,
        own: Mapping[str, Sequence[float]],
        ledger: Ledger | None = None,
        marks: Marks | None = None,
        clock: Any = None,
        shared: Mapping[str, Array] = NO_ARRAYS,
        part: Part = step_of,
    ) -> None:
        tables: dict[str, list[Table]] = {}
        positions: dict[str, list[int]] = {}
        written: list[int] = []
        for (place, dtype, flags, brought, light), group in _grouped(members, kinds).items():
            program = program_of(rule, flags, dtype, brought, part, light)
            tables.setdefault(place, []).append(
                _table(rule, program, place, [members[i] for i in group], options, shared)
            )
            positions.setdefault(place, []).extend(group)
            written += group if "parameter" in program.written else []
        self.order = np.array([i for group in positions.values() for i in group], np.int64)
        self._is_in_order = self.order.tolist() == list(range(len(members)))
        self.programs = [table.program for group in tables.values() for table in group]
        self.reads_update = any("step" in program.hypers for program in self.programs)
        read = {name for program in self.programs for name in program.tensor_hypers}
        own = {**own, **keys_of(member.path for member in members)} if read.intersection(KEY) else own
        self._own = {name: self._in_order(np.array(own[name], np.float64)) for name in read & own.keys()}
        self._by_tensor = sorted(read - own.keys())
        self.shared, self._pointed_at = Shared(self.programs, shared), shared
        if self.shared.stored:
            marks = (marks or Marks())._replace(shared=self.shared.stored)
        if marks is not None and any(program.guard for program in self.programs):
            marks = marks._replace(order=self.order.tolist())
        names = ("gradient", *(f"x.{name}" for name in rule.inputs))
        self.launch: Launch = backends.launch(tables, ledger, marks, clock, names)
        self.written = [members[i] for i in written]
        self.run = counted(self.launch, self.written)

    def prepared(self, addresses: Int64 | None, hypers: Mapping[str, Any] | None, like: Any = None) -> Any:
        """What a call brings: the gradients' addresses, given for all variables, and numbers."""
        own = None if addresses is None else self.ordered(addresses)
        return self.launch.prepared(own, None if hypers is None else self._numbers(hypers), like)

    def _numbers(self, hypers: Mapping[str, Any]) -> Mapping[str, Any]:
        """A step's numbers, vectors as the launch's tensors stand, with those that are its own, and slots over all."""
        vectors = [name for name in self._by_tensor if not isinstance(hypers.get(name, 0.0), int | float)]
        if vectors or self._own:
            hypers = {**hypers, **{name: self._in_order(hypers[name]) for name in vectors}, **self._own}
        return self.shared.beside(hypers)

    def _in_order(self, values: Float64) -> Float64:
        """Numbers that are given for all variables, as the launch's tensors stand."""
        return values if self._is_in_order else values[self.order]

    def ordered(self, addresses: Int64) -> Int64:
        """Addresses that are given for all variables (a row for each kind of array), as the launch's tensors stand."""
        return addresses if self._is_in_order else addresses[..., self.order]

    def send(self, hypers: Mapping[str, Any]) -> None:
        """Numbers for a step that is part of a graph."""
        self.launch.send(self._numbers(hypers))


Group = tuple[str, str, Flags, Brought, Light]


def _grouped(members: Sequence[Member], kinds: Mapping[int, Kind]) -> dict[Group, list[int]]:
    """Positions by place, dtype, flags, dtypes of what is brought, and light slots, in order of the first one."""
    groups: dict[Group, list[int]] = {}
    for position, (flags, brought) in kinds.items():
        member = members[position]
        groups.setdefault((member.place, member.dtype, flags, brought, member.light), []).append(position)
    return groups


def _table(
    rule: Rule,
    program: Program,
    place: str,
    members: Sequence[Member],
    options: BackendOptions,
    shared: Mapping[str, Array],
) -> Table:
    """A table that points at the members' parameters and slots, and at slots over all."""
    arrays = [member.array for member in members]
    shapes = [array.shape for array in arrays]
    refuse_unfit(rule, program, members)
    table = backends.of(place).table(program, [array.size for array in arrays], place, options, shapes)
    lend(table, members)
    for kept in program.arrays:
        if kept.is_common:
            table.point(kept.name, np.full(len(members), address_of(shared[kept.name]), np.int64))
        elif not (kept.is_brought or kept.is_scratch or kept.is_made):
            table.point(kept.name, np.array([member.address(kept.name) for member in members], np.int64))
    return table


def refuse_unfit(rule: Rule, program: Program, members: Sequence[Member]) -> None:
    """Raise ArrayError for variables of which a program cannot tell axes: by the order of elements, or by shape."""
    for member in members if program.is_by_axes or looks_at_shapes(rule) else ():
        if member.is_of_parts:  # which lie along one more
            raise ArrayError(
                f"rule {program.name!r} asks for axes, and the parts of complex numbers are along none of them. "
                f"Received: {member.name!r} of dtype {WHOLE[member.dtype]}. Use a rule of elements alone for it."
            )
        if program.is_by_axes and not member.array.flags.c_contiguous:
            raise ArrayError(
                f"rule {program.name!r} reduces along axes, which takes variables that lie in the order of their axes. "
                f"Received: {member.name!r} of shape {member.array.shape} and strides "
                f"{member.array.strides}. Make it C-contiguous before the optimizer is built."
            )
