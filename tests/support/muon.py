"""Muon as a user's own rule: matrices by Newton-Schulz's iteration between two kernels, all else by Adam."""

from typing import Any

from rmsprop_jit.codegen import Expr, Flag, Hyper, Rule, outside, sqrt, square, where
from rmsprop_jit.codegen.names import Names


def orthogonal(array: Any, a: float, b: float, c: float, steps: float, rms: float) -> Any:
    """Jordan et al. 2024: nearly the orthogonal matrix next to one; as large as Liu et al. 2025 (Moonlight) have it."""
    is_tall = array.shape[0] > array.shape[1]
    x = array.T if is_tall else array
    x = x / ((x * x).sum() ** 0.5 + 1e-7)
    for _ in range(int(steps)):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    x = x * (max(array.shape) ** 0.5 * rms)
    return x.T if is_tall else x


def is_matrix(shape: tuple[int, ...]) -> bool:
    """What it is for."""
    return len(shape) == 2


def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """As Keras's `Muon`, for matrices and for others."""
    summed = s.momentum + (g + s.momentum * (h.momentum - 1))
    ahead = where(on.nesterov, g + h.momentum * summed, summed)
    turned = outside(orthogonal, ahead, h.muon_a, h.muon_b, h.muon_c, h.ns_steps, h.rms_rate)
    m = s.momentum + (g - s.momentum) * (1 - h.adam_beta_1)
    v = s.velocity + (square(g) - s.velocity) * (1 - h.adam_beta_2)
    rate = h.learning_rate * h.adam_lr_ratio * sqrt(1 - h.adam_beta_2**h.step) / (1 - h.adam_beta_1**h.step)
    return {
        s.momentum: where(on.matrix, summed, m),
        s.velocity: where(on.matrix, s.velocity, v),
        p: p - where(on.matrix, h.learning_rate * turned, m * rate / (sqrt(v) + h.epsilon)),
    }


MUON = Rule(
    "muon",
    equations,
    slots={"momentum": 0.0, "velocity": 0.0},
    hypers={
        "adam_beta_1": Hyper(0.9, 0, 1),
        "adam_beta_2": Hyper(0.999, 0, 1),
        "epsilon": 1e-7,
        "muon_a": 3.4445,
        "muon_b": -4.7750,
        "muon_c": 2.0315,
        "adam_lr_ratio": 1.0,
        "momentum": 0.95,
        "ns_steps": 5.0,
        "rms_rate": 0.2,
    },
    flags={"nesterov": True, "matrix": Flag(of=is_matrix)},
)
