"""SGD: plain, with momentum, or Nesterov's."""

from __future__ import annotations

from ..codegen import Expr, Flag, Hyper, Rule, where
from ..codegen.names import Names
from .row import BY_POSITION, Bundled, Row, bundled


def sgd(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Polyak 1964; nesterov: Sutskever et al. 2013, eq. 3-4, with gradients at the parameters; as Keras's `SGD`."""
    m = where(on.momentum, s.momentum * h.momentum - g * h.learning_rate, -(g * h.learning_rate))
    ahead = m * h.momentum - g * h.learning_rate
    return {s.momentum: m, p: p + where(on.momentum & on.nesterov, ahead, m)}


@bundled(
    Row(
        Rule(
            "sgd",
            sgd,
            slots={"momentum": 0.0},
            hypers={"momentum": Hyper(0.0, low=0.0, high=1.0)},
            flags={"nesterov": False, "momentum": Flag(follows="momentum")},
        ),
        "Go down the gradient.",
        {
            "momentum": "heavy-ball momentum of the scaled step, in [0, 1]; 0 has no slot and no cost.",
            "nesterov": "look ahead by another step of the momentum.",
        },
        "Polyak 1964; Sutskever et al. 2013, eq. 3-4 (nesterov); arithmetic and order as Keras 3.",
        learning_rate=0.01,
        order=("momentum", "nesterov", *BY_POSITION),
    )
)
class SGD(Bundled):
    """See its row."""
