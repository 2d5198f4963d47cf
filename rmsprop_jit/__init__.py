"""Fast optimizer updates on NumPy and CuPy arrays: Keras's RMSprop, or any rule you write down, as one fused kernel.

::

    optimizer = rmsprop_jit.RMSprop(learning_rate=0.01, centered=True, momentum=0.9)
    optimizer.build({"weights": weights, "bias": bias})
    optimizer.apply({"weights": weights_gradient, "bias": bias_gradient})     # in place, one pass over memory
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from .errors import ArrayError, BackendError, LoweringError, OptionError, RmspropJitError, RuleError
    from .optimizer import Optimizer
    from .rules.rmsprop import RMSprop
    from .schedules import (
        CosineDecay,
        CosineDecayRestarts,
        ExponentialDecay,
        InverseTimeDecay,
        LearningRateSchedule,
        PiecewiseConstantDecay,
        PolynomialDecay,
    )
    from .variable import Variable

__version__ = "0.1.0"

__all__ = [
    "ArrayError",
    "BackendError",
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "LoweringError",
    "Optimizer",
    "OptionError",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "RMSprop",
    "RmspropJitError",
    "RuleError",
    "Variable",
]

_HOMES = {"Optimizer": "optimizer", "Variable": "variable", "RMSprop": "rules.rmsprop"}
_HOMES |= dict.fromkeys((name for name in __all__ if name.endswith("Error")), "errors")
_HOMES |= {name: "schedules" for name in __all__ if name not in _HOMES}
"""The module of each public name. It is imported when the name is first used: nobody waits for what he does not use."""

_MODULES = ("codegen", "errors", "optimizer", "rules", "schedules", "variable")


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
    return sorted({*globals(), *__all__})
