"""KernelSource: one kernel as Python source, with what it takes and how many blocks it is launched with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Blocks(Enum):
    """How many blocks a kernel is launched with."""

    ROW = "one a row"
    TENSOR = "one a tensor, at most 1024"
    ONE = "one"
    STEP = "one a step"
    PIECE = "one a piece"
    JOIN = "one for some numbers"

    __hash__ = object.__hash__

    def count(self, rows: int, tensors: int) -> int:
        """The number, for a table of so many rows and tensors; without rows there is only what a step does once.

        Of pieces and joins a table knows more, for each kernel.
        """
        if self is Blocks.STEP:
            return 1
        return {Blocks.ROW: rows, Blocks.TENSOR: min(tensors, MOST), Blocks.ONE: 1}[self] if rows else 0


MOST = 1024
"""Blocks that share tensors: as many as a large GPU runs at once, so that what each does first takes its time once."""


@dataclass(frozen=True)
class KernelSource:
    """The Python source of one kernel, with the functions that it calls; equal sources are the same kernel.

    name:      of the function in `text` that is the kernel.
    arguments: what it takes, all int64.
    threads:   of each block that it is launched with; a power of two.
    blocks:    how many there are.
    numbers:   what it takes after that by value: numbers of a step, by their names in the program.
    dtype:     of those numbers.
    """

    name: str
    text: str
    arguments: tuple[str, ...]
    threads: int
    blocks: Blocks = Blocks.ONE
    numbers: tuple[str, ...] = ()
    dtype: str = "float64"

    @property
    def k(self) -> int:
        """The number of the program's kernel that it is launched for."""
        return int(self.name.partition("_")[2])

    @property
    def types(self) -> tuple[str, ...]:
        """The type of each argument."""
        return ("int64",) * len(self.arguments) + (self.dtype,) * len(self.numbers)


def functions(*texts: str) -> list[str]:
    """Functions for kernels, as lines of source."""
    return [line for text in texts for line in ("", "", "@device", *text.strip().splitlines())]
