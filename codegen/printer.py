"""print_lets(): a kernel's arithmetic as lines of Python, one line a `let`.

The lines are what Numba compiles, on the CPU and on the GPU. Every literal is typed: an untyped one would turn a
float32 kernel into float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .errors import LoweringError
from .expr import INFIX, Fn
from .kernel import Arg, Let

CALLS = frozenset({Fn.SQRT, Fn.EXP, Fn.LOG, Fn.POW, Fn.ABS})
"""Printed as calls; the backend's frame defines functions with these (lower-case) names."""

FRAME_NAMES = frozenset(
    "table arrays rows claims all_claims scalars hypers run first partial own total claim row tensor start count "
    "alone i lane block width element sofar folded fill step lanes add_shared INF NAN float32 float64 sqrt exp log "
    "pow abs fabs range int32 int64 thread base cuda device tensors uniforms cells peers others clock vectors half v "
    "floor peer last end stride add join add_square join_square add_abs join_abs add_finite join_finite".split()
)
"""Variables and functions of the backends' frames; arrays of these names get another one."""

TEMPLATES = {
    Fn.NEG: "-{0}",
    Fn.SQUARE: "{0} * {0}",
    Fn.WHERE: "{1} if {0} else {2}",
    Fn.MINIMUM: "{0} if ({0} <= {1}) | ({0} != {0}) else {1}",
    Fn.MAXIMUM: "{0} if ({0} >= {1}) | ({0} != {0}) else {1}",
    Fn.NOT: "not {0}",
}


def literal(value: float, dtype: str) -> str:
    """A constant of the given precision."""
    text = repr(float(value)) if math.isfinite(value) else {math.inf: "INF", -math.inf: "-INF"}.get(value, "NAN")
    return f"{dtype}({text})"


def operand(arg: Arg, dtype: str) -> str:
    """A name, or a typed constant."""
    return arg if isinstance(arg, str) else literal(arg, dtype)


def print_let(let: Let, dtype: str) -> str:
    """`name = ...`, the operation of one let."""
    args = [operand(arg, dtype) for arg in let.args]
    if let.fn is Fn.SIGN:
        one, x = literal(1.0, dtype), args[0]
        return f"{let.name} = {one} if {x} > 0 else (-{one} if {x} < 0 else {x})"
    if let.fn in TEMPLATES:
        return f"{let.name} = {TEMPLATES[let.fn].format(*args)}"
    if let.fn in CALLS:
        return f"{let.name} = {let.fn.name.lower()}({', '.join(args)})"
    if let.fn in INFIX:
        return f"{let.name} = {args[0]} {let.fn.value} {args[1]}"
    raise LoweringError(f"`{let}` cannot be printed: {let.fn.name} should have been hoisted to the host.")


def print_lets(lets: Sequence[Let], dtype: str) -> list[str]:
    """One line for each let, in order."""
    return [print_let(let, dtype) for let in lets]


def indented(lines: Sequence[str], levels: int = 1) -> list[str]:
    """Lines moved right by `levels` of four spaces."""
    return ["    " * levels + line for line in lines]
