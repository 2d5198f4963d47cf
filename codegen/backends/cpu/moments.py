"""Moments: the numbers of a launch by machine code, where only the rate and the number of the update are other ones.

A step of most rules has numbers of its own, and to work them out in Python takes longer than a small step does. Here a
call only tells its moment, the rate and the update, and the driver computes the rest under the ledger's word, of slots
over all as they are then.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...memory import begin_of
from . import ahead, numbers
from .cells import MADE_SIZE, LaunchCell, MadeCell

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...program import Arg, Program
    from .llvm import Code
    from .tables import Table

    Float64 = npt.NDArray[np.float64]

RATE, UPDATE = "learning_rate", "step"
"""What is other in each call, by the names that programs use."""

HERE = 0, 0
"""In place of a moment: the numbers are as the call brings them."""

MAKE = f"""
def make(plan_at, rate, update):
    plan = ints(plan_at)
    plan[{LaunchCell.RATE}] = rate
    floats(plan_at)[{LaunchCell.UPDATE}] = real(update)
    moves = ints(plan[{LaunchCell.MOVES_AT}])
    for i in range(plan[{LaunchCell.MOVES}]):
        ints(moves[2 * i])[0] = ints(moves[2 * i + 1])[0]
    for i in range(plan[{LaunchCell.MADE}]):
        made = ints(plan[{LaunchCell.MADE_AT}] + i * {8 * MADE_SIZE})
        if made[{MadeCell.CODE_AT}] != 0:
            call_numbers(made[{MadeCell.CODE_AT}], made[{MadeCell.GIVEN_AT}], made[{MadeCell.FOUND_AT}])
        if made[{MadeCell.AHEAD_AT}] != 0:
            tensors = made[{MadeCell.TENSORS}]
            call_ahead(made[{MadeCell.AHEAD_AT}], made[{MadeCell.FOUND_AT}], made[{MadeCell.OWN_AT}], tensors)
"""
"""Compute the tables' numbers of an update and its rate."""


def bits_of(rate: float) -> int:
    """A float64 as the integer that compiled code is given it as."""
    found: int = struct.unpack("=q", struct.pack("=d", rate))[0]
    return found


def can_make(programs: Sequence[Program], slots: Collection[str]) -> bool:
    """Whether machine code can compute the numbers of programs that make a step together, and change these slots."""
    if len({program for program in programs if program.shared}) > 1:  # whether they agree, the host looks
        return False
    read = {name for program in programs for name in program.hypers if name.startswith("s.")}
    return read <= {f"s.{name}" for name in slots}


class Moments:
    """What computes the numbers of tables, in a launch that lies at `plan_at`.

    slots: those over all that a counted call sets, each an array of one number.
    cells: what the launch says of it.
    """

    def __init__(self, plan_at: int, tables: Sequence[Table], slots: Mapping[str, Float64]) -> None:
        names = [name for table in tables for name in table.program.hypers]
        self._given, self._new = np.zeros(len(names)), np.zeros(len(slots))
        sources = {RATE: plan_at + 8 * LaunchCell.RATE, UPDATE: plan_at + 8 * LaunchCell.UPDATE}
        sources |= {f"s.{name}": begin_of(array) for name, array in slots.items()}
        at = begin_of(self._given)
        moves = [[at + 8 * i, sources[name]] for i, name in enumerate(names) if name in sources]
        self._kept: list[object] = []
        self._rows = np.array(moves, np.int64), np.array([*self._made(tables, list(slots))], np.int64)
        self.cells = {
            LaunchCell.GIVEN_AT: at,
            LaunchCell.GIVEN_BYTES: self._given.nbytes,
            LaunchCell.MOVES: len(moves),
            LaunchCell.MOVES_AT: begin_of(self._rows[0]),
            LaunchCell.MADE: len(self._rows[1]),
            LaunchCell.MADE_AT: begin_of(self._rows[1]),
            LaunchCell.NEW_SHARED_AT: begin_of(self._new),
        }

    def _made(self, tables: Sequence[Table], slots: Sequence[str]) -> Iterator[list[int]]:
        """For each function of numbers the entries of a `MadeCell`."""
        given = begin_of(self._given)
        for table in tables:
            program, found, own = table.program, begin_of(table.numbers), 0
            late = ahead.code_of(program)
            if late is not None and table.hypers is not None:
                own = int(table.hypers.ctypes.data)
            yield [self._code(program, program.scalars), given, found, self._at(late), own, table.tensors]
            values = {store.array: store.value for store in program.shared}
            if values and values.keys() == set(slots) and slots:
                yield [self._code(program, [values[name] for name in slots]), given, begin_of(self._new), 0, 0, 0]
                slots = ()
            given += 8 * len(program.hypers)

    def _code(self, program: Program, wanted: Sequence[Arg]) -> int:
        return self._at(numbers.code_of(program, wanted) if wanted else None)

    def _at(self, code: Code | None) -> int:
        """Where code lies, which is kept; 0 for none."""
        self._kept.append(code)
        return 0 if code is None else code.address
