"""RMSprop as others have it: where epsilon stands, where the mean square starts, where rate and decay come in.

The numbers' defaults stay Keras's; what is told apart here is what is done with them.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from ..codegen import Expr, Flag, Hyper, Rule, maximum, sqrt, square, where
from ..codegen.names import Names
from ..errors import OptionError
from .around import Coupled

HYPERS = {
    "rho": Hyper(0.9, low=0.0, high=1.0),
    "momentum": Hyper(0.0, low=0.0, high=1.0),
    "epsilon": Hyper(1e-7, low=0.0),
}
FLAGS = {"centered": Flag(), "momentum": Flag(follows="momentum")}


class Dialect(NamedTuple):
    """What differs.

    is_outside: epsilon is added to the root, not to what it is of.
    start:      of the mean square.
    is_late:    the learning rate scales what momentum has gathered, not what goes into it.
    is_coupled: weight decay is part of the gradient.
    has_more:   there are Nesterov's momentum and a correction of the averages' bias, each a switch.
    """

    is_outside: bool = False
    start: float = 0.0
    is_late: bool = False
    is_coupled: bool = False
    has_more: bool = False


DIALECTS = {
    "keras": Dialect(),
    "torch": Dialect(is_outside=True, is_late=True, is_coupled=True),
    "tf1": Dialect(start=1.0),
    "optax": Dialect(has_more=True),
    "graves": Dialect(),
}
"""torch.optim.RMSprop; tf.compat.v1.train.RMSPropOptimizer; optax.rmsprop; Graves 2013, eq. 38-45 (always centered)."""


def equations(
    p: Expr, g: Expr, s: Names, h: Names, on: Names, dialect: Dialect = DIALECTS["keras"]
) -> dict[Expr, Expr]:
    """Hinton 2012, lecture 6e, in a dialect; the centered variance is clamped at zero as in Keras's."""
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


def rule_of(dialect: str, keras: Rule) -> Rule:
    """The rule of a dialect; `keras` is Keras's own. Raises OptionError for an unknown one."""
    if dialect not in DIALECTS:
        raise OptionError(f"`dialect` must be one of {', '.join(DIALECTS)}. Received: dialect={dialect!r}.")
    return keras if dialect == "keras" else _made(dialect)


@functools.cache
def _made(dialect: str) -> Rule:
    chosen = DIALECTS[dialect]
    more = {"nesterov": Flag(), "bias_correction": Flag()} if chosen.has_more else {}
    kind = Coupled if chosen.is_coupled else Rule
    return kind(
        f"rmsprop_{dialect}",
        functools.partial(equations, dialect=chosen),
        slots={"velocity": chosen.start, "momentum": 0.0, "average_gradient": 0.0},
        hypers=HYPERS,
        flags={**FLAGS, **more},
    )


def dialect_of(rule: Rule) -> str:
    """The dialect that a rule of RMSprop's is in."""
    return rule.name.partition("_")[2] or "keras"
