"""Adam, and those of its relatives that change little of it: AdamW, Adamax, RAdam."""

from __future__ import annotations

from typing import Any

from ..codegen import Expr, Flag, Rule, maximum, sqrt, where
from ..codegen.names import Names
from .decays import At
from .dialects import Dialect, Spoken
from .parts import BETA_LINES, BETAS, EPSILON_LINE, MOMENTS, SQUARES, missing, moments, small, toward
from .row import BY_POSITION, Bundled, Polyglot, Row, bundled


def adam(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Kingma & Ba 2015, end of section 2; unbiased: algorithm 1; amsgrad: Reddi, Kale & Kumar 2018, algorithm 2.

    As Keras's `Adam`.
    """
    m, v = moments(g, s, h)
    largest = maximum(s.velocity_hat, v)
    root, bias = sqrt(where(on.amsgrad, largest, v)), sqrt(missing(h.beta_2, h))
    rate = where(on.unbiased, h.learning_rate, h.learning_rate * bias) / missing(h.beta_1, h)
    step = m * rate / (where(on.unbiased, root / bias, root) + h.epsilon)
    return {s.momentum: m, s.velocity: v, s.velocity_hat: largest, p: p - step}


def adam_rule(name: str) -> Rule:
    """The rule under one of its two names."""
    slots = {**MOMENTS, "velocity_hat": SQUARES}
    return Rule(
        name,
        Spoken(adam, {"unbiased": False}),
        slots=slots,
        hypers={**BETAS, "epsilon": small(1e-7)},
        flags={"amsgrad": False},
    )


ADAM_LINES = {**BETA_LINES, **EPSILON_LINE, "amsgrad": "divide by the largest average of squares so far."}
ADAM_ORDER = ("beta_1", "beta_2", "epsilon", "amsgrad")


@bundled(
    Row(
        adam_rule("adam"),
        "Divide the running mean of gradients by the root of that of their squares, both without their bias.",
        ADAM_LINES,
        "Kingma & Ba 2015, section 2; Reddi, Kale & Kumar 2018 (amsgrad); arithmetic and order as Keras 3.",
        order=(*ADAM_ORDER, *BY_POSITION),
        dialects={"torch": Dialect(says={"unbiased": True}, decay=At.GRADIENT)},
        together=tuple(MOMENTS),
    )
)
class Adam(Polyglot):
    """See its row."""


@bundled(
    Row(
        adam_rule("adamw"),
        "Adam with decoupled weight decay.",
        ADAM_LINES,
        "Loshchilov & Hutter 2019, algorithm 2; arithmetic and order as Keras 3.",
        order=("weight_decay", *ADAM_ORDER, *BY_POSITION[1:]),
        defaults={"weight_decay": 0.004},
        dialects={"torch": Dialect(says={"unbiased": True})},
        together=tuple(MOMENTS),
    )
)
class AdamW(Polyglot):
    """See its row."""


def adamax(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Kingma & Ba 2015, algorithm 2; as Keras's `Adamax`."""
    m = toward(s.momentum, g, h.beta_1)
    u = maximum(h.beta_2 * s.norm, where(on.inside, abs(g) + h.epsilon, abs(g)))
    divisor = where(on.inside, u, u + h.epsilon)
    return {s.momentum: m, s.norm: u, p: p - h.learning_rate / missing(h.beta_1, h) * m / divisor}


@bundled(
    Row(
        Rule(
            "adamax",
            Spoken(adamax, {"inside": False}),
            slots={"momentum": 0.0, "norm": SQUARES},
            hypers={**BETAS, "epsilon": small(1e-7)},
        ),
        "Adam with the largest recent gradient in place of the root mean square.",
        {
            **BETA_LINES,
            "beta_2": "decay of the largest gradient, in [0, 1).",
            "epsilon": "added to the largest gradient; >= 0.",
        },
        "Kingma & Ba 2015, algorithm 2; arithmetic and order as Keras 3. Differs from the paper: it has no epsilon.",
        order=("beta_1", "beta_2", "epsilon", *BY_POSITION),
        dialects={"torch": Dialect(says={"inside": True}, decay=At.GRADIENT)},
        together=("momentum", "norm"),
    )
)
class Adamax(Polyglot):
    """See its row."""


def length(h: Any) -> Any:
    """How many gradients the average of squares is worth, in this step and at last: rho of the paper, eq. 4."""
    last = 2 / (1 - h.beta_2) - 1
    return last - 2 * h.step * h.beta_2**h.step / (1 - h.beta_2**h.step), last


def is_rectified(h: Any) -> bool:
    """Whether enough gradients were seen for a variance."""
    return bool(length(h)[0] > 5)


def radam(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Liu et al. 2020, algorithm 2."""
    m, v = moments(g, s, h)
    now, last = length(h)
    rectification = sqrt((now - 4) * (now - 2) * last / ((last - 4) * (last - 2) * now))
    rate = h.learning_rate / missing(h.beta_1, h)
    scaled = rate * rectification * sqrt(missing(h.beta_2, h)) * m / (sqrt(v) + h.epsilon)
    return {s.momentum: m, s.velocity: v, p: p - where(on.rectified, scaled, rate * m)}


@bundled(
    Row(
        Rule(
            "radam",
            radam,
            slots=MOMENTS,
            hypers={**BETAS, "epsilon": small(1e-8)},
            flags={"rectified": Flag(when=is_rectified)},
        ),
        "Adam that warms up by itself: momentum alone, until the average of squares can be trusted.",
        {**BETA_LINES, **EPSILON_LINE},
        "Liu et al. 2020, algorithm 2. Differs: rectified where rho > 5, not 4, and an epsilon, as the authors' code.",
    )
)
class RAdam(Bundled):
    """See its row."""
