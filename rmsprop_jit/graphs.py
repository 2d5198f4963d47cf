"""Steps inside a CUDA graph, captured from CuPy's current stream and launched again without Python.

A launch of the graph must not train on the numbers of the day it was captured. So every captured call has tables of
its own in the GPU's memory; the GPU counts the calls (`clock`), and makes the step's numbers from its own count and
from the hyperparameters in its memory, which are written again when an option is set. From the first capture on the
GPU's count is the truth: `iterations`, and calls outside a graph, wait for it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .arrays.homes import backend_of, place_of
from .errors import ArrayError, OptionError
from .members import Member
from .options import Options

if TYPE_CHECKING:
    from .plan import Plan


def is_capturing() -> bool:
    """Whether CuPy's current stream is being captured into a graph; False where no GPU has been met."""
    if f"{__package__}.arrays.cupy" not in sys.modules:
        return False
    from .arrays import cupy

    return bool(cupy.is_capturing())


def may_be_captured(tracked: Sequence[Member]) -> bool:
    """Whether any of the variables is where steps can be captured into graphs."""
    return any(backend_of(place_of(one.array)) == "cuda" for one in tracked)


def refuse_to_build(tracked: Sequence[Member]) -> None:
    """Raise OptionError if slots would be made, and so cleared again by each launch, inside a graph."""
    if may_be_captured(tracked) and is_capturing():
        raise OptionError(
            "an optimizer cannot be built while a stream is captured: each launch of the graph would clear its slots. "
            "Received: variables of an optimizer that is not built. Call `build(variables)` before the capture."
        )


def constant_rate(options: Options) -> float:
    """The learning rate, if it is a number. Raises OptionError for what only the host can compute."""
    if not isinstance(options.learning_rate, float):
        raise OptionError(
            "a learning rate that the host computes would be frozen in a graph. "
            f"Received: learning_rate={options.learning_rate!r}. Set a float before the capture, and assign "
            "`optimizer.learning_rate = schedule(optimizer.iterations)` between launches."
        )
    return options.learning_rate


def check_change(old: Options, new: Options, same_structure: bool) -> None:
    """Raise OptionError for a change of options that captured calls cannot follow."""
    constant_rate(new)
    if not same_structure or old.gradient_accumulation_steps != new.gradient_accumulation_steps:
        raise OptionError(
            "a call was captured into a graph, which can follow new numbers, but not options that are switched on or "
            "off. Received: a change that needs other kernels. Make a new optimizer and load this one's state_dict()."
        )


def refuse_update_step() -> None:
    """Raise OptionError if a call of `update_step` would become part of a graph."""
    if is_capturing():
        raise OptionError(
            "update_step() cannot be captured: its learning rate would be frozen in the graph. "
            "Received: a stream that is being captured. Capture apply()."
        )


class GraphSteps:
    """The captured calls of one optimizer; `clock` counts them as the GPU does them."""

    def __init__(self, tracked: Sequence[Member], calls: int, every: int, compiler: str | None) -> None:
        from .arrays import cupy

        places = sorted({place_of(one.array) for one in tracked})
        if len(places) > 1:
            raise ArrayError(
                f"a step in a graph needs all variables on one GPU. Received: variables on {', '.join(places)}. "
                "Use an optimizer for each device."
            )
        self.clock = cupy.Clock(cupy.index_of(tracked[0].array), calls, every, compiler)
        self._plans: list[Plan] = []

    def keep(self, plan: Plan) -> None:
        """Keep alive, for good, what a captured call points to."""
        self._plans.append(plan)

    def send_numbers(self, options: Options) -> None:
        """Write the options' numbers into the tables of every captured call."""
        for plan in self._plans:
            plan.send_numbers(options, constant_rate(options))
