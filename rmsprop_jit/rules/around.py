"""What surrounds any rule in a step, as equations: unscale, guard, accumulate, clip, decay, average, overwrite.

Options appear only as flags inside `where`; specialising replaces the flags, so that no option costs anything unless it
is on. The order of operations and the association of products are those of Keras 3, bit for bit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ..codegen import (
    Expr,
    Flag,
    Hyper,
    RuleError,
    Slot,
    all_finite,
    clip,
    maximum,
    rounded,
    sqrt,
    sum_of_squares,
    where,
)
from ..codegen import Rule as Rule
from ..codegen.composed import Composed
from ..codegen.names import Names
from ..codegen.rule import GRADIENT, Equations
from ..codegen.rule import PARAMETER as PARAMETER
from ..option_table import OPTIONS
from .decays import applied, decayed

OPTION_FLAGS = tuple(name for name, option in OPTIONS.items() if option.flag)
"""Flags that are on when the option of that name is set."""

CALL_FLAGS = (
    "weight_decay_exclusions",
    "micro_step",
    "window_empty",
    "gradient_missing",
    "idle",
    "overwrite_with_gradient",
)
"""Flags of one call, or of some variables in it:

weight_decay_exclusions   some variables do not decay (`h.decays` is 0 for them)
micro_step                gradients are only added up
window_empty              nothing has been added up yet
gradient_missing          no gradient in this call, but some were added up before it
idle                      no gradient at all: the variable stays, its average is still taken
overwrite_with_gradient   the variable becomes its gradient, or the largest one of a window
"""

ACCUMULATOR = "gradient_accumulator"

STEP_SLOTS = {"average": Slot("parameter", result=True), ACCUMULATOR: Slot(0.0, result=True)}
STEP_HYPERS = {name: option.hyper for name, option in OPTIONS.items() if option.hyper is not None}
STEP_HYPERS |= {"decays": Hyper(1.0, per="tensor")}
"""Numbers of the options, and for each variable whether it decays."""

STEP_FLAGS = {name: Flag(follows=name if name in STEP_HYPERS else None) for name in (*OPTION_FLAGS, *CALL_FLAGS)}


RESERVED_INPUTS = ("self", "grads", "trainable_variables")
"""Arguments of `apply`, beside which inputs are."""


def check_names(rule: Rule, others: Collection[str] = ()) -> None:
    """Raise RuleError if `rule` gives a slot, number or flag of its own a name that belongs to every optimizer.

    others: further names that its numbers and flags cannot have.
    """
    numbers = {*STEP_HYPERS, *OPTIONS, *others}
    switches = {name for name, flag in rule.flags.items() if flag.is_option}
    for what, taken, theirs in (
        ("slot", {*STEP_SLOTS, *accumulators(rule)}, rule.slots),
        ("hyperparameter", numbers, rule.hypers),
        ("flag", STEP_FLAGS, rule.flags),
        ("flag", {*numbers, *map(unread, rule.inputs)}, switches),
        ("input", RESERVED_INPUTS, rule.inputs),
    ):
        for name in theirs:
            if name in taken:
                raise RuleError(
                    f"rule {rule.name!r} declares {name!r}, a name of the optimizer itself. Received: a {what} "
                    f"{name!r}. Choose another where the rule is defined, such as '{rule.name}_{name}'."
                )


def clipped(g: Expr, h: Names, on: Names) -> Expr:
    """The gradient within `clipnorm`, `global_clipnorm` or `clipvalue` (at most one is set).

    A gradient below its threshold is untouched. An infinite or nan global norm makes every gradient nan, as in Keras;
    norms are summed in float64.
    """
    own = sqrt(sum_of_squares(g, over="tensor"))
    everyone = sqrt(sum_of_squares(g, over="all"))
    by_own = g * where(own <= h.clipnorm, 1.0, h.clipnorm / own)
    by_all = g * where(everyone <= h.global_clipnorm, 1.0, h.global_clipnorm / everyone + (everyone - everyone))
    by_value = clip(g, -h.clipvalue, h.clipvalue)
    return where(on.clipnorm, by_own, where(on.global_clipnorm, by_all, where(on.clipvalue, by_value, g)))


def accumulators(rule: Rule) -> dict[str, Slot]:
    """The slots in which a rule's inputs are added up."""
    means = [name for name, given in rule.inputs.items() if given.accumulate == "mean"]
    return {f"{name}_accumulator": Slot(0.0, result=True) for name in means}


def brought(rule: Rule, s: Names, h: Names, on: Names, x: Names) -> tuple[dict[Expr, Expr], Names]:
    """What becomes of a rule's inputs under accumulation, and the inputs as the rule sees them."""
    stores: dict[Expr, Expr] = {}
    seen: dict[str, Expr] = {}
    for name, given in rule.inputs.items():
        value = getattr(x, name)
        if given.unscaled:
            value = where(on.loss_scale_factor, value / h.loss_scale_factor, value)
        if given.accumulate == "mean":
            slot = getattr(s, f"{name}_accumulator")
            sofar = where(on.window_empty, 0.0, slot)
            added = where(getattr(on, unread(name)) | on.gradient_missing, sofar, value + sofar)
            stores[slot] = where(on.micro_step & ~on.overwrite_with_gradient, added, slot)
            value = where(on.gradient_accumulation_steps, added / h.gradient_accumulation_steps, value)
        seen[name] = clipped(value, h, on) if given.clipped else value
    return stores, Names("input", rule.name, seen)


def unread(name: str) -> str:
    """The flag of a micro-step that adds up nothing of an input, since the update it belongs to does not read it."""
    return f"{name}_unread"


def unscaled(g: Expr, h: Names, on: Names) -> Expr:
    """The gradient without the loss scale."""
    return where(on.loss_scale_factor, g / h.loss_scale_factor, g)


def guard(g: Expr, h: Names, on: Names) -> Expr:
    """Whether a step may be done: no gradient of any variable that has one holds inf or nan, as the step reads it."""
    looks = on.nonfinite & ~on.gradient_missing & ~on.idle
    read = where(on.overwrite_with_gradient, g, unscaled(g, h, on))
    return ~looks | all_finite(read, over="all")


def averaged_around(rule: Rule) -> Equations:
    """What is to be used in place of the parameters: the rule's own averaged weights, or the running average."""

    def averaged(p: Expr, s: Names, h: Names, on: Names) -> Iterator[tuple[Expr, Expr]]:
        weights = where(on.use_ema, s.average, p)
        if rule.averages is not None:
            weights = dict(rule.averages.applied(p, GRADIENT, (s, h, on)))[PARAMETER]
        left = on.idle | on.micro_step | on.overwrite_with_gradient  # of a step, it needs none of their slots
        yield p, where(left, p, weights)

    return averaged


def averaged_with(updated: Expr, s: Names, h: Names, on: Names) -> tuple[Expr, Expr]:
    """The average after an update, and what the parameter is then: the average where it is time to overwrite it."""
    m = rounded(where(h.step == 1, 0.0, h.ema_momentum))
    average = m * s.average + (1 - m) * updated
    due = on.ema_overwrite_frequency & (h.step % h.ema_overwrite_frequency == 0)
    return average, where(due, average, updated)


def whole_step(rule: Rule) -> Rule:
    """`rule` with all that surrounds it in a step, as one rule: one kernel, one pass over memory.

    unscale -> guard -> accumulate or take the mean -> maximize -> clip -> decay -> `rule` -> average -> overwrite

    Its averaged weights are the rule's own, where that has any, and else the running average.

    Raises RuleError if `rule` declares a slot, hyperparameter or flag of one of the names used here.
    """

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names, x: Names) -> Iterator[tuple[Expr, Expr]]:
        single = unscaled(g, h, on)
        sofar = where(on.window_empty, 0.0, s.gradient_accumulator)
        instead = on.overwrite_with_gradient  # Keras collects by maximum then, and scales nothing
        together = where(instead, maximum(g, sofar), single + sofar)
        added = where(on.gradient_missing, s.gradient_accumulator, together)
        mean = where(on.gradient_accumulation_steps, added / h.gradient_accumulation_steps, single)
        wanted = where(on.maximize, -mean, mean)
        added_up, inputs = brought(rule, s, h, on, x)
        stores = applied(rule, *decayed(rule, p, clipped(wanted, h, on), h, on), (s, h, on, inputs))

        stays = on.idle | on.micro_step | instead
        updated = where(stays, p, stores.pop(PARAMETER))
        for slot, value in stores.items():
            yield slot, where(stays, slot, value)
        yield from added_up.items()
        yield s.gradient_accumulator, where(on.micro_step, added, s.gradient_accumulator)

        averages = on.use_ema & ~on.micro_step & ~instead
        average, overwritten = averaged_with(updated, s, h, on)
        yield s.average, where(averages, average, s.average)
        collected = where(on.gradient_accumulation_steps, added, g)
        yield p, where(instead & ~on.micro_step, collected, where(averages, overwritten, updated))

    check_names(rule)
    return Composed(
        rule.name,
        equations,
        slots={**STEP_SLOTS, **accumulators(rule), **rule.slots},
        hypers={**rule.hypers, **STEP_HYPERS},
        flags={**rule.flags, **STEP_FLAGS, **{unread(name): Flag() for name in rule.inputs}},
        inputs=rule.inputs,
        averaged=averaged_around(rule),
        guarded=guard,
    )


def step_of(rule: Rule) -> Rule:
    """The whole step of a rule, built once, and kept as long as the rule lives."""
    whole: Rule = rule.memo("whole step", lambda: whole_step(rule))
    return whole


def averages_of(rule: Rule) -> Rule:
    """What a rule's averaged weights are, with the options of every optimizer; the parameters, if nothing else."""
    averages = step_of(rule).averages
    assert averages is not None
    return averages
