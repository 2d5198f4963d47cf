"""However a caller passes gradients, the numbers are the same: lists, dicts, pairs, any order, any part.

The optimizer remembers how it was called last time and takes a short path when the next call is alike; this compares
long random sequences of calls with the oracle, which remembers nothing.
"""

from typing import Any

import numpy as np
import pytest
from oracle import Oracle

import rmsprop_jit
from rmsprop_jit.arrays.homes import Array

SHAPES = [(5,), (), (130,), (3, 4), (0,), (17,), (2, 2)]
OPTION_SETS = [
    {"momentum": 0.9},
    {"centered": True, "use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3},
    {"gradient_accumulation_steps": 3, "momentum": 0.5},
    {"gradient_accumulation_steps": 2, "use_ema": True, "ema_momentum": 0.5, "weight_decay": 0.1, "clipvalue": 0.5},
    {"weight_decay": 0.1, "loss_scale_factor": 4.0},
]


class Caller:
    """Makes random calls of one optimizer; keeps some gradient arrays to pass them again."""

    def __init__(self, rng: np.random.Generator, variables: list[Array]) -> None:
        self.rng, self.variables = rng, variables
        self.kept = [self.fresh() for _ in range(2)]
        self.style = "list"

    def fresh(self) -> list[Any]:
        return [np.asarray(self.rng.normal(size=v.shape), np.float32) for v in self.variables]

    def gradients(self) -> list[Any]:
        """Fresh arrays, arrays of an earlier call (with new numbers in them), or some missing."""
        kind = self.rng.integers(6)
        gradients = self.fresh() if kind < 2 else self.kept[self.rng.integers(2)]
        if kind == 2:
            for g in gradients:
                g[...] = self.rng.normal(size=g.shape)
        if kind == 3:
            gradients = [None if self.rng.integers(3) == 0 else g for g in gradients]
            gradients[0] = self.kept[0][0]
        return gradients

    def call(self, optimizer: rmsprop_jit.RMSprop) -> list[Any]:
        """One call; returns the gradients in build order."""
        gradients = self.gradients()
        if self.rng.integers(4) == 0:
            self.style = ["list", "variables", "shuffled", "dict", "pairs", "part"][self.rng.integers(6)]
        order = list(range(len(gradients)))
        if self.style == "list":
            optimizer.apply(gradients)
        elif self.style == "dict":
            optimizer.apply({f"variable_{i}": g for i, g in enumerate(gradients)})
        elif self.style == "variables":
            optimizer.apply(gradients, self.variables)
        else:
            self.rng.shuffle(order)
            if self.style == "part":
                order = [i for i in order if i < 3 and gradients[i] is not None] or [0]
                gradients = [g if i in order else None for i, g in enumerate(gradients)]
            chosen = [gradients[i] for i in order], [self.variables[i] for i in order]
            if self.style == "pairs":
                optimizer.apply_gradients(zip(*chosen, strict=True))
            else:
                optimizer.apply(*chosen)
        return gradients


@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("options", OPTION_SETS, ids=lambda options: "+".join(options))
def test_every_style_gives_the_numbers_of_the_oracle(options: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    variables = [np.asarray(rng.normal(size=shape), np.float32) for shape in SHAPES]
    options = {"learning_rate": 0.05, "rho": 0.9, "epsilon": 1e-7, **options}
    optimizer, oracle = rmsprop_jit.RMSprop(**options), Oracle(variables, options)
    optimizer.build(variables)
    caller = Caller(rng, variables)
    for call in range(60):
        if call == 30:
            optimizer.learning_rate = 0.02
        gradients = caller.call(optimizer)
        oracle.call(gradients, 0.05 if call < 30 else 0.02)
        for i, (ours, theirs) in enumerate(zip(variables, oracle.v, strict=True)):
            assert ours.tobytes() == theirs.tobytes(), (call, caller.style, i)
