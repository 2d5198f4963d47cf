"""Rules that keep of squares what is left along axes, in plain NumPy as their papers write them; see `papers`."""

import numpy as np
from compare import Array
from papers_of_moments import State, ema


def factored(s: State, name: str, decay: float, squares: Array) -> Array:
    """Shazeer & Stern 2018, algorithm 2: of averages of rows and columns the matrix that they stand for."""
    r, c = ema(s, f"{name}r", decay, squares.mean(-1)), ema(s, f"{name}c", decay, squares.mean(-2))
    return np.asarray(r[..., :, None] * c[..., None, :] / r.mean(-1)[..., None, None])


def came(
    w: Array,
    g: Array,
    t: int,
    lr: float,
    s: State,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    beta_3: float = 0.9999,
    epsilon_1: float = 1e-30,
    epsilon_2: float = 1e-16,
    clip_threshold: float = 1.0,
) -> Array:
    """Luo et al. 2023, algorithm 2; of vectors as in the authors' code."""
    squares = g**2 + epsilon_1
    v = factored(s, "v", beta_2, squares) if g.ndim > 1 else ema(s, "v", beta_2, squares)
    u = g / np.sqrt(v)
    u = u / max(1.0, float(np.sqrt(np.mean(u**2))) / clip_threshold)
    m = ema(s, "m", beta_1, u)
    if g.ndim < 2:
        return np.asarray(w - lr * m)
    return np.asarray(w - lr * m / np.sqrt(factored(s, "s", beta_3, (u - m) ** 2 + epsilon_2)))


def sm3(w: Array, g: Array, t: int, lr: float, s: State, momentum: float = 0.9, epsilon: float = 1e-8) -> Array:
    """Anil et al. 2019, algorithm SM3-II, with a cover for each place along each axis."""
    covers = [s.get(f"cover {i}", np.zeros(size)) for i, size in enumerate(g.shape)]
    wide = [cover.reshape([-1 if i == j else 1 for j in range(g.ndim)]) for i, cover in enumerate(covers)]
    nu = np.minimum.reduce(np.broadcast_arrays(*wide)) + g**2
    for i in range(g.ndim):
        s[f"cover {i}"] = nu.max(tuple(j for j in range(g.ndim) if j != i))
    step = np.divide(g, np.sqrt(nu + epsilon), where=nu > 0, out=np.zeros(g.shape))
    return np.asarray(w - lr * ema(s, "m", momentum, step))


def adammini(
    w: Array, g: Array, t: int, lr: float, s: State, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8
) -> Array:
    """Zhang et al. 2024, algorithm 1."""
    axes = tuple(range(1, g.ndim)) or (0,)
    m, v = ema(s, "m", beta_1, g), ema(s, "v", beta_2, (g**2).mean(axes, keepdims=True))
    return np.asarray(w - lr * (m / (1 - beta_1**t)) / (np.sqrt(v / (1 - beta_2**t)) + epsilon))
