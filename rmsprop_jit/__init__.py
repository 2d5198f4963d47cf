"""Fast optimizer updates on NumPy and CuPy arrays: Keras's RMSprop, or any rule you write down, as one fused kernel.

::

    optimizer = rmsprop_jit.RMSprop(learning_rate=0.01, centered=True, momentum=0.9)
    optimizer.build({"weights": weights, "bias": bias})
    optimizer.apply({"weights": weights_gradient, "bias": bias_gradient})     # in place, one pass over memory
"""

import importlib
import typing

from . import codegen as codegen  # the language: whatever is done takes it, and a first step need not wait for it
from .rules import table

if typing.TYPE_CHECKING:
    from .errors import ArrayError as ArrayError
    from .errors import BackendError as BackendError
    from .errors import FileError as FileError
    from .errors import LoweringError as LoweringError
    from .errors import NonFiniteError as NonFiniteError
    from .errors import OptionError as OptionError
    from .errors import RmspropJitError as RmspropJitError
    from .errors import RuleError as RuleError
    from .loss_scale import LossScaleOptimizer as LossScaleOptimizer
    from .optimizer import Optimizer as Optimizer
    from .rules.table import *  # noqa: F403
    from .schedules import CosineDecay as CosineDecay
    from .schedules import CosineDecayRestarts as CosineDecayRestarts
    from .schedules import ExponentialDecay as ExponentialDecay
    from .schedules import InverseTimeDecay as InverseTimeDecay
    from .schedules import LearningRateSchedule as LearningRateSchedule
    from .schedules import PiecewiseConstantDecay as PiecewiseConstantDecay
    from .schedules import PolynomialDecay as PolynomialDecay
    from .variable import Variable as Variable

__version__ = "0.1.0"

_ERRORS = (
    "ArrayError",
    "BackendError",
    "FileError",
    "LoweringError",
    "NonFiniteError",
    "OptionError",
    "RmspropJitError",
    "RuleError",
)
_SCHEDULES = (
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
)

_HOMES = {"LossScaleOptimizer": "loss_scale", "Optimizer": "optimizer", "Variable": "variable"}
_HOMES |= dict.fromkeys(_ERRORS, "errors") | dict.fromkeys(_SCHEDULES, "schedules")
_HOMES |= {name: f"rules.{family}" for name, family in table.HOMES.items()}
"""The module of each public name. It is imported when the name is first used: nobody waits for what he does not use."""

if not typing.TYPE_CHECKING:  # where they see none, they take what is imported above, the table's classes among it
    __all__ = sorted(_HOMES)

_MODULES = ("combinators", "errors", "optimizer", "rules", "schedules", "variable")


def __getattr__(name: str) -> typing.Any:
    """A public name, or a module of them, which from now on is there as any other."""
    if name in _HOMES:
        found = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    elif name in _MODULES:
        found = importlib.import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}.")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """What is there and what would be."""
    return sorted({*globals(), *_HOMES})
