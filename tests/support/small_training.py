"""A small training whose whole state can be compared, and changes to it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rmsprop_jit import RMSprop


class Training:
    """An optimizer after a few calls, and its variables."""

    def __init__(self, options: dict[str, Any], calls: int = 3, built: bool = True) -> None:
        rng = np.random.default_rng(1)
        self.variables = {name: rng.normal(size=size).astype(np.float32) for name, size in (("a", 5), ("b", 3))}
        self.gradients = {name: rng.normal(size=v.shape).astype(np.float32) for name, v in self.variables.items()}
        self.optimizer = RMSprop(**{"learning_rate": 0.01, **options})
        if built:
            self.optimizer.build(self.variables)
            self.step(calls)

    def step(self, calls: int) -> None:
        for _ in range(calls):
            self.optimizer.apply(self.gradients)

    def seen(self) -> tuple[Any, ...]:
        """All of it, as bytes and numbers."""
        state = {name: np.asarray(value).tobytes() for name, value in self.optimizer.state_dict().items()}
        own = [v.tobytes() for v in self.variables.values()]
        names = [(one.path, one.numpy().tobytes()) for one in self.optimizer.variables]
        config = {name: repr(value) for name, value in self.optimizer.get_config().items()}
        return state, own, names, config, self.optimizer.iterations, self.optimizer.learning_rate


def assigning(**values: Any) -> Callable[[Training], None]:
    def change(training: Training) -> None:
        for name, value in values.items():
            setattr(training.optimizer, name, value)

    return change


def build(training: Training) -> None:
    training.optimizer.build(training.variables)
