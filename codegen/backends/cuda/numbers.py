"""A step's numbers on the host: what follows from its hyperparameters, in float64, as arguments of kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...program import Program
from ...scalars import compile_scalars
from ..cpu.numbers import entry_of
from .device import Launch
from .source import KernelSource

if TYPE_CHECKING:
    import numpy.typing as npt

    HostArray = npt.NDArray[Any]


class Ready:
    """A kernel with its number of blocks and what it takes, to be started.

    numbers: those of the step that it takes, where `StepNumbers` writes them.
    """

    def __init__(self, kernel: KernelSource, function: Launch, blocks: int, places: tuple[int, ...]) -> None:
        self.kernel = kernel
        self.numbers: HostArray = np.zeros(0)
        self._function, self._blocks, self._places = function, blocks, places
        self._arguments: tuple[Any, ...] = places
        self._bits = b""

    def take(self) -> bool:
        """Pass its numbers as they are now; returns whether any is another than before."""
        bits = self.numbers.tobytes()
        if bits == self._bits:  # a nan is like itself, and zeros of two signs differ
            return False
        self._arguments, self._bits = (*self._places, *self.numbers), bits
        return True

    def start(self) -> None:
        """Start it on the current stream of the current device."""
        self._function(self._blocks, *self._arguments)


class StepNumbers:
    """The numbers of the step that kernels of one table take, each kernel's one after the other.

    Made by machine code where they are many, and written to the same places in every step: of a few numbers new arrays
    would take longer than all that is computed.
    """

    def __init__(self, program: Program, kernels: Iterable[Ready]) -> None:
        self._kernels = [ready for ready in kernels if ready.kernel.numbers]
        self._names = program.hypers
        wanted = tuple(name for ready in self._kernels for name in ready.kernel.numbers)
        self._entry = program.memo(("entry for a GPU", wanted), lambda: entry_of(program, wanted))
        if self._entry is None:
            self._compiled = program.memo(("numbers for a GPU", wanted), lambda: compile_scalars(program, wanted))
        self._given: Any = (ctypes.c_double * len(self._names))()
        self._wide: Any = (ctypes.c_double * len(wanted))()
        self._single: Any = (ctypes.c_float * len(wanted))()
        self._places = ctypes.addressof(self._given), ctypes.addressof(self._wide)
        wide, single = memoryview(self._wide), memoryview(self._single)
        each: dict[str, HostArray] = {"float64": np.frombuffer(wide), "float32": np.frombuffer(single, np.float32)}
        end = 0
        for ready in self._kernels:
            begin, end = end, end + len(ready.kernel.numbers)
            ready.numbers = each[ready.kernel.dtype][begin:end]

    def passed(self, hypers: Mapping[str, Any]) -> list[str]:
        """Pass the numbers of such a step to the kernels; returns which of them have others than before."""
        if self._entry is None:
            self._wide[:] = self._compiled(hypers)
        else:
            self._given[:] = [hypers[name] for name in self._names]
            self._entry(*self._places)
        self._single[:] = self._wide[:]  # rounded once, as C does it: NumPy would warn of what is too large
        return [ready.kernel.name for ready in self._kernels if ready.take()]
