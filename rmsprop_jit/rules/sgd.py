"""SGD: plain, with momentum, or Nesterov's."""

from __future__ import annotations

from ..codegen import Expr, Flag, Hyper, Rule, where
from ..codegen.names import Names
from .decays import At
from .dialects import Dialect, Spoken
from .row import BY_POSITION, Polyglot, Row, bundled


def sgd(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Polyak 1964; nesterov: Sutskever et al. 2013, eq. 3-4, with gradients at the parameters; as Keras's `SGD`.

    late: as torch has it, the momentum goes up the gradient.
    """
    scaled = where(on.late, g, g * h.learning_rate)
    damped = where(on.dampening, where(on.first, scaled, (1 - h.dampening) * scaled), scaled)
    kept = s.momentum * h.momentum
    m = where(on.momentum, where(on.late, kept + damped, kept - damped), where(on.late, scaled, -scaled))
    carried = m * h.momentum
    ahead = where(on.momentum & on.nesterov, where(on.late, carried + scaled, carried - scaled), m)
    return {s.momentum: m, p: where(on.late, p - h.learning_rate * ahead, p + ahead)}


TORCH = Dialect(
    says={"late": True},
    hypers={"dampening": Hyper(0.0, low=0.0, high=1.0)},
    flags={"dampening": Flag(follows="dampening")},
    arguments={"dampening": "how much of a later gradient the momentum leaves out, in [0, 1]."},
    decay=At.GRADIENT,
)
"""torch.optim.SGD. Differs: that refuses `nesterov` with `dampening`, or without momentum."""


@bundled(
    Row(
        Rule(
            "sgd",
            Spoken(sgd, {"late": False, "dampening": False}),
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
        dialects={"torch": TORCH},
    )
)
class SGD(Polyglot):
    """See its row."""
