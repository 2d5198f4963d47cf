"""STEP scalars on the host: Python source for speed, NumPy's float64 where Python would raise.

A program's scalars are computed before every step whose hyperparameters changed, so they are printed once as a Python
function on floats (about a microsecond). Python raises where IEEE arithmetic gives inf or nan (1/0); then the same
expressions are evaluated in NumPy's float64, which is what defines them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from . import arithmetic
from .errors import LoweringError
from .expr import INFIX, Call, Const, Expr, Fn, Select, Symbol, walk
from .kernel import Arg, Let, Program, Scalar
from .lower import operation

ScalarFunction = Callable[[Mapping[str, float]], tuple[float, ...]]


def evaluate(e: Expr, values: Mapping[str, float], dtype: str) -> float:
    """A STEP expression by IEEE rules in float64; `rounded` goes through `dtype`."""
    match e:
        case Const(value):
            return value
        case Symbol(_, name):
            return values[name]
        case Select(condition, a, b):
            return evaluate(a if evaluate(condition, values, dtype) else b, values, dtype)
        case Call(Fn.ROUNDED, (x,)):
            return float(np.dtype(dtype).type(evaluate(x, values, dtype)))
        case Call(fn, args):
            return arithmetic.scalar(fn, *(evaluate(arg, values, dtype) for arg in args))
    raise LoweringError(f"`{e}` is not a STEP expression; hoisting should have left it in a kernel.")


def source(scalars: tuple[Scalar, ...]) -> str:
    """The Python function that computes the scalars."""
    items = "".join(f"        {_text(scalar.expr)},  # {scalar.name}\n" for scalar in scalars)
    return f"def scalars(h):\n    return (\n{items}    )\n"


def _text(e: Expr) -> str:
    match e:
        case Const(value):
            return repr(value) if np.isfinite(value) else f"float({str(value)!r})"
        case Symbol(_, name):
            return f"h[{name!r}]"
        case Select(condition, a, b):
            return f"({_text(a)} if {_text(condition)} else {_text(b)})"
        case Call(Fn.NEG, (x,)):
            return f"(-{_text(x)})"
        case Call(Fn.NOT, (x,)):
            return f"(not {_text(x)})"
        case Call(fn, (x, y)) if fn in INFIX and fn is not Fn.POW:
            return f"({_text(x)} {fn.value} {_text(y)})"
        case Call(fn, args):
            return f"{fn.name.lower()}({', '.join(map(_text, args))})"
    raise LoweringError(f"`{e}` is not a STEP expression; hoisting should have left it in a kernel.")


def compile_scalars(program: Program) -> ScalarFunction:
    """A function from the hyperparameters' values (with "learning_rate" and "step") to the scalars, as floats."""
    names: dict[str, object] = {
        fn.name.lower(): functools.partial(arithmetic.scalar, fn) for fn in Fn if fn is not Fn.ROUNDED
    }
    kind = np.dtype(program.dtype).type
    names["rounded"] = lambda x: float(kind(x))
    exec(compile(source(program.scalars), f"<scalars of {program.name}>", "exec"), names)
    fast: ScalarFunction = names["scalars"]  # type: ignore[assignment]

    def scalars(values: Mapping[str, float]) -> tuple[float, ...]:
        try:
            return fast(values)
        except ArithmeticError:
            return tuple(evaluate(scalar.expr, values, program.dtype) for scalar in program.scalars)

    return scalars


def as_lets(scalars: Sequence[Scalar]) -> tuple[list[str], list[Let], list[Arg]]:
    """The same expressions for a machine without Python: the hyperparameters they read, lets, and where each ends.

    Hyperparameter x is called `at_x` in the lets. `rounded` is left to whoever prints them.
    """
    names: dict[Expr, Arg] = {}
    leaves: list[str] = []
    lets: list[Let] = []
    for node in walk(*(scalar.expr for scalar in scalars)):  # operands first
        if isinstance(node, Const):
            names[node] = float(node.value)
        elif isinstance(node, Symbol):
            leaves.append(node.name)
            names[node] = f"at_{node.name}"
        else:
            fn, operands = operation(node)
            lets.append(Let(f"s{len(lets)}", fn, tuple(names[operand] for operand in operands)))
            names[node] = lets[-1].name
    return leaves, lets, [names[scalar.expr] for scalar in scalars]
