"""Rules with Adam's two averages in plain NumPy, as their papers write them; see `papers`."""

import numpy as np
from compare import Array

State = dict[str, Array]


def ema(s: State, name: str, beta: float, value: Array) -> Array:
    """A running average that begins as zero."""
    s[name] = beta * s.get(name, np.zeros_like(value)) + (1.0 - beta) * value
    return s[name]


def norm(x: Array) -> float:
    """The Euclidean norm of all elements."""
    return float(np.sqrt(np.sum(x * x)))


def adabelief(
    w: Array, g: Array, t: int, lr: float, s: State, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-16
) -> Array:
    """Zhuang et al. 2020, algorithm 2."""
    m = ema(s, "m", beta_1, g)
    s["s"] = beta_2 * s.get("s", 0.0) + (1 - beta_2) * (g - m) ** 2 + epsilon
    m_hat, s_hat = m / (1 - beta_1**t), s["s"] / (1 - beta_2**t)
    return w - lr * m_hat / (np.sqrt(s_hat) + epsilon)


def yogi(
    w: Array,
    g: Array,
    t: int,
    lr: float,
    s: State,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-3,
    initial_accumulator_value: float = 1e-6,
) -> Array:
    """Zaheer et al. 2018, algorithm 2."""
    v = s.get("v", initial_accumulator_value)
    s["v"] = v - (1 - beta_2) * np.sign(v - g**2) * g**2
    return w - lr * ema(s, "m", beta_1, g) / (np.sqrt(s["v"]) + epsilon)


def laprop(
    w: Array, g: Array, t: int, lr: float, s: State, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-15
) -> Array:
    """Ziyin, Wang & Ueda 2020, algorithm 1."""
    n = ema(s, "n", beta_2, g**2) / (1 - beta_2**t)
    return w - lr * ema(s, "m", beta_1, g / (np.sqrt(n) + epsilon)) / (1 - beta_1**t)


def adopt(
    w: Array,
    g: Array,
    t: int,
    lr: float,
    s: State,
    beta_1: float = 0.9,
    beta_2: float = 0.9999,
    epsilon: float = 1e-6,
    clipped: bool = True,
) -> Array:
    """Taniguchi et al. 2024, algorithm 2, whose t is 0 in the first update here."""
    if t == 1:
        s["v"], s["m"] = g**2, np.zeros_like(g)
        return w
    normed = g / np.maximum(np.sqrt(s["v"]), epsilon)
    c = (t - 1) ** 0.25
    s["m"] = beta_1 * s["m"] + (1 - beta_1) * (np.clip(normed, -c, c) if clipped else normed)
    s["v"] = beta_2 * s["v"] + (1 - beta_2) * g**2
    return w - lr * s["m"]


def ademamix(
    w: Array,
    g: Array,
    t: int,
    lr: float,
    s: State,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    beta_3: float = 0.9999,
    alpha: float = 5.0,
    beta_3_warmup: float = 0.0,
    alpha_warmup: float = 0.0,
    epsilon: float = 1e-8,
) -> Array:
    """Pagliardini, Ablin & Grangier 2024, algorithm 1 with its schedulers f_alpha and f_beta3."""
    if alpha_warmup:
        alpha = min(t * alpha / alpha_warmup, alpha)
    if beta_3_warmup:
        a, b, x = np.log(beta_1), np.log(beta_3), t / beta_3_warmup
        beta_3 = min(np.exp(a * b / ((1 - x) * b + x * a)), beta_3) if x < 1 else beta_3
    m_1 = ema(s, "m_1", beta_1, g) / (1 - beta_1**t)
    v = ema(s, "v", beta_2, g**2) / (1 - beta_2**t)
    return w - lr * (m_1 + alpha * ema(s, "m_2", beta_3, g)) / (np.sqrt(v) + epsilon)


def adam_step(s: State, g: Array, t: int, beta_1: float, beta_2: float, epsilon: float) -> Array:
    """The direction of Adam: Kingma & Ba 2015, algorithm 1."""
    m = ema(s, "m", beta_1, g) / (1 - beta_1**t)
    return m / (np.sqrt(ema(s, "v", beta_2, g**2) / (1 - beta_2**t)) + epsilon)


def grams(
    w: Array, g: Array, t: int, lr: float, s: State, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-6
) -> Array:
    """Cao, Li & Song 2024, algorithm 1."""
    return w - lr * np.sign(g) * np.abs(adam_step(s, g, t, beta_1, beta_2, epsilon))


def radam(
    w: Array, g: Array, t: int, lr: float, s: State, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8
) -> Array:
    """Liu et al. 2020, algorithm 2, rectified from 5 on."""
    m = ema(s, "m", beta_1, g) / (1 - beta_1**t)
    v = ema(s, "v", beta_2, g**2)
    inf = 2 / (1 - beta_2) - 1
    rho = inf - 2 * t * beta_2**t / (1 - beta_2**t)
    if rho <= 5:
        return w - lr * m
    r: float = (((rho - 4) * (rho - 2) * inf) / ((inf - 4) * (inf - 2) * rho)) ** 0.5
    scale: float = lr * r * float(1 - beta_2**t) ** 0.5
    return w - scale * m / (np.sqrt(v) + epsilon)
