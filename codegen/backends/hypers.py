"""Numbers of a launch: hyperparameters that are given one for each tensor belong to the tables part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .contract import Numbers, Table


def cut_of(hypers: Numbers, begin: int, count: int) -> Numbers:
    """The numbers of `count` tensors from `begin` on."""
    own = {name: value[begin : begin + count] for name, value in hypers.items() if not isinstance(value, int | float)}
    return {**hypers, **own} if own else hypers


def part_of(hypers: Numbers, table: Table, begin: int) -> Numbers:
    """The numbers of a table whose tensors are those of the launch from `begin` on."""
    return cut_of(hypers, begin, table.tensors) if table.program.tensor_hypers else hypers
