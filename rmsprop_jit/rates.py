"""Rates: what a learning rate is, and what gives it: a number, a schedule, or a callable."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .codegen import Hyper
from .schedules import SCHEDULES, LearningRateSchedule, serialize

RATE = Hyper(0.001)


def rate_of(source: LearningRateSchedule | Callable[..., float], calls: int) -> float:
    """What a schedule or a callable gives after `calls` calls, unchecked."""
    return source(calls) if isinstance(source, LearningRateSchedule) or _wants_step(source) else source()


def _wants_step(function: Callable[..., float]) -> bool:
    """Whether a callable needs the step as an argument (Keras 3.2 passed it; later versions call without)."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        return True
    except ValueError:
        return False
    return False


def in_config(value: Any) -> Any:
    """A schedule of ours as a dict, anything else as itself."""
    return serialize(value) if type(value) in SCHEDULES.values() else value
