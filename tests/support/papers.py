"""Update rules in plain NumPy, as their papers write them and not as this package does: the judges of its rules.

Each takes a tensor `w`, its gradient `g`, the number `t` of the update from 1, the learning rate, and `s`, where it
keeps what it likes; it returns the new tensor. Arguments have the names and defaults that users are promised.
"""

from collections.abc import Callable

import numpy as np
from compare import Array

State = dict[str, Array]
Paper = Callable[..., Array]


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


def tiger(w: Array, g: Array, t: int, lr: float, s: State, beta: float = 0.965) -> Array:
    """Su 2023."""
    return w - lr * np.sign(ema(s, "m", beta, g))


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


PAPERS: dict[str, Paper] = {
    "AdaBelief": adabelief,
    "AdaGC": adagc,
    "AddSign": addsign,
    "ADOPT": adopt,
    "AdEMAMix": ademamix,
    "Adan": adan,
    "Grams": grams,
    "LaProp": laprop,
    "LARS": lars,
    "MARS": mars,
    "NosAdam": nosadam,
    "NovoGrad": novograd,
    "PowerSign": powersign,
    "RAdam": radam,
    "Rprop": rprop,
    "Sophia": sophia,
    "StableAdamW": stableadamw,
    "Tiger": tiger,
    "Yogi": yogi,
}
"""By the names of our classes."""
