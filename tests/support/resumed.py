"""Optimizers to save, and what a state says of the options that it was saved with."""

import json
from typing import Any

import numpy as np
from compare import Array

from rmsprop_jit import RMSprop


def built(*arguments: Any, **options: Any) -> RMSprop:
    """One that knows its variables."""
    optimizer = RMSprop(*arguments, **options)
    optimizer.build({"kernel": np.ones((2, 3), np.float32), "bias": np.ones(3, np.float32)})
    return optimizer


def stepped(*arguments: Any, **options: Any) -> RMSprop:
    """One after a call."""
    optimizer = built(*arguments, **options)
    optimizer.apply({"kernel": np.ones((2, 3), np.float32), "bias": np.ones(3, np.float32)})
    return optimizer


def saved_options(state: dict[str, Array]) -> dict[str, Any]:
    """The options in a state."""
    found: dict[str, Any] = json.loads(str(state["options"]))
    return found
