"""Runs: what a block's elements have of numbers over axes, in functions that all passes call.

A block is cut into runs, in which such numbers are one, or follow one another (see `axes.Places`). Each function is the
same for every rule that has it, and a process compiles it once: loops written out in each pass took most of the
seconds of a first call. Places are read at an address, three integers each; sums at an address of three integers, too:
where the first number is, and between which numbers a piece adds up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ...ops import ReduceOp
from ...printer import cast, expression, indented


class Shared(NamedTuple):
    """A function that passes call: its name, and its text."""

    name: str
    lines: tuple[str, ...]


def laid_out(kept: str, kind: str) -> Shared:
    """A block's numbers of one array, beside its elements: kept in a storage, wanted in a type."""
    name = f"lay_out_{kept}_as_{kind}"
    body = ["if is_row:", f"    one = {cast('source[place]', kept, kind)}", "    for i in range(length):"]
    body += ["        into[lane + i] = one", "else:", "    for i in range(length):"]
    body += [f"        into[lane + i] = {cast('source[place + i]', kept, kind)}"]
    lines = [f"def {name}(source_at, into: beside_{kind}, first, width, places_at):"]
    return Shared(name, (*lines, f"    source = apart_{kept}(source_at)", *indented(_runs(body))))


def begun() -> Shared:
    """What a piece adds up of numbers over axes, before there was any element."""
    lines = ["def begin_sums(sums_at, start: float64):", "    sums = at_int64(sums_at)"]
    lines += ["    total = apart_float64(sums[0])", "    for place in range(sums[1], sums[2]):"]
    return Shared("begin_sums", (*lines, "        total[place] = start"))


def added_up(op: ReduceOp, kind: str) -> Shared:
    """The elements of a block, added to the numbers over axes that they have."""
    name = f"{op.symbol}_{kind}"
    lines = [f"def {name}(kept: beside_{kind}, sums_at, first, width, places_at):"]
    lines += ["    sums = at_int64(sums_at)", "    total = apart_float64(sums[0])"]
    return Shared(name, (*lines, *indented(_runs(_added(op)))))


def _added(op: ReduceOp) -> Iterator[str]:
    """The elements of one run."""
    yield "if is_row:"
    yield f"    run = whole_{op.symbol}(kept, lane, length)"
    yield "    sofar = total[place]"
    yield f"    total[place] = {expression(op.join, ['sofar', 'run'], 'float64')}"
    yield "else:"
    yield f"    each_{op.symbol}(total, place, kept, lane, length)"


def _runs(body: Iterable[str]) -> Iterator[str]:
    """The loop over the runs of a block."""
    yield "places = at_int64(places_at)"
    yield "a = places[0]"
    yield "b = places[1]"
    yield "c = places[2]"
    yield "whole = first // a if first >= a else 0"  # a block that is small is not worth many divisions
    yield "group = whole % b if whole >= b else whole"
    yield "left = a - (first - whole * a)"
    yield "offset = 0 if c == 1 else (first % c if first >= c else first)"
    yield "is_row = c == 1"
    yield "lane = 0"
    yield "while lane < width:"
    yield "    length = c - offset if c > 1 else left"
    yield "    length = length if length < width - lane else width - lane"
    yield "    place = group * c + offset"
    yield from indented(body)
    yield "    lane += length"
    yield "    left -= length"
    yield "    offset = 0"
    yield "    if left == 0:"
    yield "        left = a"
    yield "        group = group + 1 if group + 1 < b else 0"
