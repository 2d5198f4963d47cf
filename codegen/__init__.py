"""Update rules as equations, compiled to one pass over memory.

Write a `Rule` from equations; `specialize` it for a set of flags; run the program with a backend or read it with
`explain`. This package knows nothing of optimizers: no parameter lists, no schedules, no options.
"""

import importlib
import typing

from . import functions
from .errors import ArrayError, BackendError, LoweringError, OptionError, RmspropJitError, RuleError
from .expr import Expr
from .functions import *  # noqa: F403
from .kinds import Rate
from .parts import Flag, Hyper, Input, Slot
from .rule import Rule, new

if typing.TYPE_CHECKING:
    from .pipeline import FORMS, explain, specialize
    from .program import Kernel, Program

_COMPILER = {"FORMS": "pipeline", "explain": "pipeline", "specialize": "pipeline"}
_COMPILER |= {"Kernel": "program", "Program": "program"}


def __getattr__(name: str) -> typing.Any:
    """What writing a rule does not need, the compiler, is imported when it is first used."""
    if name not in _COMPILER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}.")
    return getattr(importlib.import_module(f".{_COMPILER[name]}", __name__), name)


def __dir__() -> list[str]:
    """What is there and what would be."""
    return sorted({*globals(), *__all__})


__all__ = [
    "FORMS",
    "ArrayError",
    "BackendError",
    "Expr",
    "Flag",
    "Hyper",
    "Input",
    "Kernel",
    "LoweringError",
    "OptionError",
    "Program",
    "Rate",
    "RmspropJitError",
    "Rule",
    "RuleError",
    "Slot",
    "explain",
    "new",
    "specialize",
]
__all__ += functions.__all__
