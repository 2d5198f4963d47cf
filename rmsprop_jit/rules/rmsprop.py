"""RMSprop: its equations, its row, and the signature that Keras gives it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..codegen import Expr, Flag, Hyper, Rule, Slot, maximum, sqrt, square, where
from ..codegen.names import Names
from ..optimizer import Optimizer
from ..option_table import OPTIONS
from ..options import LearningRate
from .decays import At
from .dialects import Dialect, Spoken
from .parts import missing
from .row import Polyglot, Row, bundled


def rmsprop(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Hinton 2012, lecture 6e; centered: Graves 2013, eq. 38-45; Keras's in the association of its `update_step`.

    Differs: the centered variance is clamped at zero, where rounding would make it negative and the step nan.
    """
    v = h.rho * s.velocity + (1 - h.rho) * square(g)
    m = where(on.centered, h.rho * s.average_gradient + (1 - h.rho) * g, 0.0)
    squares, mean = (where(on.bias_correction, average / missing(h.rho, h), average) for average in (v, m))
    variance = where(on.centered, maximum(squares - square(mean), 0.0), squares)
    root = where(on.outside, sqrt(variance) + h.epsilon, sqrt(variance + h.epsilon))
    scaled = where(on.late, g, h.learning_rate * g) / root
    b = where(on.momentum, h.momentum * s.momentum + scaled, scaled)
    ahead = where(on.nesterov, where(on.momentum, h.momentum * b + scaled, b), b)
    step = where(on.late, h.learning_rate * ahead, ahead)
    return {s.velocity: v, s.momentum: b, s.average_gradient: m, p: p - step}


CENTERED = Slot(0.0, exact="centered")
CENTERED_SQUARES = replace(CENTERED, nonnegative=True)
"""Of two averages whose difference is wanted: for gradients of 1 +- 0.01 it is a ten-thousandth of either."""

RMSPROP = Rule(
    "rmsprop",
    Spoken(rmsprop, {"outside": False, "late": False, "nesterov": False, "bias_correction": False}),
    slots={"velocity": CENTERED_SQUARES, "momentum": Slot(0.0), "average_gradient": CENTERED},
    hypers={
        "rho": Hyper(0.9, low=0.0, high=1.0),
        "momentum": Hyper(0.0, low=0.0, high=1.0),
        "epsilon": Hyper(1e-7, low=0.0),
    },
    flags={"centered": Flag(), "momentum": Flag(follows="momentum")},
)

DIALECTS = {
    "torch": Dialect(says={"outside": True, "late": True}, decay=At.GRADIENT),
    "tf1": Dialect(slots={"velocity": replace(CENTERED_SQUARES, initial=1.0)}),
    "optax": Dialect(
        flags={"nesterov": Flag(), "bias_correction": Flag()},
        arguments={
            "nesterov": "look ahead by another step of the momentum.",
            "bias_correction": "divide the averages by what they lack of their first steps.",
        },
    ),
    "graves": Dialect(always={"centered": True}),
}
"""torch.optim.RMSprop; tf.compat.v1.train.RMSPropOptimizer; optax.rmsprop; Graves 2013, eq. 38-45 (always centered)."""


ROW = Row(
    RMSPROP,
    "Divide the gradient by a running root mean square of its recent values.",
    {
        "rho": "decay of the running average of squares, in [0, 1].",
        "momentum": "heavy-ball momentum of the scaled step, in [0, 1]; 0 has no slot and no cost.",
        "epsilon": "added to the mean square, inside the root; >= 0.",
        "centered": "subtract the square of the running mean of gradients, so that the variance is used.",
    },
    "Hinton 2012, lecture 6e; Graves 2013 (centered); arithmetic and order as Keras 3. Differs: see the README.",
    dialects=DIALECTS,
    example="""\
Example: the first step on a float32 array in place::

    weights = numpy.array([1.0, 2.0], numpy.float32)
    optimizer = RMSprop(learning_rate=0.1)
    optimizer.apply([numpy.array([0.5, -0.5], numpy.float32)], [weights])""",
)


@bundled(ROW)
class RMSprop(Polyglot):
    """Written out, for those who read it with an editor: see ROW; `help(RMSprop)` has all of it."""

    rho: float
    momentum: float
    epsilon: float
    centered: bool
    weight_decay: float | None
    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    loss_scale_factor: float | None
    gradient_accumulation_steps: int | None
    name: str

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = 100,
        name: str = "rmsprop",
        *,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        dialect: str = "keras",
        threads: int | None = None,
        compiler: str | None = None,
        **unknown: Any,
    ) -> None:
        named = {*OPTIONS, *ROW.arguments, "dialect"}
        given: dict[str, Any] = {name: value for name, value in locals().items() if name in named}
        rule, own = ROW.spoken({**given, **unknown})
        Optimizer.__init__(self, rule, **own)
