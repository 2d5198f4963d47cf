"""Where weight decay acts: each rule has one description of it, and combinators hand on that of the rule inside."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from ..codegen import Expr, Rule, where
from ..codegen.names import Names
from ..codegen.rule import PARAMETER
from .steps import handed_on

USUAL_NUMBER = "weight_decay"


class At(Enum):
    """What it is that decays.

    PARAMETER: the parameter, times the learning rate, before the rule moves it (Loshchilov & Hutter 2019), as in Keras.
    UNSEEN:    the same, but the rule sees the parameter as it was, which is as long as it was, as torch's Adafactor.
    GRADIENT:  the gradient has it as a part, as in torch: it goes through all that is made of a gradient.
    """

    PARAMETER = "the parameter"
    UNSEEN = "the parameter, unseen"
    GRADIENT = "the gradient"


class Own(NamedTuple):
    """A number of a rule's own by which some variables decay, and not by `weight_decay`.

    number: its name, which is that of the flag that follows it, too.
    holds:  which variables those are, by a rule's flags.
    """

    number: str
    holds: Callable[[Names], Expr]


@dataclass(frozen=True)
class Decay:
    """Where weight decay acts, and by which number beside the usual one."""

    at: At = At.PARAMETER
    own: Own | None = None

    def __str__(self) -> str:
        return f"of {self.at.value}" + (f", of some by {self.own.number}" if self.own else "")


USUAL = Decay()


@dataclass(frozen=True, repr=False, eq=False)
class Decaying(Rule):
    """A rule that says where its weight decay acts; `dataclasses.replace` keeps that."""

    decay: Decay = field(kw_only=True)

    def __init__(self, *given: Any, decay: Decay, **more: Any) -> None:
        object.__setattr__(self, "decay", decay)
        super().__init__(*given, **more)

    def __reduce__(self) -> tuple[Any, ...]:
        restored, (*parts, kind) = super().__reduce__()
        return restored, (*parts, functools.partial(kind, decay=self.decay))


def decay_of(rule: Rule) -> Decay:
    """Where the weight decay of a rule acts; where Keras's does, if it says nothing."""
    return rule.decay if isinstance(rule, Decaying) else USUAL


def decays_of(rule: Rule) -> frozenset[str]:
    """The flags of what variables decay by."""
    own = decay_of(rule).own
    return frozenset({USUAL_NUMBER, *([own.number] if own else [])})


def decayed(rule: Rule, p: Expr, g: Expr, h: Names, on: Names) -> tuple[Expr, Expr]:
    """Parameter and gradient after a rule's decay."""
    at, own = decay_of(rule).at, decay_of(rule).own
    is_coupled = at is At.GRADIENT

    def by(number: str) -> Expr:
        rate = getattr(h, number)
        less, same = (g + rate * p, g) if is_coupled else (p - p * rate * h.learning_rate, p)
        return _where_decaying(less, same, h, on, number)

    found = by(USUAL_NUMBER) if own is None else where(own.holds(on), by(own.number), by(USUAL_NUMBER))
    return (p, found) if is_coupled else (found, g)


def applied(rule: Rule, p: Expr, g: Expr, names: tuple[Names, ...]) -> dict[Expr, Expr]:
    """The stores of a rule for a parameter that has decayed; of one that does not see that, by the step it hands on.

    Raises RuleError for such a rule that hands none on.
    """
    if decay_of(rule).at is not At.UNSEEN:
        return dict(rule.applied(p, g, names))
    stores = dict(rule.applied(PARAMETER, g, names))
    return {**stores, PARAMETER: p - handed_on(rule, stores[PARAMETER], PARAMETER)}


def _where_decaying(decayed: Expr, same: Expr, h: Names, on: Names, number: str) -> Expr:
    """The first where there is weight decay, but for the variables that are excluded from it."""
    chosen = where(on.weight_decay_exclusions, where(h.decays > 0, decayed, same), decayed)
    return where(getattr(on, number), chosen, same)
