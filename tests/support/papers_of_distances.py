"""Rules that estimate their rate from all tensors together, in plain NumPy, as their authors' code has them.

Each takes all tensors `ws`, their gradients `gs`, and what they were at the `start`; see `papers` for the rest.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from compare import Array

Tensors = Sequence[Array]
Together = Callable[..., list[Array]]
State = dict[Any, Any]


def dot(one: Tensors, other: Tensors) -> float:
    return sum(float(np.sum(a * b)) for a, b in zip(one, other, strict=True))


def size_1(xs: Tensors) -> float:
    return sum(float(np.sum(np.abs(x))) for x in xs)


def corrected(t: int, lr: float, beta_1: float, beta_2: float, wanted: bool) -> float:
    return lr * (1 - beta_2**t) ** 0.5 / (1 - beta_1**t) if wanted else lr


def prodigy(
    ws: Tensors,
    gs: Tensors,
    start: Tensors,
    t: int,
    lr: float,
    s: State,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    beta_3: float = 0.0,
    epsilon: float = 1e-8,
    d0: float = 1e-6,
    growth_rate: float = 0.0,
    d_coef: float = 1.0,
    safeguard_warmup: bool = False,
    use_bias_correction: bool = False,
) -> list[Array]:
    """Mishchenko & Defazio 2023, algorithm 4, with what `prodigyopt` adds to it."""
    zeros = [np.zeros_like(w) for w in ws]
    if t == 1:
        s |= {"d": d0, "d_max": d0, "numerator": 0.0, "m": zeros, "v": zeros, "s": zeros}
    beta_3, growth_rate = beta_3 or beta_2**0.5, growth_rate or np.inf
    d = s["d"]
    dlr = d * corrected(t, lr, beta_1, beta_2, use_bias_correction)
    way = [w0 - w for w0, w in zip(start, ws, strict=True)]
    s["numerator"] = beta_3 * s["numerator"] + d / d0 * dlr * dot(gs, way)
    s["m"] = [beta_1 * m + (1 - beta_1) * d * g for m, g in zip(s["m"], gs, strict=True)]
    s["v"] = [beta_2 * v + (1 - beta_2) * (d * g) ** 2 for v, g in zip(s["v"], gs, strict=True)]
    amount = d / d0 * (d if safeguard_warmup else dlr)
    s["s"] = [beta_3 * one + amount * g for one, g in zip(s["s"], gs, strict=True)]
    d_hat = d_coef * s["numerator"] / size_1(s["s"])
    if d == d0:
        d = max(d, d_hat)
    s["d_max"] = max(s["d_max"], d_hat)
    s["d"] = d = min(s["d_max"], d * growth_rate)
    return [w - dlr * m / (np.sqrt(v) + d * epsilon) for w, m, v in zip(ws, s["m"], s["v"], strict=True)]


def dadaptadamw(
    ws: Tensors,
    gs: Tensors,
    start: Tensors,
    t: int,
    lr: float,
    s: State,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
    d0: float = 1e-6,
    growth_rate: float = 0.0,
    use_bias_correction: bool = False,
) -> list[Array]:
    """Defazio & Mishchenko 2023, D-Adapt Adam, as `dadaptation.DAdaptAdam` has it."""
    zeros = [np.zeros_like(w) for w in ws]
    if t == 1:
        s |= {"d": d0, "numerator": 0.0, "m": zeros, "v": zeros, "s": zeros}
    growth_rate = growth_rate or np.inf
    d, root = s["d"], beta_2**0.5
    dlr = d * corrected(t, lr, beta_1, beta_2, use_bias_correction)
    weighted = [one / (np.sqrt(v) + epsilon) for one, v in zip(s["s"], s["v"], strict=True)]
    s["numerator"] = root * s["numerator"] + (1 - root) * dlr * dot(gs, weighted)
    s["m"] = [beta_1 * m + dlr * (1 - beta_1) * g for m, g in zip(s["m"], gs, strict=True)]
    s["v"] = [beta_2 * v + (1 - beta_2) * g * g for v, g in zip(s["v"], gs, strict=True)]
    s["s"] = [root * one + dlr * (1 - root) * g for one, g in zip(s["s"], gs, strict=True)]
    d_hat = s["numerator"] / ((1 - root) * size_1(s["s"]))
    s["d"] = max(d, min(d_hat, d * growth_rate))
    return [w - m / (np.sqrt(v) + epsilon) for w, m, v in zip(ws, s["m"], s["v"], strict=True)]


def dog(
    ws: Tensors,
    gs: Tensors,
    start: Tensors,
    t: int,
    lr: float,
    s: State,
    reps_rel: float = 1e-6,
    epsilon: float = 1e-8,
    layerwise: bool = False,
) -> list[Array]:
    """Ivgi, Hinder & Carmon 2023, eq. 2, with the first distance of section 4; LDoG is DoG of each tensor alone."""
    if layerwise:
        each = [(w, g, w0, s.setdefault(i, {})) for i, (w, g, w0) in enumerate(zip(ws, gs, start, strict=True))]
        return [dog([w], [g], [w0], t, lr, own, reps_rel, epsilon)[0] for w, g, w0, own in each]
    if t == 1:
        s |= {"r": reps_rel * (1 + dot(start, start) ** 0.5), "G": 0.0}
    way = [w - w0 for w, w0 in zip(ws, start, strict=True)]
    s["r"] = max(s["r"], dot(way, way) ** 0.5)
    s["G"] += dot(gs, gs)
    eta = s["r"] / (s["G"] + epsilon) ** 0.5
    return [w - lr * eta * g for w, g in zip(ws, gs, strict=True)]


TOGETHER: dict[str, Together] = {"Prodigy": prodigy, "DAdaptAdamW": dadaptadamw, "DoG": dog}
"""By the names of classes."""
