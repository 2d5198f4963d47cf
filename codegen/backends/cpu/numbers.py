"""The numbers of a step by machine code, where they are many: a power alone is two hundred operations, 10 us in Python.

The same operations in the same order as in `scalars`, so the same bits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...memory import begin_of
from ...ops import Fn
from ...printer import mangled, operand, print_let
from ...program import Arg, Let, Program
from ...scalars import compile_scalars
from ...sorts import truths
from . import jit

if TYPE_CHECKING:
    import numpy.typing as npt

    from .llvm import Code

    Float64 = npt.NDArray[np.float64]
    Function = Callable[[Mapping[str, float]], Float64]

MANY = 40
"""Operations from which on a call into machine code is less than Python takes for them."""

MOST, LEAST, INFINITE = (1 << 63) - 1, -(1 << 63), 2047 << 52
WHOLE = 1 << 52
"""The bit of a mantissa that is not kept."""

REMAINDER = f"""
def remainder(x, y):
    size = x & {MOST}
    over = y & {MOST}
    if over == 0 or over > {INFINITE} or size >= {INFINITE}:
        return {2047 << 52 | 1 << 51}
    if size >= over:
        places = size >> 52
        last = over >> 52
        left = size & {WHOLE - 1}
        by = over & {WHOLE - 1}
        if places == 0:
            places = 1
        else:
            left = left | {WHOLE}
        if last == 0:
            last = 1
        else:
            by = by | {WHOLE}
        left = rest(left, by)
        while places > last:
            few = places - last
            if few > 10:
                few = 10
            left = rest(left << few, by)
            places -= few
        if left == 0:
            return y & {LEAST}
        while left < {WHOLE} and last > 1:
            left = left << 1
            last -= 1
        size = left
        if left >= {WHOLE}:
            size = left - {WHOLE} | last << 52
    if size == 0:
        return y & {LEAST}
    found = x & {LEAST} | size
    if x < 0 and y >= 0 or x >= 0 and y < 0:
        found = bits_of(number_of(found) + number_of(y))
    return found
"""
"""What `%` gives of two float64, as bits: exact, mantissas divided ten places at a time."""

REST = {Fn.MOD: "number_of(remainder(bits_of({0}), bits_of({1})))"}

Entry = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


def numbers(program: Program, wanted: Sequence[Arg] | None = None) -> Function:
    """A function from the hyperparameters' values to the program's scalars, or to other numbers of its step."""
    chosen = tuple(program.scalars if wanted is None else wanted)
    entry = entry_of(program, chosen)
    if entry is None:
        compiled = compile_scalars(program, chosen)
        return lambda values: np.array(compiled(values), np.float64)
    given, count = program.hypers, len(chosen)

    def scalars(values: Mapping[str, float]) -> Float64:
        taken, found = np.array([values[name] for name in given], np.float64), np.empty(count)
        entry(begin_of(taken), begin_of(found))
        return found

    return scalars


def entry_of(program: Program, wanted: Sequence[Arg]) -> Callable[[int, int], int] | None:
    """Machine code from the address of the hyperparameters to that of these numbers; None where they take little."""
    if len(program.needed(_names(wanted))) < MANY:
        return None
    code = code_of(program, wanted)
    entry = Entry(code.address)
    vars(entry)["code"] = code  # it keeps what it runs
    return entry


def code_of(program: Program, wanted: Sequence[Arg]) -> Code:
    """Machine code from the address of the hyperparameters to that of these numbers; made once."""
    key = "cpu numbers", *map(repr, wanted)  # 0 is not -0
    made: Code = program.memo(key, lambda: jit.fetched(source(program, wanted), jit.from_fixed))
    return made


def _names(wanted: Sequence[Arg]) -> Iterator[str]:
    return (arg for arg in wanted if isinstance(arg, str))


def source(program: Program, wanted: Sequence[Arg]) -> str:
    """Fixed code: from the address of the hyperparameters to that of these numbers."""
    lines = ["def numbers(given_at, found_at):", "    given = floats(given_at)", "    found = floats(found_at)"]
    own = "\n".join([*lines, *(f"    {line}" for line in _lines(program, wanted)), ""])
    return REMAINDER + own if any(let.fn is Fn.MOD for let in program.needed(_names(wanted))) else own


def _lines(program: Program, wanted: Sequence[Arg]) -> Iterator[str]:
    for i, name in enumerate(program.inputs):
        yield f"{mangled(name)} = given[{i}]"
    lets = program.needed(_names(wanted))
    yield from (line(program, let) for let in lets)
    are_truths = truths(lets)
    for j, arg in enumerate(wanted):
        found = operand(arg, "float64")
        yield f"found[{j}] = {f'1.0 if {found} else 0.0' if arg in are_truths else found}"


def line(program: Program, let: Let) -> str:
    """One operation of a program, outside its loops."""
    if let.fn is Fn.ROUNDED:
        rounding = "float64" if program.compute == "float64" else "rounded"
        return f"{mangled(let.name)} = {rounding}({operand(let.args[0], 'float64')})"
    return print_let(let, "float64", words=REST)
