"""Gradients that hold inf or nan, where the option `nonfinite` is not "propagate"."""

from __future__ import annotations

from collections.abc import Iterable

from .errors import NonFiniteError


def refused(name: str, inputs: Iterable[str] = ()) -> NonFiniteError:
    """The error of a call with such a gradient, or input, of the variable of this name, the first that has one."""
    what = " or ".join(["gradient", *inputs])
    return NonFiniteError(
        f"the {what} of {name!r} holds inf or nan, and nothing was done. Received: a call of an optimizer with "
        'nonfinite="raise". Mend the loss, or pass nonfinite="skip" to leave such calls out.'
    )
