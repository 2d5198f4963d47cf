"""Ahead: what kernels' heads make of tensors' own numbers and the step's alone, where that is much.

A head is computed for each row, one number at a time: a power is two hundred operations, most of which wait for the one
before. Here one loop goes over all tensors before the step, several in a vector register, and the heads read what it
found. The same operations in the same order, so the same bits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...memory import begin_of
from ...printer import indented, mangled
from ...program import Kernel, Let, Program
from ...sorts import truths
from . import jit
from .llvm import Code
from .numbers import MANY, REST, line

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Float64 = npt.NDArray[np.float64]
    Filling = Callable[[Float64, Float64], None]

Entry = ctypes.PYFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 3)


@dataclass(frozen=True)
class Ahead:
    """What is computed before a step.

    lets:    operations, in order; of the heads of all kernels, each once. Their names are their own, since two heads
             may call different numbers the same.
    columns: what is kept of them: all that the rest of the kernels reads.
    known:   for each kernel, by its name, what its head need not compute, and what that is called here.
    """

    lets: tuple[Let, ...] = ()
    columns: tuple[str, ...] = ()
    known: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def of(self, kernel: Kernel) -> Mapping[str, str]:
        """What the head of a kernel need not compute, and what that is called here."""
        return self.known.get(kernel.name, {})


def ahead_of(program: Program) -> Ahead:
    """What is computed of a program before its steps; found once."""
    made: Ahead = program.memo("cpu ahead", lambda: _found(program))
    return made


def _found(program: Program) -> Ahead:
    lets, known = _together(program)
    if len(lets) < MANY or any(let.fn in REST for let in lets):
        return Ahead()
    are_truths = truths(lets)
    while True:
        heads = [(kernel, known[kernel.name]) for kernel in program.kernels]
        read = {own[arg]: None for kernel, own in heads for arg in _read(kernel, own)}
        if are_truths.isdisjoint(read):
            return Ahead(tuple(lets), tuple(read), known)
        lets = _without(lets, are_truths & read.keys())  # a column has numbers
        left = {let.name for let in lets}
        known = {name: {one: new for one, new in own.items() if new in left} for name, own in known.items()}


def _together(program: Program) -> tuple[list[Let], dict[str, dict[str, str]]]:
    """The operations of all heads, each once and by a name of its own, and for each kernel its names of them."""
    made: dict[object, Let] = {}
    known: dict[str, dict[str, str]] = {}
    for kernel in program.kernels:
        own = known[kernel.name] = {}
        for let in _alone(program, kernel):
            args = tuple(own.get(arg, arg) if isinstance(arg, str) else arg for arg in let.args)
            same = let.fn, tuple(arg if isinstance(arg, str) else repr((arg,)) for arg in args)  # 0 is not -0
            own[let.name] = made.setdefault(same, Let(f"u{len(made)}", let.fn, args)).name
    return list(made.values()), known


def _without(lets: Sequence[Let], names: Collection[str]) -> list[Let]:
    """The operations but these, and but what follows from them."""
    gone, left = set(names), []
    for let in lets:
        if let.name in gone or not gone.isdisjoint(arg for arg in let.args if isinstance(arg, str)):
            gone.add(let.name)
        else:
            left.append(let)
    return left


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
    code = code_of(program)
    if code is None:
        return None
    entry = Entry(code.address)

    def fill(scalars: Float64, own: Float64, code: Code | None = code) -> None:
        """It keeps the code that it runs."""
        entry(begin_of(scalars), begin_of(own), own.shape[1])

    return fill


def code_of(program: Program) -> Code | None:
    """Machine code of what is ahead, if anything is; made once."""
    found = ahead_of(program)
    if not found.lets:
        return None
    made: Code = program.memo("ahead", lambda: jit.fetched(source(program, found), jit.from_fixed_loops))
    return made


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
