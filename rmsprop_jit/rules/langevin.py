"""Langevin dynamics: noise beside the gradient, so that parameters are drawn from a distribution."""

from __future__ import annotations

from ..codegen import Expr, Flag, Hyper, Rule, normal, sqrt, where
from ..codegen.names import Names
from .row import Bundled, Row, bundled


def sgld(p: Expr, g: Expr, h: Names, on: Names) -> dict[Expr, Expr]:
    """Welling & Teh 2011, eq. 4, where g is the gradient of the negative log of the posterior."""
    noise = sqrt(h.learning_rate * h.temperature) * normal()
    down = 0.5 * h.learning_rate * g
    return {p: p - where(on.temperature, down - noise, down)}


@bundled(
    Row(
        Rule(
            "sgld",
            sgld,
            hypers={"temperature": Hyper(1.0, low=0.0)},
            flags={"temperature": Flag(follows="temperature")},
        ),
        "Half a step down the gradient and normal noise whose variance is the learning rate: samples of a posterior.",
        {
            "temperature": "factor of the noise's variance, >= 0: 1 / N where gradients are of a mean over N examples.",
        },
        "Welling & Teh 2011, eq. 4; temperature 1 is theirs, 0 has no noise. Draws: see `seed` in the README.",
        learning_rate=1e-4,
    )
)
class SGLD(Bundled):
    """See its row."""
