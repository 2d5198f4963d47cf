"""Functions of generated code that call each other: each is compiled by itself, and LLVM links them. Imports Numba.

A compiler takes more than twice the time for a text of twice the length, and what several passes call is compiled once.
"""

# Numba reads signatures from the functions' return values, which its type hints do not describe.
# mypy: ignore-errors

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from llvmlite.ir.values import ArgumentAttributes
from numba import float64, int64, types
from numba.extending import intrinsic

from .strips import ELEMENTS, beside

POINTERS = {f"beside_{name}": beside(name) for name in ELEMENTS}
"""What an argument may be said to be, beside float64; `table` is one of integers, and others are integers."""


NOT_KEPT = next(name for name in ("captures(none)", "nocapture") if name in ArgumentAttributes._known)
"""What LLVM calls a pointer that is not there any more when a function has returned, by its age."""


def arguments_of(function: Callable[..., Any]) -> list[Any]:
    """The types of a function's arguments."""
    table = types.CPointer(int64)
    given = inspect.signature(function, eval_str=True).parameters.values()
    return [
        one.annotation if one.annotation is not one.empty else table if one.name == "table" else int64 for one in given
    ]


def form_of(argument: Any) -> str:
    """The type of an argument in LLVM's text."""
    return "ptr" if isinstance(argument, types.CPointer) else {int64: "i64", float64: "double"}[argument]


def symbol_of(name: str) -> str:
    """Under what a function is linked."""
    return f"rmsprop_jit_{name}"


def calling(symbol: str, arguments: Sequence[Any]) -> Any:
    """An intrinsic that calls the function which is linked as `symbol`.

    Pointers are said not to be kept there: so that no other address can be one of a buffer on the caller's stack.
    """

    def typed(*given):
        def generate(_context, builder, signature, args):
            form = ir.FunctionType(ir.VoidType(), [arg.type for arg in args])
            function = builder.module.globals.get(symbol) or ir.Function(builder.module, form, symbol)
            for one in function.args:
                if isinstance(one.type, ir.PointerType):
                    one.add_attribute(NOT_KEPT)
            builder.call(
                function, [builder.bitcast(arg, one.type) for arg, one in zip(args, function.args, strict=True)]
            )
            return ir.Constant(ir.IntType(64), 0)

        wanted = [own if isinstance(own, types.CPointer) else one for own, one in zip(given, arguments, strict=True)]
        return int64(*wanted), generate

    names = ", ".join(f"x_{i}" for i, _ in enumerate(arguments))
    known = {"typed": typed}
    exec(f"def call(_context, {names}):\n    return typed({names})", known)  # intrinsics have as many as they name
    return intrinsic(known["call"])
