"""What several families have in common: averages, their bias, and what a row says of them."""

from __future__ import annotations

from ..codegen import Expr, Hyper, Slot, square
from ..codegen.names import Names


def decay(default: float) -> Hyper:
    """The decay of an average whose bias is corrected: with 1 it would have nothing to divide by."""
    return Hyper(default, low=0.0, high=1.0, high_open=True)


def small(default: float) -> Hyper:
    """What keeps a divisor from zero."""
    return Hyper(default, low=0.0)


BETAS = {"beta_1": decay(0.9), "beta_2": decay(0.999)}
SQUARES = Slot(0.0, nonnegative=True)
"""Averages or sums of squares, and other sizes."""

MOMENTS = {"momentum": Slot(0.0), "velocity": SQUARES}

BETA_LINES = {
    "beta_1": "decay of the running average of gradients, in [0, 1).",
    "beta_2": "decay of the running average of squares, in [0, 1).",
}
EPSILON_LINE = {"epsilon": "added to the root in the divisor; >= 0."}


def toward(old: Expr, value: Expr, kept: Expr) -> Expr:
    """A running average as Keras's Adam takes it: the old one moved by a part of the difference."""
    return old + (value - old) * (1 - kept)


def mixed(old: Expr, value: Expr, kept: Expr) -> Expr:
    """A running average as papers write it."""
    return kept * old + (1 - kept) * value


def moments(g: Expr, s: Names, h: Names) -> tuple[Expr, Expr]:
    """Adam's averages of gradients and of their squares."""
    return toward(s.momentum, g, h.beta_1), toward(s.velocity, square(g), h.beta_2)


def missing(kept: Expr, h: Names) -> Expr:
    """By what the average of this step is to be divided, since it began as zero."""
    return 1 - kept**h.step


def unbiased(average: Expr, kept: Expr, h: Names) -> Expr:
    """An average that began as zero, without its bias.

    The inverse is a number of the step; a division for every element would bound many a kernel, not memory.
    """
    return average * (1 / missing(kept, h))
