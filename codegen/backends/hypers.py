"""Numbers of a launch: those given one for each tensor belong to the tables part by part; sizes are the tables' own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..kinds import SIZES, Space

if TYPE_CHECKING:
    from .contract import Numbers, Table


def cut_of(hypers: Numbers, begin: int, count: int) -> Numbers:
    """The numbers of `count` tensors from `begin` on."""
    own = {name: value[begin : begin + count] for name, value in hypers.items() if not isinstance(value, int | float)}
    return {**hypers, **own} if own else hypers


def part_of(hypers: Numbers, table: Table, begin: int) -> Numbers:
    """The numbers of a table whose tensors are those of the launch from `begin` on."""
    own = cut_of(hypers, begin, table.tensors) if table.program.tensor_hypers else hypers
    return {**own, **table.counts} if table.counts else own


def count_together(tables: Sequence[Table]) -> None:
    """Tell tables that make a step together how many elements their tensors have, as far as programs ask."""
    everyone = SIZES[Space.ALL]
    total = sum(sum(table.sizes) for table in tables if everyone in table.program.hypers)
    for table in tables:
        counts: Numbers = {SIZES[Space.TENSOR]: table.sizes, everyone: float(total)}
        read = {*table.program.hypers, *table.program.tensor_hypers}
        table.counts = {name: count for name, count in counts.items() if name in read}
