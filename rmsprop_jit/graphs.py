"""Steps inside a CUDA graph, captured from CuPy's current stream and launched again without Python.

A launch of the graph must not train on the numbers of the day it was captured. So every captured call has tables of
its own in the GPU's memory; the GPU counts the calls (`clock`), and makes the step's numbers from its own count and
from the hyperparameters in its memory, which are written again when an option is set. From the first capture on the
GPU's count is the truth: the ledger follows the clock, so that `iterations`, and calls outside a graph, wait for it.
"""

from __future__ import annotations

from typing import NoReturn

from .calls import Calls
from .capture import constant_rate, refuse_kinds, refuse_to_look
from .counting import new_clock
from .errors import ArrayError, OptionError
from .members import Variables
from .plan import AnyPlan
from .resolve import Gradients, Inputs
from .settings import Settings


class Graph:
    """The captured calls of one optimizer; a clock on the GPU counts them as they are done."""

    def __init__(self, calls: Calls) -> None:
        members, options, ledger = calls.state.variables, calls.options, calls.state.ledger
        places = sorted({member.place for member in members})
        if len(places) > 1:
            raise ArrayError(
                f"a step in a graph needs all variables on one GPU. Received: variables on {', '.join(places)}. "
                "Use an optimizer for each device."
            )
        self._every = options.gradient_accumulation_steps or 1
        self._clock = calls.clock or new_clock(places[0], ledger, options)  # it may count calls outside of graphs
        self._ledger, self._opens = ledger, [member.accumulates for member in members]
        self._plans: list[AnyPlan] = []

    def add(self, calls: Calls, grads: Gradients, variables: Variables | None, inputs: Inputs) -> None:
        """Make a call a part of the graph that is being captured, with tables of its own, kept for good."""
        options, ledger = calls.options, self._ledger
        ledger.refuse_held()
        rate = constant_rate(calls.settings)
        refuse_to_look(options, calls.state.endings)
        refuse_kinds(calls.state.rule, calls.unstarted)
        resolved = calls.resolved(grads, variables, inputs)
        plan = calls.captured_plan(resolved, self._clock)
        update = options.update_of(ledger.calls)
        self._plans.append(plan)
        plan.run(plan.prepared(list(resolved.gradients), None, resolved.addresses, calls.settings, rate, update), None)
        self._clock.tick(options.skips)
        if not self._clock.counts.chooses:
            ledger.follow(self._clock, self._every, self._opens)
        ledger.captured()

    def check_change(self, old: Settings, new: Settings) -> None:
        """Raise OptionError for a change of options that captured calls cannot follow."""
        constant_rate(new)
        steps = [one.options.gradient_accumulation_steps for one in (old, new)]
        if old.structure != new.structure or steps[0] != steps[1]:
            raise OptionError(
                "a call was captured into a graph, which can follow new numbers, but not options that are switched on "
                "or off. Received: a change that needs other kernels. Make a new optimizer and load this one's "
                "state_dict()."
            )

    def send_numbers(self, settings: Settings) -> None:
        """Write the options' numbers into the tables of every captured call."""
        for plan in self._plans:
            plan.send_numbers(settings.numbers(constant_rate(settings), 0))


def refuse_new_endings() -> NoReturn:
    """Raise OptionError: captured calls would go on as before."""
    raise OptionError(
        "a call was captured into a graph, which cannot follow a variable that has another constraint, or "
        "another `overwrite_with_gradient`. Received: a variable whose one was set since. Set it as it was, or make a "
        "new optimizer and load this one's state_dict()."
    )
