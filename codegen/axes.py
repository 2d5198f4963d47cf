"""Axes: spaces between a tensor and its elements, where elements that differ only along some axes share a number.

Whose number an element has follows from three integers a tensor: `((i // a) % b) * c + i % c` (see `Places`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from .errors import ArrayError, RuleError
from .kinds import Space

Shape = tuple[int, ...]

WORDS = {space.value: space for space in Space}
"""What an author writes for a space without axes."""

ALLOWED = "'element', 'tensor' or 'all', an axis such as -1, axes such as (0, 1), but(0), or block(128)"


@dataclass(frozen=True, repr=False)
class Axes:
    """What is left of a tensor without some axes, with some axes alone, or with one number for each block of elements.

    axes:   the axes that are gone, or kept; negative ones count from the last.
    keeps:  whether those are the only ones that are kept.
    length: the elements of a block, in the order in which they lie in memory; the last block may have fewer.
    """

    axes: Shape = ()
    keeps: bool = False
    length: int = 0

    def __repr__(self) -> str:
        if self.length:
            return f"block({self.length})"
        if self.keeps:
            return f"but({', '.join(map(str, self.axes))})"
        return str(self.axes[0] if len(self.axes) == 1 else self.axes)

    @property
    def value(self) -> Any:
        """What an author writes for it."""
        return self

    @property
    def word(self) -> str:
        """The same as a part of an identifier."""
        if self.length:
            return f"block_{self.length}"
        return "_".join([*(["but"] if self.keeps else []), *(str(axis).replace("-", "m") for axis in self.axes)])

    def kept(self, shape: Shape) -> tuple[bool, ...]:
        """For each axis of a tensor, whether the numbers have it. Raises ArrayError for a tensor of too few axes."""
        for axis in self.axes:
            if not -len(shape) <= axis < len(shape):
                raise ArrayError(
                    f"what is over {self!r} needs a tensor with axis {axis}. Received: a tensor of shape {shape}. Give "
                    "such tensors equations of their own: Flag(of=...) with a function such as "
                    "`lambda shape: len(shape) > 1`, and where(on.<flag>, a, b)."
                )
        named = {axis % len(shape) for axis in self.axes}
        return tuple((axis in named) is self.keeps for axis in range(len(shape)))

    def shape_of(self, shape: Shape) -> Shape:
        """The shape of the numbers of a tensor. Raises ArrayError for a tensor that has none such."""
        places(shape, Space.ELEMENT, self)
        if self.length:
            return (-(-math.prod(shape) // self.length),)
        return tuple(itertools.compress(shape, self.kept(shape)))


Over: TypeAlias = Space | Axes
"""Where there is one number each."""


def but(*axes: int) -> Axes:
    """Over all axes but these: one number for each place along them. `over=but(0)` has one a row of a matrix."""
    return Axes(_checked("but", axes), keeps=True)


def block(length: int) -> Axes:
    """Over blocks of so many elements, in the order in which they lie in memory; the last block may have fewer."""
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise RuleError(f"a block has a whole number of elements, at least 1. Received: block({length!r}).")
    return Axes(length=length)


def _checked(what: str, axes: Iterable[object]) -> Shape:
    found = tuple(axes)
    whole = [axis for axis in found if isinstance(axis, int) and not isinstance(axis, bool)]
    if not found or len(whole) < len(found) or len(set(whole)) < len(whole):
        raise RuleError(
            f"axes are whole numbers, at least one, each once. Received: {what}{found!r}. Write one of {ALLOWED}."
        )
    return tuple(whole)


def space_of(over: object) -> Over:
    """What `over=` means. Raises RuleError for anything else."""
    if isinstance(over, str) and over in WORDS:
        return WORDS[over]
    if isinstance(over, Axes):
        return over
    if isinstance(over, int) and not isinstance(over, bool):
        return Axes((over,))
    if isinstance(over, tuple):
        return Axes(_checked("over=", over))
    raise RuleError(f"`over` is one of {ALLOWED}. Received: over={over!r}.")


def is_coarser(one: Over, other: Over) -> bool:
    """Whether every number of the first is made of whole numbers of the second, and fewer, whatever the shape."""
    if isinstance(one, Space) or isinstance(other, Space):
        return _order(one) < _order(other)
    if one.length or other.length or one.keeps is not other.keeps:
        return False
    mine, theirs = set(one.axes), set(other.axes)
    return mine < theirs if one.keeps else mine > theirs


def _order(over: Over) -> int:
    return {Space.ALL: 0, Space.TENSOR: 1, Space.ELEMENT: 3}[over] if isinstance(over, Space) else 2


def joined(spaces: Iterable[Over]) -> Over:
    """Where something has one number each that is computed of numbers there: elements, if nothing coarser is sure."""
    found: Over = Space.ALL
    for space in spaces:
        if found != space and not is_coarser(space, found):
            found = space if is_coarser(found, space) else _joined(found, space)
    return found


def _joined(one: Over, other: Over) -> Over:
    assert isinstance(one, Axes)
    assert isinstance(other, Axes)
    common = tuple(axis for axis in one.axes if axis in other.axes)
    is_plain = not (one.keeps or other.keeps or one.length or other.length)
    return Axes(common) if is_plain and common else Space.ELEMENT


class Places(NamedTuple):
    """Where the number of element `i` is: `((i // a) % b) * c + i % c`.

    Where c is 1, runs of `a` elements share a number; else c elements that follow one another have c numbers.
    """

    a: int
    b: int
    c: int

    @property
    def step(self) -> int:
        """So many elements go on as the first of them begins."""
        return self.c if self.c > 1 else self.a

    def of(self, i: int) -> int:
        """The place of an element's number."""
        return (i // self.a) % self.b * self.c + i % self.c


def size_in(shape: Shape, space: Over) -> int:
    """How many numbers a tensor has in a space."""
    if isinstance(space, Axes):
        return math.prod(space.shape_of(shape))
    return math.prod(shape) if space is Space.ELEMENT else 1


def places(shape: Shape, domain: Over, space: Over) -> Places:
    """Where the numbers of a space are for those of a finer one. Raises ArrayError for what the formula has no form of.

    Axes of one place do not count, and neighbours of a kind are one: then axes kept around one run that is gone, or
    gone around one that is kept, have a form.
    """
    if isinstance(space, Axes) and space.length:
        count = math.prod(shape)
        return Places(space.length, max(-(-count // space.length), 1), 1) if domain != space else _whole(count)
    kept = space.kept(shape) if isinstance(space, Axes) else (space is Space.ELEMENT,) * len(shape)
    seen = domain.kept(shape) if isinstance(domain, Axes) and not domain.length else (True,) * len(shape)
    if isinstance(domain, Axes) and domain.length:
        return _whole(size_in(shape, domain)) if space == domain else Places(max(size_in(shape, domain), 1), 1, 1)
    pairs = [(size, own) for size, own, is_there in zip(shape, kept, seen, strict=True) if is_there and size != 1]
    groups = itertools.groupby(pairs, lambda pair: pair[1])
    return _formed([(own, math.prod(size for size, _ in group)) for own, group in groups], shape, space)


def _whole(count: int) -> Places:
    return Places(max(count, 1), 1, max(count, 1))


def _formed(runs: Sequence[tuple[bool, int]], shape: Shape, space: Over) -> Places:
    sizes = [max(size, 1) for _, size in runs]
    match [own for own, _ in runs]:
        case []:
            return Places(1, 1, 1)
        case [True]:
            return _whole(sizes[0])
        case [False]:
            return Places(sizes[0], 1, 1)
        case [True, False]:
            return Places(sizes[1], sizes[0], 1)
        case [False, True]:
            return Places(sizes[0] * sizes[1], 1, sizes[1])
        case [True, False, True]:
            return Places(sizes[1] * sizes[2], sizes[0], sizes[2])
        case [False, True, False]:
            return Places(sizes[2], sizes[1], 1)
    raise ArrayError(
        f"what is over {space!r} has no place in a tensor of these axes: those that are gone, or those that are kept, "
        f"must be neighbours. Received: a tensor of shape {shape}. Reshape it, or choose other axes."
    )
