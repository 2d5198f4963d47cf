"""Rules that keep of squares what is left of them along axes: Adafactor."""

from __future__ import annotations

from ..codegen import Expr, Flag, Hyper, Rule, Slot, ema, maximum, mean_of, minimum, rsqrt, sqrt, square, where
from ..codegen.names import Names
from .dialects import Dialect, Spoken
from .parts import small
from .row import BY_POSITION, Polyglot, Row, bundled


def is_factored(shape: tuple[int, ...]) -> bool:
    """Whether a tensor has rows and columns."""
    return len(shape) > 1


def adafactor(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Shazeer & Stern 2018, algorithms 4 and 5, of each matrix of the last two axes; as Keras's `Adafactor`.

    Roots are taken of what has one number a row or a column, not of each element's product of two.
    """
    kept, slowest, floor = 1 - h.step**h.beta_2_decay, 1 / sqrt(h.step), square(h.epsilon_1)
    rho = minimum(where(on.relative_step, minimum(h.learning_rate, slowest), h.learning_rate), slowest)
    squares = where(on.floored, square(g), square(g) + h.epsilon_1)
    r, c = ema(kept, s.r, mean_of(squares, over=-1)), ema(kept, s.c, mean_of(squares, over=-2))
    v, whole = ema(kept, s.velocity, squares), mean_of(r, over=(-2, -1))
    from_below = maximum(where(on.factored, r / maximum(whole, h.epsilon_1) * c, v), floor)
    as_keras = where(on.factored, g * rsqrt(r / whole) * rsqrt(c), g / sqrt(v))
    u = where(on.floored, g / sqrt(from_below), as_keras)
    rate = (
        rho * maximum(h.epsilon_2, sqrt(mean_of(square(p)))) / maximum(1.0, sqrt(mean_of(square(u))) / h.clip_threshold)
    )
    return {s.r: r, s.c: c, s.velocity: v, p: p - rate * u}


TORCH_ADAFACTOR = Dialect(says={"floored": True}, hypers={"epsilon_1": small(2.0**-23)}, is_beside=True)
"""torch.optim.Adafactor: epsilon is a floor of roots, and by default that of float32."""


@bundled(
    Row(
        Rule(
            "adafactor",
            Spoken(adafactor, {"floored": False}),
            slots={"r": Slot(over=-1), "c": Slot(over=-2), "velocity": 0.0},
            hypers={
                "beta_2_decay": Hyper(-0.8, high=0.0),
                "epsilon_1": small(1e-30),
                "epsilon_2": small(1e-3),
                "clip_threshold": Hyper(1.0, low=0.0, low_open=True),
            },
            flags={"relative_step": Flag(default=True), "factored": Flag(of=is_factored)},
        ),
        "Divide the gradient by a root of squares of which only means of rows and columns are kept; vectors keep all.",
        {
            "beta_2_decay": "the power of the step by which the decay of averages nears 1; <= 0.",
            "epsilon_1": "added to squares; >= 0. For dialect='torch' the least root, by default 2**-23.",
            "epsilon_2": "the least root mean square of parameters that the rate is relative to; >= 0.",
            "clip_threshold": "the largest root mean square of a step before the rate; > 0.",
            "relative_step": "as in Keras, where the rate is at most 1 / sqrt(step) with it and without it.",
        },
        "Shazeer & Stern 2018, algorithms 4 and 5; arithmetic and order as Keras 3. Differs: no velocity of matrices.",
        order=("beta_2_decay", "epsilon_1", "epsilon_2", "clip_threshold", "relative_step", *BY_POSITION),
        dialects={"torch": TORCH_ADAFACTOR},
    )
)
class Adafactor(Polyglot):
    """See its row."""
