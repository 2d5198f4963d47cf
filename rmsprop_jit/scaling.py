"""Loss scales: how one follows good and bad calls, and what it may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .errors import OptionError
from .option_table import OPTIONS

LARGEST, SMALLEST = float(np.finfo(np.float32).max), 2.0**-126
"""Scales go no further: in float32, which Keras keeps them in, the next would be inf, or not be a normal number."""


class Scaling(NamedTuple):
    """The scale, what of it depends on how many calls, and which calls it knows of.

    steps:   good calls since it was last changed.
    calls, skipped: of the optimizer inside, so that a call after which a signal came is seen by the next one.
    """

    scale: float
    steps: int = 0
    calls: int = 0
    skipped: int = 0

    def at(self, calls: int, skipped: int, growth: int) -> Scaling:
        """After further calls of the optimizer inside, done or skipped."""
        scale, steps = self.scale, self.steps
        for _ in range(calls - self.calls):
            steps += 1
            if steps == growth:
                scale, steps = scale * 2.0 if scale * 2.0 <= LARGEST else scale, 0
        for _ in range(skipped - self.skipped):
            scale, steps = max(scale * 0.5, SMALLEST), 0
        return Scaling(scale, steps, calls, skipped)


def refuse_others(others: Mapping[str, Any]) -> None:
    """Raise OptionError for anything but defaults, which old configs of Keras's have."""
    for name, value in others.items():
        if name == "dynamic" and not value:
            raise OptionError(
                "a LossScaleOptimizer changes its scale. Received: dynamic=False. "
                "Set `loss_scale_factor` of the optimizer inside alone."
            )
        is_usual = name == "dynamic" or (name in OPTIONS and value in (None, OPTIONS[name].default))
        if not is_usual:
            raise OptionError(
                f"LossScaleOptimizer has no argument {name!r}. Received: {name}={value!r}. "
                "Set it on the optimizer inside."
            )


def checked_scale(value: Any) -> float:
    """A scale, rounded to float32 as Keras keeps it. Raises OptionError unless it is a normal number above 0."""
    try:
        found = float(np.float32(value)) if abs(float(value)) <= LARGEST else 0.0
    except (TypeError, ValueError):
        found = 0.0
    if not SMALLEST <= found:
        raise OptionError(
            f"a scale must be a number from {SMALLEST:g} to {LARGEST:g}. Received: {value!r}. The usual one is 2.0**15."
        )
    return found


def checked_steps(value: Any) -> int:
    """A number of calls. Raises OptionError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"`dynamic_growth_steps` is an integer >= 1. Received: {value!r}. The usual one is 2000.")
    return value
