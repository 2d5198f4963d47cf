"""A program's step on the host: Python source for speed, NumPy's float64 where Python would raise.

The numbers of a step are computed before every step whose hyperparameters changed, so the lets are printed once as a
Python function on floats, one line a let. Python raises where IEEE arithmetic gives inf or nan (1/0), also for a value
that is not chosen in the end; then the same lets are evaluated in NumPy's float64, which is what defines them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import bits, ops
from .dtypes import storage
from .ops import Fn
from .printer import mangled
from .program import Arg, Program, key_of

ScalarFunction = Callable[[Mapping[str, float]], tuple[float, ...]]


def evaluate(program: Program, hypers: Mapping[str, float]) -> dict[str, float]:
    """Every number of a step by name, by IEEE rules in float64; `rounded` goes through the type of the program."""
    values: dict[str, Any] = {name: float(hypers[key_of(name)]) for name in program.inputs}
    for let in program.step:
        args = [values[arg] if isinstance(arg, str) else arg for arg in let.args]
        values[let.name] = _rounded(program, args[0]) if let.fn is Fn.ROUNDED else ops.scalar(let.fn, *args)
    return values


def _rounded(program: Program, value: float) -> float:
    with np.errstate(all="ignore"):
        return float(storage(program.compute).scalar(value))


def source(program: Program, wanted: Sequence[Arg] | None = None) -> str:
    """The Python function that computes the program's scalars, or other numbers of its step."""
    chosen = program.scalars if wanted is None else wanted
    results = "".join(f"{_operand(name)}, " for name in chosen)
    return "\n".join(["def scalars(h):", *_lines(program, chosen), f"    return ({results})", ""])


def _lines(program: Program, wanted: Sequence[Arg]) -> Iterator[str]:
    for let in program.needed(name for name in wanted if isinstance(name, str)):
        args = [_operand(arg) for arg in let.args]
        row = let.fn.row
        if row.function or row.of_bits or let.fn is Fn.ROUNDED:
            text = f"{let.fn.name.lower()}({', '.join(args)})"
        else:
            text = row.python.format(*args, zero="0.0", one="1.0")
        yield f"    {mangled(let.name)} = {text}"


def _operand(arg: Arg) -> str:
    if isinstance(arg, str):
        return f"h[{key_of(arg)!r}]" if arg.startswith(("h.", "s.")) else mangled(arg)
    return repr(arg) if np.isfinite(arg) else f"float({str(arg)!r})"


def compile_scalars(program: Program, wanted: Sequence[Arg] | None = None) -> ScalarFunction:
    """A function from the hyperparameters' values (with "learning_rate" and "step") to the scalars, as floats.

    wanted: other numbers of the step, instead of the scalars.
    """
    chosen = program.scalars if wanted is None else wanted
    names: dict[str, object] = {fn.name.lower(): functools.partial(ops.scalar, fn) for fn in Fn}
    names |= {"rounded": functools.partial(_rounded, program), "abs": abs, "sqrt": math.sqrt, **bits.ON_HOST}
    exec(compile(source(program, chosen), f"<scalars of {program.name}>", "exec"), names)
    fast: ScalarFunction = names["scalars"]  # type: ignore[assignment]

    def scalars(values: Mapping[str, float]) -> tuple[float, ...]:
        try:
            return fast(values)
        except (ArithmeticError, ValueError):  # the latter of a root of less than zero
            known = evaluate(program, values)
            return tuple(known[arg] if isinstance(arg, str) else float(arg) for arg in chosen)

    return scalars
