"""Scratch: arrays through which values go to functions outside and come back; nobody's state.

A variable has one for each function of its program, made when the first such call is planned. All calls use the same
ones, one call at a time, and they go when the optimizer goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .arrays.homes import Array
from .members import Member

if TYPE_CHECKING:
    from .codegen.backends.contract import Table


def lend(table: Table, members: Sequence[Member]) -> None:
    """Let a table use the scratch of its members, if its program asks for any."""
    names = table.program.scratch
    if not names:
        return
    dtype = table.program.compute
    for name in names:
        table.point(name, np.array([one.home.address(_scratch(one, name, dtype)) for one in members], np.int64))
    table.lend({name: [one.scratch[name] for one in members] for name in names}, [one.name for one in members])


def _scratch(member: Member, name: str, dtype: str) -> Array:
    """In the type that is computed in, which that of the variable need not be."""
    if name not in member.scratch:
        like = member.array if member.array.dtype == dtype else member.array.astype(dtype)
        member.scratch[name] = member.home.new_like(like, 0.0)
    return member.scratch[name]
