"""Numbers of a launch: those given one for each tensor belong to the tables part by part; sizes are the tables' own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..axes import Shape, size_in
from ..kinds import SIZES, Space

if TYPE_CHECKING:
    from ..program import Program
    from .contract import Numbers, Table

Own = TypeVar("Own", bound="Table")
"""A backend's own kind of table."""


def cut_of(hypers: Numbers, begin: int, count: int) -> Numbers:
    """The numbers of `count` tensors from `begin` on."""
    own = {name: value[begin : begin + count] for name, value in hypers.items() if not isinstance(value, int | float)}
    return {**hypers, **own} if own else hypers


def part_of(hypers: Numbers, table: Table, begin: int) -> Numbers:
    """The numbers of a table whose tensors are those of the launch from `begin` on."""
    names = table.program.tensor_hypers
    if not (names or table.counts):
        return hypers
    own = {name: hypers[name] for name in names if name not in table.counts}
    return {**hypers, **cut_of(own, begin, table.tensors), **table.counts}


def parts_of(hypers: Numbers | Sequence[Numbers], tables: Sequence[Own]) -> Iterator[tuple[Own, Numbers]]:
    """Each table of a launch with its numbers; a list has those of each table."""
    begin, given = 0, itertools.repeat(hypers) if isinstance(hypers, Mapping) else hypers
    for table, own in zip(tables, given, strict=False):
        yield table, part_of(own, table, begin)
        begin += table.tensors


def among_all(counts: Iterable[int], found: Iterable[Iterable[int]]) -> list[int]:
    """Tensors that were found in each of some parts, which have so many, by their places among those of all parts."""
    begins = itertools.accumulate(counts, initial=0)
    return [begin + i for begin, own in zip(begins, found, strict=False) for i in own]


def count_together(tables: Sequence[Table]) -> None:
    """Tell tables that make a step together how many elements their tensors have, as far as programs ask."""
    everyone = SIZES[Space.ALL]
    total = sum(sum(table.sizes) for table in tables if everyone in table.program.hypers)
    for table in tables:
        counts: Numbers = {SIZES[Space.TENSOR]: table.sizes, everyone: float(total)}
        read = {*table.program.hypers, *table.program.tensor_hypers}
        own = lengths(table.program, table.shapes) if table.program.sizes else {}
        table.counts = {name: _vector(count) for name, count in {**counts, **own}.items() if name in read}


def _vector(count: float | Sequence[float]) -> Any:
    """Numbers as an array: of a thousand in a list Python would make numbers of NumPy's in every step."""
    return count if isinstance(count, float) else np.array(count, np.float64)


def lengths(program: Program, shapes: Sequence[Shape]) -> dict[str, list[float]]:
    """The counts of a program that depend on axes, one a tensor: how many elements have one number."""
    return {
        name: [math.prod(shape) / max(size_in(shape, over), 1) for shape in shapes]
        for name, over in program.sizes.items()
    }
