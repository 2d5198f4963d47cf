"""Update rules in plain NumPy, as their papers write them and not as this package does: the judges of its rules.

Each takes a tensor `w`, its gradient `g`, the number `t` of the update from 1, the learning rate, and `s`, where it
keeps what it likes; it returns the new tensor. Arguments have the names and defaults that users are promised.
"""

import zlib
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from compare import Array
from papers_of_averages import schedulefreesgd
from papers_of_axes import adammini, came, sm3
from papers_of_moments import State, adabelief, adam_step, ademamix, adopt, ema, grams, laprop, norm, radam, yogi
from words import plain

Paper = Callable[..., Array]


def tiger(w: Array, g: Array, t: int, lr: float, s: State, beta: float = 0.965, multiplier: float = 1.0) -> Array:
    """Su 2023, with the rate of the kind of `w`."""
    return w - lr * multiplier * np.sign(ema(s, "m", beta, g))


def cautiousadamw(
    w: Array, g: Array, t: int, lr: float, s: State, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7
) -> Array:
    """Liang et al. 2024, algorithm 1, around Adam as in section 2 of Kingma & Ba 2015, without its decay."""
    m, v = ema(s, "m", beta_1, g), ema(s, "v", beta_2, g**2)
    step = lr * np.sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (np.sqrt(v) + epsilon)
    moved = step * g > 0
    return np.asarray(w - step * moved / max(float(np.mean(moved)), 1e-3))


def left_over(t: int, decay_steps: float) -> float:
    """The linear decay of Bello et al. 2017: 1 in the first step."""
    return max(0.0, 1 - (t - 1) / decay_steps) if decay_steps else 1.0


def addsign(
    w: Array, g: Array, t: int, lr: float, s: State, alpha: float = 1.0, beta: float = 0.9, decay_steps: float = 0.0
) -> Array:
    """Bello et al. 2017, section 5.3."""
    m = ema(s, "m", beta, g)
    return w - lr * (alpha + left_over(t, decay_steps) * np.sign(g) * np.sign(m)) * g


def powersign(
    w: Array, g: Array, t: int, lr: float, s: State, base: float = np.e, beta: float = 0.9, decay_steps: float = 0.0
) -> Array:
    """Bello et al. 2017, section 5.3."""
    m = ema(s, "m", beta, g)
    return w - lr * base ** (left_over(t, decay_steps) * np.sign(g) * np.sign(m)) * g


def lars(
    w: Array,
    g: Array,
    t: int,
    lr: float,
    s: State,
    momentum: float = 0.9,
    trust_coefficient: float = 0.001,
    l2: float = 0.0,
    epsilon: float = 0.0,
) -> Array:
    """You, Gitman & Ginsburg 2017, algorithm 1."""
    local = trust_coefficient * norm(w) / (norm(g) + l2 * norm(w) + epsilon)
    s["v"] = momentum * s.get("v", 0.0) + lr * local * (g + l2 * w)
    return w - s["v"]


def stableadamw(
    w: Array, g: Array, t: int, lr: float, s: State, beta_1: float = 0.9, beta_2: float = 0.99, epsilon: float = 1e-6
) -> Array:
    """Wortsman et al. 2023, algorithm 2."""
    v = ema(s, "v", beta_1 * (1 - beta_1 ** (t - 1)) / (1 - beta_1**t), g)
    u = ema(s, "u", beta_2 * (1 - beta_2 ** (t - 1)) / (1 - beta_2**t), g**2)
    rms = float(np.sqrt(np.mean(g**2 / np.maximum(u, epsilon**2))))
    return w - lr / max(1.0, rms) * v / (np.sqrt(u) + epsilon)


def rprop(
    w: Array,
    g: Array,
    t: int,
    lr: float,
    s: State,
    eta_minus: float = 0.5,
    eta_plus: float = 1.2,
    smallest: float = 1e-6,
    largest: float = 50.0,
) -> Array:
    """Igel & Huesken 2000, algorithm 3 (iRprop-)."""
    g = g.copy()
    size = s.setdefault("size", np.full_like(g, lr))
    same = s.get("g", np.zeros_like(g)) * g
    size[same > 0] = np.minimum(size[same > 0] * eta_plus, largest)
    size[same < 0] = np.maximum(size[same < 0] * eta_minus, smallest)
    g[same < 0] = 0
    s["g"] = g
    new: Array = w - np.sign(g) * size
    return new


def adan(
    w: Array,
    g: Array,
    t: int,
    lr: float,
    s: State,
    beta_1: float = 0.98,
    beta_2: float = 0.92,
    beta_3: float = 0.99,
    epsilon: float = 1e-8,
) -> Array:
    """Xie et al. 2022, algorithm 1, with betas that are kept, and no bias, as in the authors' code."""
    change = g - s.get("g", g)
    s["g"] = g
    m = ema(s, "m", beta_1, g) / (1 - beta_1**t)
    v = ema(s, "v", beta_2, change) / (1 - beta_2**t)
    n = ema(s, "n", beta_3, (g + beta_2 * change) ** 2) / (1 - beta_3**t)
    return w - lr * (m + beta_2 * v) / (np.sqrt(n) + epsilon)


def mars(
    w: Array,
    g: Array,
    t: int,
    lr: float,
    s: State,
    beta_1: float = 0.95,
    beta_2: float = 0.99,
    gamma: float = 0.025,
    epsilon: float = 1e-8,
) -> Array:
    """Yuan et al. 2024, algorithm 2 with the gradient before in place of the other one."""
    c = g + gamma * beta_1 / (1 - beta_1) * (g - s.get("g", g))
    s["g"] = g
    return w - lr * adam_step(s, c / max(1.0, norm(c)), t, beta_1, beta_2, epsilon)


def nosadam(
    w: Array, g: Array, t: int, lr: float, s: State, beta_1: float = 0.9, gamma: float = 0.1, epsilon: float = 1e-8
) -> Array:
    """Huang, Wang & Dong 2019, algorithm 1, with B(t) = sum of k ** -gamma."""
    before, now = (sum(k**-gamma for k in range(1, last + 1)) for last in (t - 1, t))
    v = ema(s, "v", float(before / now), g**2)
    return w - lr * ema(s, "m", beta_1, g) / (np.sqrt(v) + epsilon)


def novograd(
    w: Array,
    g: Array,
    t: int,
    lr: float,
    s: State,
    beta_1: float = 0.95,
    beta_2: float = 0.98,
    l2: float = 0.0,
    epsilon: float = 1e-8,
) -> Array:
    """Ginsburg et al. 2019, algorithm 1."""
    square = np.array(norm(g) ** 2)
    s["v"] = beta_2 * s["v"] + (1 - beta_2) * square if t > 1 else square
    s["m"] = beta_1 * s.get("m", np.zeros_like(g)) + (g / (np.sqrt(s["v"]) + epsilon) + l2 * w)
    return w - lr * s["m"]


def adagc(
    w: Array,
    g: Array,
    t: int,
    lr: float,
    s: State,
    everyone: float,
    beta_1: float = 0.9,
    beta_2: float = 0.95,
    epsilon: float = 1e-8,
    relative: float = 1.05,
    absolute: float = 1.0,
    beta: float = 0.98,
    warmup: int = 100,
) -> Array:
    """Wang et al. 2025, algorithm 1; `everyone` is the norm of all gradients."""
    if t <= warmup:
        g = g * min(absolute / everyone, 1.0)
        s["gamma"] = np.minimum(s.get("gamma", np.inf), norm(g))
    else:
        g = g * min(relative * float(s["gamma"]) / norm(g), 1.0)
        s["gamma"] = beta * s["gamma"] + (1 - beta) * norm(g)
    return w - lr * adam_step(s, g, t, beta_1, beta_2, epsilon)


def sophia(
    w: Array,
    g: Array,
    t: int,
    lr: float,
    s: State,
    hessian: Array,
    beta_1: float = 0.96,
    beta_2: float = 0.99,
    gamma: float = 0.01,
    epsilon: float = 1e-12,
    every: int = 10,
) -> Array:
    """Liu et al. 2023, algorithm 3."""
    m = ema(s, "m", beta_1, g)
    if t % every == 1 % every:
        ema(s, "h", beta_2, hessian)
    return w - lr * np.clip(m / np.maximum(gamma * s["h"], epsilon), -1, 1)


SEED = 7


def drawn(seed: int, path: str, step: int, place: int, count: int) -> Array:
    """The normal numbers of a variable's elements, each from the word of Philox4x32-10 that is its own."""
    key = [seed, zlib.crc32(path.encode())]
    words = [plain([i // 4, place, zlib.crc32(b"draws"), step], key)[i % 4] for i in range(count)]
    return np.array([NormalDist().inv_cdf(((word ^ 1 << 31) + 0.5) / 2**32) for word in words])


def sgld(w: Array, g: Array, t: int, lr: float, s: State, position: int = 0, temperature: float = 1.0) -> Array:
    """Welling & Teh 2011, eq. 4."""
    noise = drawn(SEED, f"variable_{position}", t, 0, w.size).reshape(w.shape)
    return np.asarray(w - lr / 2 * g + np.sqrt(lr * temperature) * noise)


DRAWING = frozenset({"SGLD"})
"""Rules that draw random numbers, which are made with SEED."""

PAPERS: dict[str, Paper] = {
    "AdaBelief": adabelief,
    "AdaGC": adagc,
    "AddSign": addsign,
    "ADOPT": adopt,
    "AdEMAMix": ademamix,
    "CautiousAdamW": cautiousadamw,
    "AdamMini": adammini,
    "Adan": adan,
    "CAME": came,
    "Grams": grams,
    "LaProp": laprop,
    "LARS": lars,
    "MARS": mars,
    "NosAdam": nosadam,
    "NovoGrad": novograd,
    "PowerSign": powersign,
    "RAdam": radam,
    "ScheduleFreeSGD": schedulefreesgd,
    "Rprop": rprop,
    "Sophia": sophia,
    "SGLD": sgld,
    "SM3": sm3,
    "StableAdamW": stableadamw,
    "Tiger": tiger,
    "Yogi": yogi,
}
"""By the names of our classes."""
