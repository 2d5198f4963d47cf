"""Codes of whole arrays on the host: what they mean, and those of numbers, by the interpreter of a small rule.

So the format is nowhere but in `blocks.py`. Chance decides as in kernels, of no seed and no step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .backends import reference
from .dtypes import BLOCK
from .kinds import KEY, SEED
from .parts import Slot
from .pieces import scale_of
from .pipeline import specialize
from .rule import Rule

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

KEPT = "kept"

SLAB = 1 << 18
"""Elements that are made at a time."""


SLOTS = {"uint8": {KEPT: Slot(0.0, nonnegative=True)}, "int8": {KEPT: Slot(0.0)}}
READ = {kept: Rule("read", lambda p, g, s, h, on: {p: s.kept}, slots=slots) for kept, slots in SLOTS.items()}
WRITTEN = {
    kept: Rule("written", lambda p, g, s, h, on: {s.kept: g, p: s.kept}, slots=slots) for kept, slots in SLOTS.items()
}
"""Rules that put what was kept in place of the parameter, and one kind that keeps the gradient, too."""


def count(shape: tuple[int, ...]) -> int:
    """How many scales an array has."""
    return -(-math.prod(shape) // BLOCK)


def decoded(codes: Array, scales: Array) -> Array:
    """The numbers that codes mean."""
    held = np.zeros(codes.size, np.float32)
    for slab, blocks in _slabs(codes.size):
        _run(READ, codes.reshape(-1)[slab], scales[blocks], held[slab], held[slab])
    return held.reshape(codes.shape)


def encoded(values: Array, kept: str) -> tuple[Array, Array]:
    """Codes and scales of some numbers; of those below zero, where a storage has no sign, as of zeros."""
    codes, scales = np.zeros(values.size, kept), np.zeros(count(values.shape), np.float32)
    flat = values.reshape(-1)
    for slab, blocks in _slabs(values.size):
        given = flat[slab].astype(np.float32)
        given = np.where(given < 0, np.float32(0), given) if kept == "uint8" else given
        _run(WRITTEN, codes[slab], scales[blocks], given, np.zeros_like(given))
    return codes.reshape(values.shape), scales


def filled(value: float, kept: str) -> tuple[int, float]:
    """The code and the scale of one number, which is exact."""
    codes, scales = encoded(np.full(BLOCK, value, np.float32), kept)
    return int(codes[0]), float(scales[0])


def _slabs(size: int) -> Iterator[tuple[slice, slice]]:
    """Runs of whole blocks, so that the interpreter needs room for no more than one."""
    for begin in range(0, size, SLAB):
        end = min(begin + SLAB, size)
        yield slice(begin, end), slice(begin // BLOCK, -(-end // BLOCK))


def _run(rules: Mapping[str, Rule], codes: Array, scales: Array, given: Array, held: Array) -> None:
    """A step of a rule: `held` is its parameter, and `given` the gradient."""
    program = specialize(rules[codes.dtype.name], slots={KEPT: "int8"})
    tensor = {"parameter": held, "gradient": given, KEPT: codes, scale_of(KEPT): scales}
    own = {name: [0.0] for name in KEY}
    reference.run(program, [tensor], {"learning_rate": 0.0, "step": 0.0, **dict.fromkeys(SEED, 0.0)}, own)
