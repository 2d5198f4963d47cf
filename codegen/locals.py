"""What the author of equations called their parts: the local variables of the functions that were run.

An expression does not know what it was assigned to. Python does, for as long as the functions run, so they are run once
more with an eye on what they return from: only where a rule is shown, and nothing but the text depends on it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from .expr import Expr

COMPILER = __name__.rpartition(".")[0]
"""The package whose own functions are no equations, nor is what they call ..."""

RULES = f"{COMPILER}.rule"
"""... but for this module, which calls equations."""


def locals_of(run: Callable[[], Iterable[Any]]) -> dict[Expr, str]:
    """The names of what is computed while `run` is exhausted; the first name of an expression counts.

    Arguments are not among them: they are what the caller has a name for, or nobody.
    """
    found: dict[Expr, str] = {}

    def look(frame: FrameType, event: str, _value: object) -> None:
        if event != "return" or _is_compiler(frame) or (_is_compiler(frame.f_back) and not _is_rule(frame.f_back)):
            return
        code = frame.f_code
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        for name, value in frame.f_locals.items():
            if isinstance(value, Expr) and value.children and name not in arguments and name.isidentifier():
                found.setdefault(value, name)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        for _ in run():
            pass
    finally:
        sys.setprofile(before)
    return found


def _module(frame: FrameType | None) -> str:
    return "" if frame is None else str(frame.f_globals.get("__name__"))


def _is_compiler(frame: FrameType | None) -> bool:
    return f"{_module(frame)}.".startswith(f"{COMPILER}.")


def _is_rule(frame: FrameType | None) -> bool:
    return _module(frame) == RULES
