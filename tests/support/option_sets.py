"""Random option sets, variables and gradients: seeds in, the same case out."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from compare import Array

import rmsprop_jit

LearningRate = float | rmsprop_jit.LearningRateSchedule | Callable[[], float]

OWN = [(), ("centered",), ("momentum",), ("centered", "momentum")]
AROUND = [
    (),
    ("weight_decay",),
    ("weight_decay", "weight_decay_exclusions"),
    ("clipvalue", "loss_scale_factor"),
    ("clipnorm",),
    ("global_clipnorm", "use_ema"),
    ("use_ema", "ema_overwrite_frequency"),
    ("clipnorm", "weight_decay", "weight_decay_exclusions", "use_ema"),
    ("gradient_accumulation_steps", "global_clipnorm"),
    ("gradient_accumulation_steps", "window_empty"),
    ("gradient_accumulation_steps", "gradient_missing"),
]
CALLS = [
    ("micro_step", "gradient_accumulation_steps"),
    ("micro_step", "window_empty"),
    ("use_ema", "idle"),
    ("overwrite_with_gradient",),
    ("overwrite_with_gradient", "gradient_accumulation_steps"),
    ("overwrite_with_gradient", "micro_step"),
]
FLAG_SETS = [(*own, *around) for own, around in itertools.product(OWN, AROUND)] + CALLS
"""Flags of the whole step of RMSprop, by which backends other than the CPU's are tested."""

SHAPES = [(), (0,), (1,), (7,), (3, 5), (33,), (2, 0, 3), (129,), (17, 19), (1, 1, 9)]


@dataclass
class Case:
    """One random case; `options` are RMSprop's keyword arguments, `gradients[call][variable]` may be None."""

    seed: int
    dtype: str
    options: dict[str, Any]
    schedule: bool
    variables: list[Array] = field(repr=False)
    gradients: list[list[Array | None]] = field(repr=False)
    excluded: list[int] = field(default_factory=list)

    @property
    def has_norm(self) -> bool:
        return "clipnorm" in self.options or "global_clipnorm" in self.options


def learning_rate(rng: np.random.Generator) -> tuple[LearningRate, bool]:
    """A float, a schedule or a callable, with whether it is a schedule."""
    rate = float(rng.choice([0.001, 0.01, 0.1, 0.5]))
    kind = rng.integers(8)
    if kind == 0:
        return rmsprop_jit.ExponentialDecay(rate, 3, 0.7, staircase=bool(rng.integers(2))), True
    if kind == 1:
        return rmsprop_jit.PolynomialDecay(rate, 4, rate / 10, power=2.0), True
    if kind == 2:
        return rmsprop_jit.CosineDecay(rate, 5, alpha=0.1), True
    if kind == 3:
        return (lambda: rate), False
    return rate, False


def make_case(seed: int, dtype: str = "float32") -> Case:
    """The case of a seed."""
    rng = np.random.default_rng(seed)
    rate, schedule = learning_rate(rng)
    options: dict[str, Any] = {
        "learning_rate": rate,
        "rho": float(rng.choice([0.0, 0.5, 0.9, 0.99])),
        "momentum": float(rng.choice([0.0, 0.5, 0.9])),
        "epsilon": float(rng.choice([1e-7, 1e-3])),
        "centered": bool(rng.integers(2)),
    }
    if rng.integers(2):
        options["weight_decay"] = float(rng.choice([0.0, 0.004, 0.1]))
    clip = rng.integers(6)
    if clip < 3:
        name = ("clipnorm", "global_clipnorm", "clipvalue")[clip]
        options[name] = float(rng.choice([0.05, 1.0, 30.0]))
    if rng.integers(3) == 0:
        options |= {
            "use_ema": True,
            "ema_momentum": float(rng.choice([0.0, 0.3, 0.99, 1.0])),
            "ema_overwrite_frequency": [None, 1, 2, 3][rng.integers(4)],
        }
    if rng.integers(3) == 0:
        options["loss_scale_factor"] = float(rng.choice([0.3, 8.0, 1024.0]))
    if rng.integers(3) == 0:
        options["gradient_accumulation_steps"] = int(rng.integers(2, 4))
    shapes = [SHAPES[i] for i in rng.integers(len(SHAPES), size=rng.integers(1, 6))]
    variables = [np.asarray(rng.normal(size=shape), dtype) for shape in shapes]
    gradients: list[list[Array | None]] = [
        [_gradient(rng, shape, dtype) for shape in shapes] for _ in range(rng.integers(3, 8))
    ]
    if rng.integers(3) == 0 and len(shapes) > 1:
        for call in gradients[1:]:
            call[rng.integers(len(shapes))] = None
    excluded = [i for i in range(len(shapes)) if rng.integers(4) == 0] if "weight_decay" in options else []
    return Case(seed, dtype, options, schedule, variables, gradients, excluded)


def _gradient(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    scale = rng.choice([1e-3, 1.0, 50.0])
    return np.asarray(rng.normal(size=shape) * scale, dtype)
