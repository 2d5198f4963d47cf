"""Rules whose step has a length by norms of its tensor: Lamb, LARS, StableAdamW."""

from __future__ import annotations

from ..codegen import Expr, Flag, Hyper, Rule, maximum, mean_of, sqrt, square, sum_of_squares, where
from ..codegen.names import Names
from .parts import BETA_LINES, BETAS, EPSILON_LINE, MOMENTS, decay, missing, mixed, moments, small, unbiased
from .row import BY_POSITION, Bundled, Row, bundled


def lamb(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """You et al. 2020, algorithm 2; as Keras's `Lamb`."""
    m, v = moments(g, s, h)
    update = unbiased(m, h.beta_1, h) / (sqrt(unbiased(v, h.beta_2, h)) + h.epsilon)
    weights, updates = sqrt(sum_of_squares(p)), sqrt(sum_of_squares(update))
    trust = where((weights > 0) & (updates > 0), weights / updates, 1.0)
    return {s.momentum: m, s.velocity: v, p: p - trust * h.learning_rate * update}


@bundled(
    Row(
        Rule("lamb", lamb, slots=MOMENTS, hypers={**BETAS, "epsilon": small(1e-7)}),
        "Adam's direction, as long in each tensor as its parameters are.",
        {**BETA_LINES, **EPSILON_LINE},
        "You et al. 2020, algorithm 2; arithmetic and order as Keras 3. Differs from the paper: decay is apart.",
        order=("beta_1", "beta_2", "epsilon", *BY_POSITION),
        together=tuple(MOMENTS),
    )
)
class Lamb(Bundled):
    """See its row."""


def lars(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """You, Gitman & Ginsburg 2017, algorithm 1; a tensor of zeros, or without a gradient, takes the rate itself."""
    weights, gradients = sqrt(sum_of_squares(p)), sqrt(sum_of_squares(g))
    local = h.trust_coefficient * weights / (gradients + h.l2 * weights + h.epsilon)
    trust = where((weights > 0) & (gradients > 0), local, 1.0)
    step = h.learning_rate * trust * where(on.l2, g + h.l2 * p, g)
    m = where(on.momentum, h.momentum * s.momentum + step, step)
    return {s.momentum: m, p: p - m}


@bundled(
    Row(
        Rule(
            "lars",
            lars,
            slots={"momentum": 0.0},
            hypers={
                "momentum": Hyper(0.9, low=0.0, high=1.0),
                "trust_coefficient": Hyper(0.001, low=0.0),
                "l2": Hyper(0.0, low=0.0),
                "epsilon": small(0.0),
            },
            flags={"momentum": Flag(follows="momentum"), "l2": Flag(follows="l2")},
        ),
        "Momentum with a rate for each tensor: the ratio of the norms of parameters and gradients.",
        {
            "momentum": "of the scaled step, in [0, 1]; 0 has no slot and no cost.",
            "trust_coefficient": "how much of the norm of its parameters a tensor may move by; >= 0.",
            "l2": "beta of the paper: decay that is part of the gradient; >= 0.",
            "epsilon": "added to the norm of gradients; >= 0.",
        },
        "You, Gitman & Ginsburg 2017, algorithm 1; where a norm is zero, the rate alone.",
        learning_rate=0.1,
    )
)
class LARS(Bundled):
    """See its row."""


def stable_adamw(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Wortsman et al. 2023, algorithm 2: Adam whose step is never longer than that of its average in the mean."""
    kept_1, kept_2 = (beta * (1 - beta ** (h.step - 1)) / missing(beta, h) for beta in (h.beta_1, h.beta_2))
    m, v = mixed(s.momentum, g, kept_1), mixed(s.velocity, square(g), kept_2)
    mean = mean_of(square(g) / maximum(v, h.epsilon * h.epsilon))
    rate = h.learning_rate / maximum(sqrt(mean), 1.0)
    return {s.momentum: m, s.velocity: v, p: p - rate * m / (sqrt(v) + h.epsilon)}


@bundled(
    Row(
        Rule(
            "stableadamw",
            stable_adamw,
            slots=MOMENTS,
            hypers={"beta_1": decay(0.9), "beta_2": decay(0.99), "epsilon": small(1e-6)},
        ),
        "AdamW that slows down in tensors whose gradients have outgrown their average of squares.",
        {**BETA_LINES, **EPSILON_LINE},
        "Wortsman et al. 2023, algorithm 2. Differs: `weight_decay` is not slowed down with the step.",
    )
)
class StableAdamW(Bundled):
    """See its row."""
