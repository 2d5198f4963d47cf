"""Ahead: what kernels' heads make of tensors' own numbers and the step's alone, where that is much.

A head is computed for each row, one number at a time: a power is two hundred operations, most of which wait for the one
before. Here one loop goes over all tensors before the step, several in a vector register, and the heads read what it
found. The same operations in the same order, so the same bits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...memory import begin_of
from ...printer import indented, mangled
from ...program import Kernel, Let, Program
from ...sorts import truths
from . import jit
from .llvm import Code
from .numbers import LEFT, MANY, line

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Float64 = npt.NDArray[np.float64]
    Filling = Callable[[Float64, Float64], None]

Entry = ctypes.PYFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 3)


@dataclass(frozen=True)
class Ahead:
    """What is computed before a step.

    lets:    operations, in order; of the heads of all kernels.
    columns: what is kept of them: all that the rest of the kernels reads.
    """

    lets: tuple[Let, ...] = ()
    columns: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """What heads need not compute."""
        return frozenset(let.name for let in self.lets)


def ahead_of(program: Program) -> Ahead:
    """What is computed of a program before its steps; found once."""
    made: Ahead = program.memo("cpu ahead", lambda: _found(program))
    return made


def _found(program: Program) -> Ahead:
    lets = list(dict.fromkeys(let for kernel in program.kernels for let in _alone(program, kernel)))
    if len(lets) < MANY or any(let.fn in LEFT for let in lets) or not _are_told_apart(program, lets):
        return Ahead()
    are_truths = truths(lets)
    while True:
        own = {let.name for let in lets}
        read = {arg: None for kernel in program.kernels for arg in _read(kernel, own)}
        if are_truths.isdisjoint(read):
            return Ahead(tuple(lets), tuple(read))
        lets = [let for let in lets if let.name not in are_truths & read.keys()]  # a column has numbers


def _are_told_apart(program: Program, lets: Collection[Let]) -> bool:
    """Whether a name is the same in every head: kernels count theirs each for itself."""
    names = {let.name: let for let in lets}
    heads = [let for kernel in program.kernels for let in kernel.head]
    return all(names.get(let.name, let) == let for let in heads)


def _alone(program: Program, kernel: Kernel) -> Iterator[Let]:
    """The part of a head that follows from hyperparameters and the step's numbers."""
    known = {*program.scalars, *(given.name for given in kernel.givens if given.hyper)}
    known -= {given.name for given in kernel.givens if not given.hyper}
    for let in kernel.head:
        if all(arg in known for arg in let.args if isinstance(arg, str)):
            known.add(let.name)
            yield let


def _read(kernel: Kernel, own: Collection[str]) -> Iterator[str]:
    """What the rest of a kernel reads of what is computed before it."""
    args = [arg for let in kernel.head if let.name not in own for arg in let.args]
    args += [*kernel.uniforms, *(put.value for put in kernel.numbered)]
    yield from (arg for arg in args if isinstance(arg, str) and arg in own)


def filling(program: Program) -> Filling | None:
    """A function that fills in the columns of what is ahead, if anything is: from the step's numbers, and from the rows
    of `own`, which has a column for each tensor: first its hyperparameters, then what is kept.
    """
    found = ahead_of(program)
    if not found.lets:
        return None
    code = jit.fetched(source(program, found), jit.from_fixed_loops)
    entry = Entry(code.address)

    def fill(scalars: Float64, own: Float64, code: Code = code) -> None:
        """It keeps the code that it runs."""
        entry(begin_of(scalars), begin_of(own), own.shape[1])

    return fill


def source(program: Program, found: Ahead) -> str:
    """Fixed code: from the addresses of the step's numbers and of tensors' own, and the number of tensors."""
    lines = ["scalars = floats(scalars_at)", "own = floats(own_at)"]
    lines += [f"{mangled(name)} = scalars[{j}]" for j, name in enumerate(program.scalars)]
    hypers = program.tensor_hypers
    body = [f"{mangled(f'h.{name}')} = own[{j} * tensors + tensor]" for j, name in enumerate(hypers)]
    body += [line(program, let) for let in found.lets]
    body += [f"own[{len(hypers) + j} * tensors + tensor] = {mangled(name)}" for j, name in enumerate(found.columns)]
    lines += ["for tensor in range(tensors):", *indented(body)]
    return "\n".join(["def ahead(scalars_at, own_at, tensors):", *indented(lines), ""])
