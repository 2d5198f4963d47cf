"""A loss and its gradients: what `minimize` needs, by the `autograd` package."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .arrays.homes import Array, find_home, place_of
from .arrays.numpy import HOME as NUMPY
from .errors import ArrayError, BackendError, OptionError
from .variable import Variable


def differentiated(loss: Callable[[], Any], variables: Sequence[Variable]) -> tuple[float, list[Array | None]]:
    """What `loss()` is, and its gradient with respect to each variable, or None where the loss does not read it.

    Raises BackendError without the autograd package, OptionError if the loss is not one real number.
    """
    if not callable(loss):
        raise OptionError(f"`loss` must be a function of no arguments. Received: {loss!r}. Write `lambda: ...`.")
    for variable in variables:
        if find_home(variable.value) is not NUMPY:
            raise ArrayError(
                f"minimize() differentiates NumPy arrays. Received: variable {variable.name!r} on "
                f"{place_of(variable.value)}. Compute its gradient yourself and call apply()."
            )
    tape = _autograd()

    def recorded(values: Any) -> Any:
        try:
            for i, variable in enumerate(variables):
                variable._recorded, variable._was_read = values[i], False
            return loss()
        finally:
            for variable in variables:
                variable._recorded = None

    with warnings.catch_warnings():  # a loss that reads no variable is answered below, with its name
        warnings.filterwarnings("ignore", "Output seems independent of input")
        backward, value = tape.make_vjp(recorded, tuple(np.array(variable.value) for variable in variables))
    if np.size(value) != 1 or not np.issubdtype(np.asarray(value).dtype, np.floating):
        raise OptionError(
            "`loss` must be a function of no arguments that returns one real number. "
            f"Received: a result of shape {np.shape(value)}. Sum or average it."
        )
    raw = backward(tape.vspace(value).ones())
    found = [
        np.asarray(gradient, dtype=variable.dtype, order="C").reshape(variable.shape) if variable._was_read else None
        for variable, gradient in zip(variables, raw, strict=True)
    ]
    return float(np.asarray(value).item()), found


def _autograd() -> Any:
    try:
        from autograd import core, tracer
    except ImportError:
        raise BackendError(
            "minimize() differentiates with the autograd package, which is not installed. "
            "Received: a loss function. Run `pip install autograd`, or compute gradients yourself and "
            "call apply()."
        ) from None
    # A variable in a loss counts as recorded, so that autograd's functions see it among their arguments.
    tracer.Box.types.add(Variable)
    return core
