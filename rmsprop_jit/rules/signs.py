"""Rules in which signs of gradients say where to go: Lion, Tiger, AddSign, PowerSign."""

from __future__ import annotations

from ..codegen import Expr, Flag, Hyper, Rule, maximum, rounded, sign, where
from ..codegen.names import Names
from .parts import mixed
from .row import BY_POSITION, Bundled, Row, bundled

CLOSED = "decay of the running average of gradients, in [0, 1]."


def lion(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Chen et al. 2023, algorithm 2; as Keras's `Lion`, also in what is rounded when: a sign hangs on it."""
    beta_1, beta_2 = rounded(h.beta_1), rounded(h.beta_2)
    direction = sign(s.momentum * beta_1 + g * (1.0 - beta_1))
    return {s.momentum: s.momentum * beta_2 + g * (1.0 - beta_2), p: p - h.learning_rate * direction}


@bundled(
    Row(
        Rule(
            "lion",
            lion,
            slots={"momentum": 0.0},
            hypers={"beta_1": Hyper(0.9, low=0.0, high=1.0, low_open=True), "beta_2": Hyper(0.99, low=0.0, high=1.0)},
        ),
        "Go by the sign of an average of gradients; another average is kept.",
        {
            "beta_1": "how much of the kept average is in the one whose sign is taken, in (0, 1].",
            "beta_2": "decay of the kept average, in [0, 1].",
        },
        "Chen et al. 2023, algorithm 2; arithmetic and order as Keras 3.",
        order=("beta_1", "beta_2", *BY_POSITION),
    )
)
class Lion(Bundled):
    """See its row."""


def tiger(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Su 2023, "Tiger: a tight-fisted optimizer": Lion with both averages the same, and rates by kind."""
    m = mixed(s.momentum, g, h.beta)
    return {s.momentum: m, p: p - h.learning_rate * h.multiplier * sign(m)}


@bundled(
    Row(
        Rule(
            "tiger",
            tiger,
            slots={"momentum": 0.0},
            hypers={
                "beta": Hyper(0.965, low=0.0, high=1.0),
                "multiplier": Hyper(1.0, low=0.0, per="tensor"),
            },
        ),
        "Go by the sign of the running average of gradients.",
        {
            "beta": CLOSED,
            "multiplier": 'of the rate, for all or by name: {".*(bias|beta|gamma)": 0.5}; >= 0.',
        },
        "Su 2023 (kexue.fm/archives/9512). Differs: the rate of a matrix is not times its root mean square.",
    )
)
class Tiger(Bundled):
    """See its row."""


def agreement(g: Expr, s: Names, h: Names, on: Names) -> tuple[Expr, Expr, Expr]:
    """The running average, whether a gradient has its sign, and what is left of the effect in this step."""
    m = mixed(s.momentum, g, h.beta)
    left = where(on.decay_steps, maximum(1 - (h.step - 1) / h.decay_steps, 0.0), 1.0)
    return m, sign(g) * sign(m), left


def add_sign(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Bello et al. 2017, section 5.3: AddSign."""
    m, agree, left = agreement(g, s, h, on)
    return {s.momentum: m, p: p - h.learning_rate * (h.alpha + left * agree) * g}


def power_sign(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Bello et al. 2017, section 5.3: PowerSign. A product of signs is 1, 0 or -1: three powers a step are enough."""
    m, agree, left = agreement(g, s, h, on)
    factor = where(agree > 0, h.base**left, where(agree < 0, h.base**-left, 1.0))
    return {s.momentum: m, p: p - h.learning_rate * factor * g}


SIGN_HYPERS = {"beta": Hyper(0.9, low=0.0, high=1.0), "decay_steps": Hyper(0.0, low=0.0)}
SIGN_LINES = {
    "beta": CLOSED,
    "decay_steps": "after so many steps the signs have lost their effect, linearly; 0 is never.",
}
SIGN_FLAGS = {"decay_steps": Flag(follows="decay_steps")}


@bundled(
    Row(
        Rule(
            "addsign",
            add_sign,
            slots={"momentum": 0.0},
            hypers={"alpha": 1.0, **SIGN_HYPERS},
            flags=SIGN_FLAGS,
        ),
        "Longer steps where a gradient has the sign of its running average, shorter ones elsewhere.",
        {"alpha": "the factor of gradients without a sign; 1 more and 1 less with one.", **SIGN_LINES},
        "Bello et al. 2017, section 5.3.",
    )
)
class AddSign(Bundled):
    """See its row."""


@bundled(
    Row(
        Rule(
            "powersign",
            power_sign,
            slots={"momentum": 0.0},
            hypers={"base": Hyper(2.718281828459045, low=0.0, low_open=True), **SIGN_HYPERS},
            flags=SIGN_FLAGS,
        ),
        "Steps times a base where a gradient has the sign of its running average, divided by it elsewhere.",
        {"base": "the factor, > 0; by default e.", **SIGN_LINES},
        "Bello et al. 2017, section 5.3.",
    )
)
class PowerSign(Bundled):
    """See its row."""
