"""RMSprop: its equations, its row, and the signature that Keras gives it."""

from __future__ import annotations

from typing import Any

from ..codegen import Expr, Rule, maximum, sqrt, square, where
from ..codegen.names import Names
from ..optimizer import Optimizer
from ..options import OPTIONS, LearningRate
from .dialects import DIALECTS, FLAGS, HYPERS, Dialect, dialect_of, rule_of
from .row import Bundled, Row, bundled


def rmsprop(p: Expr, g: Expr, s: Names, h: Names, on: Names, dialect: Dialect = DIALECTS["keras"]) -> dict[Expr, Expr]:
    """Hinton 2012, lecture 6e; centered: Graves 2013, eq. 38-45; Keras's in the association of its `update_step`.

    Differs: the centered variance is clamped at zero, where rounding would make it negative and the step nan.
    """
    v = h.rho * s.velocity + (1 - h.rho) * square(g)
    m = where(on.centered, h.rho * s.average_gradient + (1 - h.rho) * g, 0.0)
    squares, mean = (corrected(v, h, on), corrected(m, h, on)) if dialect.has_more else (v, m)
    variance = where(on.centered, maximum(squares - square(mean), 0.0), squares)
    root = sqrt(variance) + h.epsilon if dialect.is_outside else sqrt(variance + h.epsilon)
    scaled = g / root if dialect.is_late else h.learning_rate * g / root
    b = where(on.momentum, h.momentum * s.momentum + scaled, scaled)
    ahead = where(on.nesterov & on.momentum, h.momentum * b + scaled, b) if dialect.has_more else b
    step = h.learning_rate * ahead if dialect.is_late else ahead
    return {s.velocity: v, s.momentum: b, s.average_gradient: m, p: p - step}


def corrected(average: Expr, h: Names, on: Names) -> Expr:
    """An average without the bias of its start at zero, if that is wanted."""
    return where(on.bias_correction, average / (1 - h.rho**h.step), average)


RMSPROP = Rule(
    "rmsprop",
    rmsprop,
    slots={"velocity": 0.0, "momentum": 0.0, "average_gradient": 0.0},
    hypers=HYPERS,
    flags=FLAGS,
)


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
    further={"dialect": ("keras", f"whose arithmetic it is: {', '.join(DIALECTS)}. See the README.")},
    example="""\
Example: the first step on a float32 array in place::

    weights = numpy.array([1.0, 2.0], numpy.float32)
    optimizer = RMSprop(learning_rate=0.1)
    optimizer.apply([numpy.array([0.5, -0.5], numpy.float32)], [weights])""",
)


@bundled(ROW)
class RMSprop(Bundled):
    """Written out, for those who read it with an editor: see ROW; `help(RMSprop)` has all of it."""

    @property
    def dialect(self) -> str:
        """Whose RMSprop it is. Read only: the slots of one mean nothing to another."""
        return dialect_of(self._rule)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the dialect only where it is not Keras's."""
        config = super().get_config()
        return config if self.dialect == "keras" else {**config, "dialect": self.dialect}

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
        given: dict[str, Any] = {n: value for n, value in locals().items() if n in OPTIONS or n in ROW.arguments}
        if dialect == "graves":
            given["centered"] = True  # there is no other one of his
        Optimizer.__init__(self, rule_of(dialect, RMSPROP), **given, **unknown)
