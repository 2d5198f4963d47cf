"""Trained variables with averaged weights: by `use_ema`, and by a rule's own equation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compare import Array

from rmsprop_jit import Optimizer, RMSprop, ScheduleFreeAdamW

EMA: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5}
MAKERS: dict[str, Callable[..., Optimizer]] = {
    "ema": lambda **more: RMSprop(0.1, **EMA, **more),
    "own": lambda **more: ScheduleFreeAdamW(0.1, **more),
}
each = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def arrays() -> list[Array]:
    """Of both dtypes, with what a copy by arithmetic would lose."""
    odd = np.array([np.nan, -0.0, 1.5, np.inf], np.float32)
    odd.view(np.uint32)[0] |= 0x1234
    return [np.linspace(-1, 1, 7, dtype=np.float32), np.linspace(1, 2, 6).reshape(2, 3), odd, np.array(3, np.float32)]


def gradients() -> list[Array]:
    return [np.full_like(one, 0.5) for one in arrays()]


def trained(make: Callable[..., Optimizer], steps: int = 3, **more: Any) -> tuple[Optimizer, list[Array]]:
    variables, optimizer = arrays(), make(**more)
    optimizer.build(variables)
    for _ in range(steps):
        optimizer.apply(gradients())
    return optimizer, variables


def bits(variables: list[Array]) -> list[bytes]:
    return [one.tobytes() for one in variables]
