"""Schedule-free rules in plain NumPy, with x, y and z of the paper all kept: the judges of those that keep two."""

import numpy as np
from compare import Array
from papers_of_moments import State, ema


def step_of_z(
    w: Array,
    direction: Array,
    t: int,
    lr: float,
    s: State,
    beta: float,
    warmup_steps: float = 0.0,
    r: float = 0.0,
    weight_lr_power: float = 0.0,
) -> Array:
    """Defazio et al. 2024, section 2, with c of the authors' code. `w` is y; x follows it, since decay may move it.

    z begins as `s["start"]`, the tensor before it decays, or as `w`.
    """
    z = s.get("z", s.get("start", w))
    x = (w - (1 - beta) * z) / beta
    rate = lr * t / warmup_steps if t <= warmup_steps else lr
    s["lr_max"] = np.maximum(s.get("lr_max", -1.0), rate)
    weight = t**r * s["lr_max"] ** weight_lr_power
    s["weight_sum"] = s.get("weight_sum", 0.0) + weight
    c = weight / s["weight_sum"] if s["weight_sum"] > 0 else 0.0
    s["z"] = z - rate * direction
    s["x"] = (1 - c) * x + c * s["z"]
    new: Array = (1 - beta) * s["z"] + beta * s["x"]
    return new


def schedulefreesgd(
    w: Array,
    g: Array,
    t: int,
    lr: float,
    s: State,
    momentum: float = 0.9,
    weight_lr_power: float = 2.0,
    **more: float,
) -> Array:
    """Defazio et al. 2024, section 2."""
    return step_of_z(w, g, t, lr, s, momentum, weight_lr_power=weight_lr_power, **more)


def schedulefreeadamw(
    w: Array,
    g: Array,
    t: int,
    lr: float,
    s: State,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
    **weights: float,
) -> Array:
    """Defazio et al. 2024, algorithm 1, with the bias of squares corrected as in the authors' code."""
    v = ema(s, "v", beta_2, g**2) / (1 - beta_2**t)
    return step_of_z(w, g / (np.sqrt(v) + epsilon), t, lr, s, beta_1, **weights)
