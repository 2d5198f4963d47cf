"""Whether a stream is being captured into a CUDA graph, and what cannot be captured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .codegen import backends
from .endings import Endings
from .errors import OptionError
from .members import Member
from .options import Options
from .rules.around import Rule

if TYPE_CHECKING:
    from .settings import Rates, Settings


def capture_check(members: Sequence[Member]) -> Callable[[], bool] | None:
    """What says whether launches for these variables are being captured into a graph; None where they never can be."""
    checks = (backends.of(place).is_capturing for place in {member.place for member in members})
    return next((check for check in checks if check is not None), None)


def refuse_to_build(members: Sequence[Member]) -> None:
    """Raise OptionError if slots would be made, and so cleared again by each launch, inside a graph."""
    check = capture_check(members)
    if check is not None and check():
        raise OptionError(
            "an optimizer cannot be built while a stream is captured: each launch of the graph would clear its slots. "
            "Received: variables of an optimizer that is not built. Call `build(variables)` before the capture."
        )


def refuse_open_window() -> None:
    """Raise OptionError where a graph could not go on with a window."""
    raise OptionError(
        "a window of gradient accumulation is open for other variables than this call has gradients for. Received: a "
        "call with nonfinite='skip' that is captured. Close the window outside of the graph first."
    )


def refuse_update_step() -> None:
    """Raise OptionError: a call of `update_step` would become part of a graph."""
    raise OptionError(
        "update_step() cannot be captured: its learning rate would be frozen in the graph. "
        "Received: a stream that is being captured. Capture apply()."
    )


def refuse_stateless() -> None:
    """Raise OptionError: a call of `stateless_apply` would become part of a graph."""
    raise OptionError(
        "stateless_apply() cannot be captured: each launch of the graph would train copies of the values of its day. "
        "Received: a stream that is being captured. Capture apply()."
    )


def refuse_block(members: Sequence[Member], is_in_graph: bool) -> None:
    """Raise OptionError where a graph would train inside a block in which the variables hold averaged weights."""
    check = capture_check(members)
    if is_in_graph or (check is not None and check()):
        raise OptionError(
            "a launch of a graph trains without asking, also inside `with optimizer.averaged():`. Received: an "
            "optimizer whose calls are captured into a CUDA graph. Load its state_dict() into one that captures "
            "nothing, on copies of the variables, and take the averaged weights of those."
        )


def of_host(rule: Rule) -> list[str]:
    """The slots over all that the host computes once a call: those in which no reduction is."""
    return [name for name, slot in rule.slots.items() if slot.over == "all" and name not in rule.gathered]


def refuse_kinds(rule: Rule, unstarted: frozenset[int]) -> None:
    """Raise OptionError for a step that a graph must not repeat, since the next one may be of another kind."""
    shared = of_host(rule)
    if shared:
        raise OptionError(
            "a slot over 'all' is computed on the host, once a call, if no reduction is in it, and a graph would "
            "repeat one value for ever. "
            f"Received: rule {rule.name!r} with the slots {shared}. Call apply() outside of a graph."
        )
    when = [name for name, flag in rule.flags.items() if flag.when is not None]
    if when or unstarted:
        what = f"rule {rule.name!r} with the flags {when}" if when else "the first update of a variable"
        raise OptionError(
            "a graph repeats one kind of step, and the step that is captured is one of several. "
            f"Received: {what}. Call apply() outside of a graph{'' if when else ' once, before the capture'}."
        )


def refuse_to_look(options: Options, endings: Endings) -> None:
    """Raise OptionError where the host has to know of each call whether it is done: in a graph it is not asked."""
    beside = ["constraints"] if endings.constrained else []
    asked = {"propagate": False, "skip": bool(beside), "raise": True}  # the GPU skips by itself
    if asked[options.nonfinite]:
        received = " and ".join([f"nonfinite={options.nonfinite!r}", *beside])
        raise OptionError(
            "a graph does not ask the host whether a gradient holds inf or nan, and this call would have to. "
            f"Received: {received}. Capture nonfinite='skip' without constraints, or nothing of it, or call apply() "
            "outside of a graph."
        )


def constant_rate(settings: Settings) -> float | Rates:
    """The learning rates, if they are numbers. Raises OptionError for what only the host can compute."""
    if settings.constant is None:
        rate = next(one for one in settings.sources if not isinstance(one, float))
        raise OptionError(
            "a learning rate that the host computes would be frozen in a graph. "
            f"Received: learning_rate={rate!r}. Set a float before the capture, and assign "
            "`optimizer.learning_rate = schedule(optimizer.iterations)` between launches."
        )
    return settings.constant
