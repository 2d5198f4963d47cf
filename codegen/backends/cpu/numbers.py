"""The numbers of a step by machine code, where they are many: a power alone is two hundred operations, 10 us in Python.

The same operations in the same order as in `scalars`, so the same bits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping

import numpy as np

from ...memory import begin_of
from ...ops import Fn
from ...printer import mangled, operand, print_let
from ...program import Program
from ...scalars import ScalarFunction, compile_scalars
from . import jit
from .llvm import Code

MANY = 40
"""Operations from which on a call into machine code is less than Python takes for them."""

LEFT = {Fn.MOD}
"""What fixed code has no words for."""

Entry = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


def numbers(program: Program) -> ScalarFunction:
    """A function from the hyperparameters' values to the program's scalars, as floats."""
    lets = program.needed(program.scalars)
    if len(lets) < MANY or any(let.fn in LEFT for let in lets):
        return compile_scalars(program)
    code = jit.fetched(source(program), jit.from_fixed)
    entry, given, count = Entry(code.address), program.hypers, len(program.scalars)

    def scalars(values: Mapping[str, float], code: Code = code) -> tuple[float, ...]:
        """It keeps the code that it runs."""
        taken, found = np.array([values[name] for name in given], np.float64), np.empty(count)
        entry(begin_of(taken), begin_of(found))
        return tuple(found.tolist())

    return scalars


def source(program: Program) -> str:
    """Fixed code: from the address of the hyperparameters to that of the scalars."""
    lines = ["def numbers(given_at, found_at):", "    given = floats(given_at)", "    found = floats(found_at)"]
    return "\n".join([*lines, *(f"    {line}" for line in _lines(program)), ""])


def _lines(program: Program) -> Iterator[str]:
    for i, name in enumerate(program.inputs):
        yield f"{mangled(name)} = given[{i}]"
    for let in program.needed(program.scalars):
        if let.fn is Fn.ROUNDED:
            rounding = "float64" if program.compute == "float64" else "rounded"
            yield f"{mangled(let.name)} = {rounding}({operand(let.args[0], 'float64')})"
        else:
            yield print_let(let, "float64")
    for j, name in enumerate(program.scalars):
        yield f"found[{j}] = {mangled(name)}"
