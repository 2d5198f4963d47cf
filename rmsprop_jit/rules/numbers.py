"""Rules that keep one number a tensor, or one for all: Nadam, NosAdam, NovoGrad, AdaGC."""

from __future__ import annotations

from typing import Any

from ..codegen import Expr, Flag, Hyper, Rule, Slot, minimum, sqrt, square, sum_of_squares, where
from ..codegen.names import Names
from .decays import At
from .dialects import Dialect, Spoken
from .parts import BETA_LINES, BETAS, EPSILON_LINE, MOMENTS, decay, mixed, moments, small, unbiased
from .row import BY_POSITION, Bundled, Polyglot, Row, bundled


def nadam(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Dozat 2016, with the schedule of momenta of Sutskever et al. 2013; as Keras's `Nadam`."""
    m, v = moments(g, s, h)
    now, following = (h.beta_1 * (1 - 0.5 * 0.96 ** (step * h.momentum_decay)) for step in (h.step, h.step + 1))
    product = s.u_product * now
    ahead = following / (1 - product * following) * m + (1 - now) / (1 - product) * g
    step = ahead * h.learning_rate / (sqrt(unbiased(v, h.beta_2, h)) + h.epsilon)
    return {s.momentum: m, s.velocity: v, s.u_product: product, p: p - step}


TORCH_NADAM = Dialect(
    hypers={"momentum_decay": Hyper(0.004, low=0.0)},
    arguments={"momentum_decay": "how fast the momentum grows, 1 as in Keras; >= 0."},
    decay=At.GRADIENT,
)
"""torch.optim.NAdam."""


@bundled(
    Row(
        Rule(
            "nadam",
            Spoken(nadam, {"momentum_decay": 1.0}),
            slots={**MOMENTS, "u_product": Slot(1.0, over="all")},
            hypers={**BETAS, "epsilon": small(1e-7)},
        ),
        "Adam with Nesterov's momentum, which grows from half of beta_1 to beta_1.",
        {**BETA_LINES, **EPSILON_LINE},
        "Dozat 2016, algorithm 2; arithmetic and order as Keras 3.",
        order=("beta_1", "beta_2", "epsilon", *BY_POSITION),
        dialects={"torch": TORCH_NADAM},
        together=tuple(MOMENTS),
    )
)
class Nadam(Polyglot):
    """See its row."""


def nosadam(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Huang, Wang & Dong 2019, algorithm 1 with B of NosAdam-HH: older squares weigh more.

    Differs from the authors' code: that corrects the bias of the momentum, too. Its epsilon is here.
    """
    total = s.total + h.step**-h.gamma
    m, v = mixed(s.momentum, g, h.beta_1), mixed(s.velocity, square(g), s.total / total)
    return {s.momentum: m, s.velocity: v, s.total: total, p: p - h.learning_rate * m / (sqrt(v) + h.epsilon)}


@bundled(
    Row(
        Rule(
            "nosadam",
            nosadam,
            slots={**MOMENTS, "total": Slot(0.0, over="all")},
            hypers={
                "beta_1": Hyper(0.9, low=0.0, high=1.0),
                "gamma": Hyper(0.1, low=0.0),
                "epsilon": small(1e-8),
            },
        ),
        "Adam that forgets no square: the weight of a step falls with its number.",
        {
            "beta_1": "decay of the running average of gradients, in [0, 1].",
            "gamma": "power by which the weights of squares fall; 0 is their mean; >= 0.",
            **EPSILON_LINE,
        },
        "Huang, Wang & Dong 2019, algorithm 1 (NosAdam-HH). Differs: the rate falls by a schedule of yours, if at all.",
    )
)
class NosAdam(Bundled):
    """See its row."""


def novograd(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Ginsburg et al. 2019, algorithm 1: one average of squares a tensor, which begins as the first."""
    norm = sum_of_squares(g)
    v = where(on.first, norm, mixed(s.velocity, norm, h.beta_2))
    scaled = g / (sqrt(v) + h.epsilon)
    m = h.beta_1 * s.momentum + where(on.l2, scaled + h.l2 * p, scaled)
    return {s.momentum: m, s.velocity: v, p: p - h.learning_rate * m}


@bundled(
    Row(
        Rule(
            "novograd",
            novograd,
            slots={"momentum": 0.0, "velocity": Slot(0.0, over="tensor")},
            hypers={
                "beta_1": Hyper(0.95, low=0.0, high=1.0),
                "beta_2": Hyper(0.98, low=0.0, high=1.0),
                "l2": Hyper(0.0, low=0.0),
                "epsilon": small(1e-8),
            },
            flags={"l2": Flag(follows="l2")},
        ),
        "Momentum of gradients that are divided by the running norm of their tensor.",
        {
            "beta_1": "momentum, in [0, 1].",
            "beta_2": "decay of the running average of squared norms, in [0, 1].",
            "l2": "d of the paper: decay that is part of the momentum; >= 0.",
            **EPSILON_LINE,
        },
        "Ginsburg et al. 2019, algorithm 1.",
        learning_rate=0.01,
    )
)
class NovoGrad(Bundled):
    """See its row."""


def is_warming(h: Any) -> bool:
    """Whether the norm of all gradients is bounded yet, and not that of each."""
    return bool(h.step <= h.warmup)


def adagc(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Wang et al. 2025, algorithm 1: each tensor's gradient within a running norm of its own, for Adam."""
    own, everyone = sqrt(sum_of_squares(g)), sqrt(sum_of_squares(g, over="all"))
    bound, norm = where(on.warming, h.absolute, h.relative * s.norm), where(on.warming, everyone, own)
    factor = where(norm > bound, bound / norm, 1.0)
    clipped, length = g * factor, own * factor
    warming = where(on.first, length, minimum(s.norm, length))
    kept = where(on.warming, warming, mixed(s.norm, length, h.beta))
    m, v = mixed(s.momentum, clipped, h.beta_1), mixed(s.velocity, square(clipped), h.beta_2)
    step = unbiased(m, h.beta_1, h) / (sqrt(unbiased(v, h.beta_2, h)) + h.epsilon)
    return {s.momentum: m, s.velocity: v, s.norm: kept, p: p - h.learning_rate * step}


@bundled(
    Row(
        Rule(
            "adagc",
            adagc,
            slots={**MOMENTS, "norm": Slot(0.0, over="tensor")},
            hypers={
                "beta_1": decay(0.9),
                "beta_2": decay(0.95),
                "epsilon": small(1e-8),
                "relative": Hyper(1.05, low=0.0, low_open=True),
                "absolute": Hyper(1.0, low=0.0, low_open=True),
                "beta": Hyper(0.98, low=0.0, high=1.0),
                "warmup": Hyper(100.0, low=1.0),
            },
            flags={"warming": Flag(when=is_warming)},
        ),
        "AdamW on gradients that are clipped tensor by tensor, to a little more than their running norm.",
        {
            **BETA_LINES,
            **EPSILON_LINE,
            "relative": "how many times its running norm a tensor's gradient may be; > 0.",
            "absolute": "bound of the norm of all gradients, in the first steps; > 0.",
            "beta": "decay of running norms, in [0, 1].",
            "warmup": "how many steps are the first, in which the smallest norms are kept; >= 1.",
        },
        "Wang et al. 2025, algorithm 1.",
    )
)
class AdaGC(Bundled):
    """See its row."""
