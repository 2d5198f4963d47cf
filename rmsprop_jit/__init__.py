"""Fast optimizer updates on NumPy and CuPy arrays: Keras's RMSprop, or any rule you write down, as one fused kernel.

::

    optimizer = rmsprop_jit.RMSprop(learning_rate=0.01, centered=True, momentum=0.9)
    optimizer.build({"weights": weights, "bias": bias})
    optimizer.apply({"weights": weights_gradient, "bias": bias_gradient})     # in place, one pass over memory
"""

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
