"""RMSprop as others have it: where epsilon stands, where the mean square starts, where rate and decay come in.

The numbers' defaults stay Keras's; what is told apart here is what is done with them.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from ..codegen import Flag, Hyper, Rule
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


def rule_of(dialect: str, keras: Rule) -> Rule:
    """The rule of a dialect, by the equations of `keras`, Keras's own. Raises OptionError for an unknown one."""
    if dialect not in DIALECTS:
        raise OptionError(f"`dialect` must be one of {', '.join(DIALECTS)}. Received: dialect={dialect!r}.")
    return keras if dialect == "keras" else _made(dialect, keras)


@functools.cache
def _made(dialect: str, keras: Rule) -> Rule:
    chosen = DIALECTS[dialect]
    more = {"nesterov": Flag(), "bias_correction": Flag()} if chosen.has_more else {}
    kind = Coupled if chosen.is_coupled else Rule
    return kind(
        f"rmsprop_{dialect}",
        functools.partial(keras.equations, dialect=chosen),
        slots={"velocity": chosen.start, "momentum": 0.0, "average_gradient": 0.0},
        hypers=HYPERS,
        flags={**FLAGS, **more},
    )


def dialect_of(rule: Rule) -> str:
    """The dialect that a rule of RMSprop's is in."""
    return rule.name.partition("_")[2] or "keras"
