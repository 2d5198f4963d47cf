"""A run on arrays of a GPU of which some calls are skipped, beside one that never sees them."""

import math
import os
from typing import Any

import numpy as np
from compare import Array, make
from gpu import cupy

BAD = (math.inf, -math.inf, math.nan)
SHAPES: list[Any] = [50, (21, 5), 1]


class Run:
    """An optimizer on arrays of a GPU, with a twin that never sees what is bad."""

    def __init__(self, made: Any, dtypes: tuple[str, ...] = ("float32", "float32", "float32")) -> None:
        values = [make(shape, i).astype(dtype) for i, (shape, dtype) in enumerate(zip(SHAPES, dtypes, strict=True))]
        self.rng, self.dtypes = np.random.default_rng(3), dtypes
        self.variables, self.others = ([cupy.asarray(v.copy()) for v in values] for _ in range(2))
        self.optimizer, self.twin = made(), made()
        self.optimizer.build(self.variables)
        self.twin.build(self.others)

    def gradients(self) -> list[Array]:
        pairs = zip(SHAPES, self.dtypes, strict=True)
        return [self.rng.normal(size=shape).astype(dtype) for shape, dtype in pairs]

    def both(self, gradients: list[Array]) -> None:
        for one in (self.optimizer, self.twin):
            one.apply([cupy.asarray(gradient) for gradient in gradients])

    def bits(self) -> list[bytes]:
        state = {name: value for name, value in self.optimizer.state_dict().items() if name != "skipped"}
        return [np.asarray(value).tobytes() for value in state.values()] + [v.get().tobytes() for v in self.variables]

    def skips(self, tensor: int, place: int, value: float) -> None:
        before, skipped = self.bits(), self.optimizer.skipped_steps
        gradients = self.gradients()
        gradients[tensor].flat[place] = value
        self.optimizer.apply([cupy.asarray(gradient) for gradient in gradients])
        assert self.optimizer.skipped_steps == skipped + 1
        assert self.bits() == before

    def assert_same(self) -> None:
        mine, theirs = self.optimizer.state_dict(), self.twin.state_dict()
        assert int(mine.pop("skipped")) > 0
        assert mine.keys() == theirs.keys()
        assert all(np.asarray(mine[name]).tobytes() == np.asarray(theirs[name]).tobytes() for name in mine)
        assert [v.get().tobytes() for v in self.variables] == [v.get().tobytes() for v in self.others]
        assert self.optimizer.iterations == self.twin.iterations


EVERYWHERE = bool(os.environ.get("RMSPROP_JIT_NONFINITE"))
"""Whether all kinds of numbers and options are tried with each other; by default some are."""

OPTION_SETS: list[dict[str, Any]] = [
    {},
    {"global_clipnorm": 1.0, "momentum": 0.9},
    {"clipnorm": 1.0, "weight_decay": 0.1},
    {"use_ema": True, "ema_overwrite_frequency": 2},
]
