"""Update rules as equations, compiled to one pass over memory.

Write a `Rule` from equations; `specialize` it for a set of flags; run the program with a backend or read it with
`explain`. This package knows nothing of optimizers: no parameter lists, no schedules, no options.
"""

from .errors import ArrayError, BackendError, LoweringError, OptionError, RmspropJitError, RuleError
from .expr import Expr, Rate
from .functions import (
    all_finite,
    clip,
    exp,
    log,
    max_abs,
    maximum,
    minimum,
    rounded,
    sign,
    sqrt,
    square,
    sum_of,
    sum_of_squares,
    where,
)
from .kernel import Kernel, Program
from .rule import Flag, Hyper, Rule, Slot, new
from .specialize import FORMS, explain, specialize

__all__ = [
    "FORMS",
    "ArrayError",
    "BackendError",
    "Expr",
    "Flag",
    "Hyper",
    "Kernel",
    "LoweringError",
    "OptionError",
    "Program",
    "Rate",
    "RmspropJitError",
    "Rule",
    "RuleError",
    "Slot",
    "all_finite",
    "clip",
    "exp",
    "explain",
    "log",
    "max_abs",
    "maximum",
    "minimum",
    "new",
    "rounded",
    "sign",
    "specialize",
    "sqrt",
    "square",
    "sum_of",
    "sum_of_squares",
    "where",
]
