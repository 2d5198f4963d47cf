"""Numbers over axes in NumPy: which of them each element has, found by axes and not by the formula of `Places`."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..axes import Axes, Over, Shape, size_in
from ..program import Kernel, Program

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]


def whose(shape: Shape, domain: Over, space: Over) -> Array:
    """For each number that a tensor has in a domain, the place of its number in a coarser space."""
    if domain == space:
        return np.arange(size_in(shape, domain))
    assert isinstance(space, Axes)
    if space.length:
        return np.arange(math.prod(shape)) // space.length
    kept = space.kept(shape)
    numbers = np.arange(math.prod(itertools.compress(shape, kept)))
    whole = numbers.reshape([size if own else 1 for size, own in zip(shape, kept, strict=True)])
    there = domain.kept(shape) if isinstance(domain, Axes) else (True,) * len(shape)
    seen = [size if own else 1 for size, own in zip(shape, there, strict=True)]
    return np.broadcast_to(whole, seen).ravel()


def spaces_of(program: Program, kernel: Kernel, with_scales: bool = False) -> list[Axes]:
    """The coarser spaces over axes that a kernel reads or reduces to, in order; a table says where theirs are.

    with_scales: those of scales, too, which compiled loops over blocks find without a table.
    """
    loads = [one for one in kernel.loads if with_scales or not program.arrays[program.column(one.array)].is_scale]
    found = [*(program.space_of(load.array) for load in loads), *(reduce.over for reduce in kernel.reductions)]
    return [space for space in dict.fromkeys(found) if isinstance(space, Axes) and space != kernel.space]


def own_arrays(program: Program, shape: Shape) -> dict[str, Array]:
    """The arrays that a program makes for itself, of one tensor; how many elements a block has is in them already."""
    found: dict[str, Array] = {}
    for array in program.arrays:
        if array.is_made:
            made: Array = np.zeros(size_in(shape, array.space), array.storage)
            if array.is_count and isinstance(array.space, Axes):
                made[:] = np.minimum(math.prod(shape) - array.space.length * np.arange(made.size), array.space.length)
            found[array.name] = made
    return found
