"""Words: what torch calls a rule, its arguments and its slots, where it has them; and what others are called then.

Defaults, and what else is in a group of parameters, are those of the installed torch's own class.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..codegen import Rule
from ..errors import OptionError
from ..rules.decays import At
from ..rules.dialects import Dialect, in_dialect
from ..rules.row import own_arguments
from ..rules.table import HOMES, TABLE

USUAL = {"lr": "learning_rate", "eps": "epsilon", "betas": ("beta_1", "beta_2")}
"""What arguments are called here, by torch's word; a tuple there is several numbers here."""

OURS = {"clip_grad_norm": "global_clipnorm", "ema": "ema_momentum"}
"""Arguments that torch does not have; None is off."""

EMA = "ema"
"""What the averaged weights are called in a parameter's state."""

FIXED = {"capturable": False, "differentiable": False}
"""What a group may say, but nothing else than this."""


@dataclass(frozen=True)
class Twin:
    """Torch's own optimizer of a rule.

    name:  its class. `slots`: what it calls ours. `names`: of arguments, where they are not the usual ones.
    fixed: further words of its groups that have one value only here.
    """

    name: str
    slots: Mapping[str, str]
    names: Mapping[str, str | tuple[str, str]] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)


MOMENTS = {"momentum": "exp_avg", "velocity": "exp_avg_sq"}

TWINS = {
    "rmsprop": Twin(
        "RMSprop",
        {"velocity": "square_avg", "momentum": "momentum_buffer", "average_gradient": "grad_avg"},
        {"alpha": "rho"},
    ),
    "sgd": Twin("SGD", {"momentum": "momentum_buffer"}),
    "adagrad": Twin("Adagrad", {"accumulator": "sum"}),
    "adadelta": Twin("Adadelta", {"accumulated_grad": "square_avg", "accumulated_delta_var": "acc_delta"}),
    "adam": Twin("Adam", {**MOMENTS, "velocity_hat": "max_exp_avg_sq"}, fixed={"decoupled_weight_decay": False}),
    "adamw": Twin("AdamW", {**MOMENTS, "velocity_hat": "max_exp_avg_sq"}, fixed={"decoupled_weight_decay": True}),
    "adamax": Twin("Adamax", {"momentum": "exp_avg", "norm": "exp_inf"}),
    "nadam": Twin("NAdam", {**MOMENTS, "u_product": "mu_product"}, fixed={"decoupled_weight_decay": False}),
    "radam": Twin("RAdam", MOMENTS, fixed={"decoupled_weight_decay": False}),
    "rprop": Twin(
        "Rprop",
        {"previous": "prev", "size": "step_size"},
        {"etas": ("eta_minus", "eta_plus"), "step_sizes": ("smallest", "largest")},
    ),
}
"""By the names of rules in Keras's dialect."""

AS_HERE = Dialect(decay=At.GRADIENT)
"""What torch does of rules that have no dialect: the same, but that weight decay is part of the gradient."""

CLASSES = {name: name.lower() for name in HOMES if name != "Nadam"} | {"NAdam": "nadam"}
"""The rules of the classes in this package, which are called as torch calls them."""


@dataclass(frozen=True)
class Words:
    """How a rule is spoken to.

    title:    what its class is called.
    defaults: of a group of parameters: all that one says, with what it says unless it is told otherwise.
    names:    what the arguments that are read are here.
    slots:    what slots are called in a parameter's state.
    numbers:  what those are called there that are one number, not one an element.
    fixed:    words that may have no other value than this; what is in no other list is not read.
    has_twin: whether torch has the rule, too.
    signature: of the constructor, behind `self`.
    """

    title: str
    rule: Rule
    defaults: Mapping[str, Any]
    names: Mapping[str, str | tuple[str, ...]]
    slots: Mapping[str, str]
    fixed: Mapping[str, Any]
    numbers: frozenset[str]
    has_twin: bool
    signature: inspect.Signature = field(compare=False)


@functools.cache
def words_of(rule: str | Rule) -> Words:
    """The words of a bundled rule, by its name, or of a rule of one's own. Raises OptionError for another name."""
    if isinstance(rule, Rule):
        return _new(rule.name, rule, {"lr": 0.001, "weight_decay": 0.0, "maximize": False})
    if rule not in TABLE:
        raise OptionError(
            f"`rule` is a codegen.Rule or the name of a bundled one. Received: {rule!r}. Known: {', '.join(TABLE)}."
        )
    row, made = TABLE[rule]
    twin = TWINS.get(rule)
    if twin is None:
        decay = row.defaults.get("weight_decay", 0.0)
        return _new(made.__name__, row.rule, {"lr": row.learning_rate, "weight_decay": decay, "maximize": False})
    return _of_twin(in_dialect(row.rule, "torch", row.dialects or {"torch": AS_HERE}), twin)


def _of_twin(rule: Rule, twin: Twin) -> Words:
    theirs: Any = getattr(torch.optim, twin.name)
    defaults = dict(theirs([torch.zeros(1)]).defaults)
    own = {**own_arguments(rule), "weight_decay": 0.0, "maximize": False, "learning_rate": 0.0}
    names: dict[str, Any] = {name: twin.names.get(name, USUAL.get(name, name)) for name in defaults}
    read = {name: ours for name, ours in names.items() if {*([ours] if isinstance(ours, str) else ours)} <= {*own}}
    parameters = [one.replace(annotation=inspect.Parameter.empty) for one in _parameters(theirs)]
    fixed = {**FIXED, **twin.fixed}
    return _spoken(twin.name, rule, defaults, read, twin.slots, fixed, parameters)


def _new(title: str, rule: Rule, around: Mapping[str, Any]) -> Words:
    """Of a rule that torch does not have: numbers are called as torch calls such, or else as the rule does."""
    own = own_arguments(rule)
    around = {**around, **({"seed": None} if rule.draws else {})}
    usual = {ours: name for name, ours in USUAL.items()}
    is_pair = {"beta_1", "beta_2"} <= {*own}
    defaults: dict[str, Any] = {"lr": around["lr"]}
    for name, value in own.items():
        if is_pair and name in ("beta_1", "beta_2"):
            defaults["betas"] = (own["beta_1"], own["beta_2"])
        else:
            defaults[usual.get(name, name)] = value
    defaults |= around
    read = {name: USUAL.get(name, name) if name != "betas" or is_pair else name for name in defaults}
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind, default=value) for name, value in defaults.items()]
    return _spoken(title, rule, defaults, read, {}, {}, [inspect.Parameter("params", kind), *parameters])


def _spoken(
    title: str,
    rule: Rule,
    defaults: Mapping[str, Any],
    read: Mapping[str, Any],
    slots: Mapping[str, str],
    fixed: Mapping[str, Any],
    parameters: list[inspect.Parameter],
) -> Words:
    """With what every optimizer here has beside."""
    more = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in OURS]
    named = {**{name: name for name in rule.slots}, "average": EMA, **slots}
    return Words(
        title,
        rule,
        {**defaults, **dict.fromkeys(OURS)},
        read,
        named,
        fixed,
        frozenset(named[name] for name, slot in rule.slots.items() if slot.over in ("tensor", "all")),
        bool(slots),
        inspect.Signature([*parameters, *more]),
    )


def _parameters(theirs: Any) -> list[inspect.Parameter]:
    return [one for name, one in inspect.signature(theirs).parameters.items() if name != "self"]
