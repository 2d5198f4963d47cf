"""Rules that compare a gradient with the one before, or that are brought more than gradients."""

from __future__ import annotations

from typing import Any

from ..codegen import Expr, Flag, Hyper, Input, Rule, Slot, clip, maximum, sign, sqrt, square, sum_of_squares, where
from ..codegen.names import Names
from .parts import BETA_LINES, EPSILON_LINE, MOMENTS, SQUARES, decay, mixed, small, unbiased
from .row import Bundled, Row, bundled


def rprop(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Igel & Huesken 2000, iRprop-, after Riedmiller & Braun 1993: a changed sign forgets the gradient."""
    agreement = g * s.previous
    factor = where(agreement > 0, h.eta_plus, where(agreement < 0, h.eta_minus, 1.0))
    size = clip(where(on.first, h.learning_rate, s.size) * factor, h.smallest, h.largest)
    used = where(agreement < 0, 0.0, g)
    return {s.previous: used, s.size: size, p: p - sign(used) * size}


@bundled(
    Row(
        Rule(
            "rprop",
            rprop,
            slots={"previous": 0.0, "size": SQUARES},
            hypers={
                "eta_minus": Hyper(0.5, low=0.0, high=1.0, low_open=True, high_open=True),
                "eta_plus": Hyper(1.2, low=1.0, low_open=True),
                "smallest": Hyper(1e-6, low=0.0),
                "largest": Hyper(50.0, low=0.0),
            },
        ),
        "A step size for each parameter, by the signs of gradients alone; for gradients of all data.",
        {
            "eta_minus": "factor of a step size where the sign has changed, in (0, 1).",
            "eta_plus": "factor of a step size where it has not; > 1.",
            "smallest": "step size.",
            "largest": "step size.",
        },
        "Riedmiller & Braun 1993; Igel & Huesken 2000 (iRprop-). The learning rate is the first step size.",
        learning_rate=0.01,
    )
)
class Rprop(Bundled):
    """See its row."""


COMPARED = Slot(0.0, exact=True)
"""A gradient, of which the difference to the next one is wanted."""


def adan(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Xie et al. 2022, algorithm 1, with the correction of bias of the authors' code; betas are what is kept."""
    change = g - where(on.first, g, s.previous)
    m, d = mixed(s.momentum, g, h.beta_1), mixed(s.difference, change, h.beta_2)
    n = mixed(s.velocity, square(g + h.beta_2 * change), h.beta_3)
    divisor = sqrt(unbiased(n, h.beta_3, h)) + h.epsilon
    step = (unbiased(m, h.beta_1, h) + unbiased(h.beta_2 * d, h.beta_2, h)) / divisor
    return {s.momentum: m, s.difference: d, s.velocity: n, s.previous: g, p: p - h.learning_rate * step}


@bundled(
    Row(
        Rule(
            "adan",
            adan,
            slots={"momentum": 0.0, "difference": 0.0, "velocity": SQUARES, "previous": COMPARED},
            hypers={"beta_1": decay(0.98), "beta_2": decay(0.92), "beta_3": decay(0.99), "epsilon": small(1e-8)},
        ),
        "Nesterov's momentum by differences of gradients, divided by the root of their squares.",
        {
            "beta_1": "decay of the running average of gradients, in [0, 1); 1 - beta_1 of the paper.",
            "beta_2": "decay of the running average of differences, in [0, 1); 1 - beta_2 of the paper.",
            "beta_3": "decay of the running average of squares, in [0, 1); 1 - beta_3 of the paper.",
            **EPSILON_LINE,
        },
        "Xie et al. 2022, algorithm 1. Differs: bias corrected as in the authors' code; decay as in Keras.",
    )
)
class Adan(Bundled):
    """See its row."""


def mars(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Yuan et al. 2024, algorithm 2 (MARS-AdamW, approximate): a corrected gradient, within norm 1, for Adam."""
    corrected = g + h.gamma * (h.beta_1 / (1 - h.beta_1)) * (g - where(on.first, g, s.previous))
    norm = sqrt(sum_of_squares(corrected))
    c = corrected * where(norm > 1, 1 / norm, 1.0)
    m, v = mixed(s.momentum, c, h.beta_1), mixed(s.velocity, square(c), h.beta_2)
    step = unbiased(m, h.beta_1, h) / (sqrt(unbiased(v, h.beta_2, h)) + h.epsilon)
    return {s.momentum: m, s.velocity: v, s.previous: g, p: p - h.learning_rate * step}


@bundled(
    Row(
        Rule(
            "mars",
            mars,
            slots={**MOMENTS, "previous": COMPARED},
            hypers={
                "beta_1": decay(0.95),
                "beta_2": decay(0.99),
                "gamma": Hyper(0.025, low=0.0),
                "epsilon": small(1e-8),
            },
        ),
        "Adam on gradients of less variance: each is corrected by its difference to the one before.",
        {**BETA_LINES, "gamma": "how much of the difference is added; >= 0.", **EPSILON_LINE},
        "Yuan et al. 2024, algorithm 2 with the approximate gradient; no difference in a variable's first update.",
        learning_rate=3e-3,
    )
)
class MARS(Bundled):
    """See its row."""


def is_due(h: Any) -> bool:
    """Whether this step brings a Hessian."""
    return bool((h.step - 1) % h.every == 0)


def sophia(p: Expr, g: Expr, s: Names, h: Names, on: Names, x: Names) -> dict[Expr, Expr]:
    """Liu et al. 2023, algorithm 3: Newton's step of the averages, no longer than the rate."""
    m = mixed(s.momentum, g, h.beta_1)
    curvature = where(on.due, mixed(s.hessian, x.hessian, h.beta_2), s.hessian)
    step = clip(m / maximum(h.gamma * curvature, h.epsilon), -1.0, 1.0)
    return {s.momentum: m, s.hessian: curvature, p: p - h.learning_rate * step}


@bundled(
    Row(
        Rule(
            "sophia",
            sophia,
            slots={"momentum": 0.0, "hessian": 0.0},
            hypers={
                "beta_1": Hyper(0.96, low=0.0, high=1.0),
                "beta_2": Hyper(0.99, low=0.0, high=1.0),
                "gamma": Hyper(0.01, low=0.0),
                "epsilon": small(1e-12),
                "every": Hyper(10.0, low=1.0, whole=True),
            },
            flags={"due": Flag(when=is_due)},
            inputs={"hessian": Input()},
        ),
        "Divide the running mean of gradients by that of the Hessian's diagonal, and bound the step.",
        {
            "beta_1": "decay of the running average of gradients, in [0, 1].",
            "beta_2": "decay of the running average of Hessians, in [0, 1].",
            "gamma": "factor of the Hessian; >= 0.",
            "epsilon": "the least that is divided by; >= 0.",
            "every": "updates from one Hessian to the next: `apply(grads, hessian=[...])`.",
        },
        "Liu et al. 2023, algorithm 3 (Sophia-G or -H, by the estimate that you bring).",
    )
)
class Sophia(Bundled):
    """See its row."""
