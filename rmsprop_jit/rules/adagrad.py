"""Rules that divide by what squares have added up to: Adagrad, Adadelta, Ftrl."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..codegen import Expr, Flag, Hyper, Rule, Slot, clip, sqrt, square, where
from ..codegen.names import Names
from .decays import At
from .dialects import Dialect, Spoken
from .parts import SQUARES, small
from .row import BY_POSITION, Bundled, Polyglot, Row, bundled

INITIAL = {"initial_accumulator_value": Hyper(0.1, low=0.0)}
INITIAL_LINE = {"initial_accumulator_value": "what the sum of squares starts with, when a variable is first updated."}


def adagrad(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Duchi, Hazan & Singer 2011, fig. 1, diagonal form; as Keras's `Adagrad`: epsilon inside the root."""
    total = where(on.first, h.initial_accumulator_value, s.accumulator) + square(g)
    root = where(on.outside, sqrt(total) + h.epsilon, sqrt(total + h.epsilon))
    falling = h.learning_rate / (1 + (h.step - 1) * h.lr_decay)
    rate = where(on.lr_decay, falling, h.learning_rate)
    return {s.accumulator: total, p: p - rate * g / root}


TORCH_ADAGRAD = Dialect(
    says={"outside": True},
    hypers={"lr_decay": Hyper(0.0, low=0.0)},
    flags={"lr_decay": Flag(follows="lr_decay")},
    arguments={"lr_decay": "the rate falls as 1 / (1 + lr_decay * steps); >= 0."},
    decay=At.GRADIENT,
)
"""torch.optim.Adagrad."""


@bundled(
    Row(
        Rule(
            "adagrad",
            Spoken(adagrad, {"outside": False, "lr_decay": False}),
            slots={"accumulator": SQUARES},
            hypers={**INITIAL, "epsilon": small(1e-7)},
        ),
        "Divide the gradient by the root of the sum of its squares.",
        {**INITIAL_LINE, "epsilon": "added to the sum, inside the root; >= 0."},
        "Duchi, Hazan & Singer 2011, fig. 1 (diagonal); arithmetic and order as Keras 3.",
        order=("initial_accumulator_value", "epsilon", *BY_POSITION),
        dialects={"torch": TORCH_ADAGRAD},
    )
)
class Adagrad(Polyglot):
    """See its row."""


def adadelta(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Zeiler 2012, algorithm 1: the step uses the old average of squared steps; as Keras's `Adadelta`."""
    squares = h.rho * s.accumulated_grad + (1 - h.rho) * square(g)
    step = -(sqrt(s.accumulated_delta_var + h.epsilon) * g / sqrt(squares + h.epsilon))
    steps = h.rho * s.accumulated_delta_var + (1 - h.rho) * square(step)
    return {s.accumulated_grad: squares, s.accumulated_delta_var: steps, p: p + h.learning_rate * step}


@bundled(
    Row(
        Rule(
            "adadelta",
            Spoken(adadelta),
            slots={"accumulated_grad": SQUARES, "accumulated_delta_var": SQUARES},
            hypers={"rho": Hyper(0.95, low=0.0, high=1.0), "epsilon": small(1e-7)},
        ),
        "Scale the gradient by the ratio of two running root mean squares, of past steps and of gradients.",
        {"rho": "decay of both averages, in [0, 1].", "epsilon": "added to both, inside the roots; >= 0."},
        "Zeiler 2012, algorithm 1; arithmetic and order as Keras 3.",
        order=("rho", "epsilon", *BY_POSITION),
        dialects={"torch": Dialect(decay=At.GRADIENT)},
        together=("accumulated_grad", "accumulated_delta_var"),
    )
)
class Adadelta(Polyglot):
    """See its row."""


def is_root(h: Any) -> bool:
    """Whether the power is the usual one, which takes a root and no power."""
    return bool(h.learning_rate_power == -0.5)


def ftrl(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """McMahan et al. 2013, algorithm 1, with shrinkage; as Keras's `Ftrl`."""
    l2, inverse = h.l2_regularization_strength + h.beta / (2.0 * h.learning_rate), 1 / h.learning_rate
    before = where(on.first, h.initial_accumulator_value, s.accumulator)
    total = before + square(g)
    power, power_before = (where(on.root, sqrt(x), x**-h.learning_rate_power) for x in (total, before))
    shrunk = g + 2 * h.l2_shrinkage_regularization_strength * p
    linear = s.linear + (shrunk - (power - power_before) * inverse * p)
    quadratic = power * inverse + 2 * l2
    bounded = clip(linear, -h.l1_regularization_strength, h.l1_regularization_strength)
    return {s.linear: linear, s.accumulator: total, p: (bounded - linear) / quadratic}


IN_WEIGHTS = Slot(0.0, exact=True)
"""Of both a weight is made anew in each step: what they lack, it lacks."""

STRENGTHS = ("l1_regularization_strength", "l2_regularization_strength", "l2_shrinkage_regularization_strength")


@bundled(
    Row(
        Rule(
            "ftrl",
            ftrl,
            slots={"accumulator": replace(IN_WEIGHTS, nonnegative=True), "linear": IN_WEIGHTS},
            hypers={
                "learning_rate_power": Hyper(-0.5, high=0.0),
                **INITIAL,
                **dict.fromkeys(STRENGTHS, Hyper(0.0, low=0.0)),
                "beta": Hyper(0.0, low=0.0),
            },
            flags={"root": Flag(when=is_root)},
        ),
        "Follow the regularized leader: sparse parameters under L1, from sums over all gradients so far.",
        {
            "learning_rate_power": "power of the sum of squares by which rates fall; <= 0. Fastest at -0.5.",
            **INITIAL_LINE,
            "l1_regularization_strength": "L1 penalty; >= 0.",
            "l2_regularization_strength": "L2 penalty; >= 0.",
            "l2_shrinkage_regularization_strength": "L2 penalty of the loss alone, not of the sums; >= 0.",
            "beta": "added to the root of sums as in the paper; >= 0.",
        },
        "McMahan et al. 2013, algorithm 1; arithmetic and order as Keras 3.",
        order=("learning_rate_power", "initial_accumulator_value", *STRENGTHS, "beta", *BY_POSITION),
        together=("accumulator", "linear"),
    )
)
class Ftrl(Bundled):
    """See its row."""
