"""A step's numbers on the host: what follows from its hyperparameters, in float64, as arguments of kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...dtypes import storage
from ...program import Program
from ...scalars import compile_scalars
from .source import KernelSource

if TYPE_CHECKING:
    import numpy.typing as npt

    Float64 = npt.NDArray[np.float64]
    Int64 = npt.NDArray[np.int64]


class StepNumbers:
    """The numbers of the step that the kernels of one program use."""

    def __init__(self, program: Program) -> None:
        self._hypers = program.hypers
        self._scalars = program.memo("scalars for a GPU", lambda: compile_scalars(program))
        self._places = {name: j for j, name in enumerate(program.scalars)}

    def made_of(self, hypers: Sequence[float]) -> Float64:
        """All numbers, from hyperparameters as in `Program.hypers`."""
        return np.array(self._scalars(dict(zip(self._hypers, hypers, strict=True))), np.float64)

    def taken_by(self, kernel: KernelSource) -> Int64:
        """Where those that a kernel takes are among all."""
        return np.array([self._places[name] for name in kernel.numbers], np.int64)


def rounded(numbers: Float64, dtype: str) -> Any:
    """Each number rounded once; one that is too large is infinite."""
    with np.errstate(all="ignore"):
        return numbers.astype(storage(dtype).scalar)
