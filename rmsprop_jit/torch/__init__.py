"""Torch's optimizers as one fused pass: with its arguments, its numbers, and states that it loads and that load here.

::

    import rmsprop_jit.torch

    optimizer = rmsprop_jit.torch.RMSprop(model.parameters(), lr=1e-3, momentum=0.9)
    loss = model(inputs).square().mean()
    loss.backward()
    optimizer.step()                              # all parameters in one launch
    optimizer.zero_grad()

`rmsprop_jit.torch.Adam`, `SGD`, ... are there, too, and `optimizer(rule)` makes such a class of any rule. Importing
this imports torch, which nothing else of the package does.

words       what torch calls the parts of rules
settings    a parameter group as options, flags and numbers
kept        the state of parameters, as torch keeps it
pages       large ones under large states
lent        whether anybody else has some of it
launches    the tables of one kind of step
common      what parameters of several groups have in common
engine      which of these a step needs
watched     whether anybody looks at steps
optimizers  the classes
"""

from __future__ import annotations

from typing import Any

try:
    import torch as torch
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "rmsprop_jit.torch needs torch, which is not installed. Received: an import of it. "
        "Install it, or rmsprop-jit[torch]; without it rmsprop_jit.RMSprop takes NumPy's and CuPy's arrays.",
        name=missing.name,
    ) from missing

from .optimizers import Fused as Fused
from .optimizers import RMSprop as RMSprop
from .optimizers import optimizer as optimizer
from .words import CLASSES


def __getattr__(name: str) -> Any:
    """The class of a bundled rule, made when it is first asked for."""
    if name not in CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}.")
    found = globals()[name] = optimizer(CLASSES[name])
    return found


def __dir__() -> list[str]:
    """What is there and what would be."""
    return sorted({*globals(), *CLASSES})
