"""Codes of whole arrays on the host: what they mean, and those of numbers, by the interpreter of a small rule.

So the format is nowhere but in `blocks.py`. Chance decides as in kernels, of no seed and no step.
"""

from __future__ import annotations

import math
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


def _turned(nonnegative: bool) -> Rule:
    """Puts what was kept in place of the parameter, and keeps the gradient."""
    slots = {KEPT: Slot(0.0, nonnegative=nonnegative)}
    return Rule("turned", lambda p, g, s, h, on: {s.kept: g, p: s.kept}, slots=slots)


TURNED = {"uint8": _turned(True), "int8": _turned(False)}


def count(shape: tuple[int, ...]) -> int:
    """How many scales an array has."""
    return -(-math.prod(shape) // BLOCK)


def decoded(codes: Array, scales: Array) -> Array:
    """The numbers that codes mean."""
    return _turn(codes.copy(), scales.copy(), np.zeros(codes.shape, np.float32))


def encoded(values: Array, kept: str) -> tuple[Array, Array]:
    """Codes and scales of some numbers; of those below zero, where a storage has no sign, as of zeros."""
    codes, scales = np.zeros(values.shape, kept), np.zeros(count(values.shape), np.float32)
    given = values.astype(np.float32)
    _turn(codes, scales, np.where(given < 0, np.float32(0), given) if kept == "uint8" else given)
    return codes, scales


def _turn(codes: Array, scales: Array, given: Array) -> Array:
    """What is kept, and what was kept before."""
    program = specialize(TURNED[codes.dtype.name], slots={KEPT: "int8"})
    held = np.zeros(codes.shape, np.float32)
    tensor = {"parameter": held, "gradient": given, KEPT: codes, scale_of(KEPT): scales}
    own = {name: [0.0] for name in KEY}
    reference.run(program, [tensor], {"learning_rate": 0.0, "step": 0.0, **dict.fromkeys(SEED, 0.0)}, own)
    return held
