"""Random groups, and what stands for them: a separate optimizer for the variables of each.

A case is its seed: options of the optimizer, options of some groups, variables of either dtype, and a list of calls and
changes. Bits must agree; where gradients have a common norm, separate optimizers have none, so there is none here.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import zoo
from compare import Array

from rmsprop_jit import CosineDecay, ExponentialDecay, Optimizer, OptionError
from rmsprop_jit.codegen import Hyper, Rule
from rmsprop_jit.codegen.expr import Reduction
from rmsprop_jit.codegen.kinds import Space
from rmsprop_jit.codegen.walk import walk
from rmsprop_jit.rules.row import row_of
from rmsprop_jit.rules.table import TABLE

SHAPES: dict[str, tuple[int, ...]] = {
    "head/kernel": (3, 5),
    "head/bias": (5,),
    "body/kernel": (300,),
    "body/bias": (7,),
    "norm/scale": (),
}
PATTERNS = ["head/.*", ".*/bias", "norm/scale"]
KINDS = [*TABLE, *(f"zoo {rule.name}" for rule in zoo.RULES)]

OWN: dict[str, list[Any]] = {
    "learning_rate": [0.05, 0.001, "exponential", "cosine", "callable"],
    "weight_decay": [None, 0, 0.1, 0.02],
    "clipnorm": [None, 0.5, 2.0],
    "clipvalue": [None, 0.3],
    "ema_momentum": [0.5, 0.9],
    "maximize": [False, True],
}
"""What groups and the optimizer have."""

COMMON: dict[str, list[Any]] = {
    "use_ema": [False, True],
    "ema_overwrite_frequency": [None, 2],
    "gradient_accumulation_steps": [None, 2],
    "loss_scale_factor": [None, 8.0],
}
"""What only the optimizer has."""


def rate(value: Any) -> Any:
    schedules = {
        "exponential": ExponentialDecay(0.01, 3, 0.5),
        "cosine": CosineDecay(0.01, 7),
        "callable": lambda: 0.03,
    }
    return schedules[value] if isinstance(value, str) else value


class Case:
    """One case; `kind` is one of `KINDS`. It ends with the optimizer and those that stand for it side by side."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind, self.rng = kind, np.random.default_rng([seed, 12])
        rule = next((rule for rule in zoo.RULES if f"zoo {rule.name}" == kind), None)
        self.rule = rule or row_of(TABLE[kind][1]).rule
        dtypes = {name: str(self.rng.choice(["f4", "f8"])) for name in SHAPES}
        self.first = {name: np.array(self.rng.normal(size=shape) + 2, dtypes[name]) for name, shape in SHAPES.items()}
        self.options = self.some(OWN) | self.some(COMMON) | self.own()
        self.groups = {one: self.some(OWN) | self.own() for one in PATTERNS if self.rng.integers(4)}
        self.excluded = ["kernel"] if self.rng.integers(3) == 0 else []
        self.ours = {name: v.copy() for name, v in self.first.items()}
        self.theirs = {name: v.copy() for name, v in self.first.items()}
        self.whole = self.built(self.ours, self.options, self.fitting())
        self.parts = [
            self.built({name: self.theirs[name] for name in names}, {**self.options, **self.groups.get(one, {})})
            for one, names in self.members().items()
        ]

    def some(self, choices: dict[str, list[Any]]) -> dict[str, Any]:
        """Values for some options; at most one bound."""
        names = [name for name in choices if self.rng.integers(3) == 0]
        if {"clipnorm", "clipvalue"} <= {*names}:
            names.remove("clipvalue")
        return {name: rate(choices[name][int(self.rng.integers(len(choices[name])))]) for name in names}

    def own(self) -> dict[str, Any]:
        """Values for some of the rule's own numbers and switches."""
        found: dict[str, Any] = {}
        for name, hyper in self.rule.hypers.items():
            if self.rng.integers(3) == 0:
                tries = [hyper.default * 0.75, hyper.default + 0.5, hyper.default]
                found[name] = next(value for value in tries if is_taken(hyper, value))
        switches = [name for name, flag in self.rule.flags.items() if flag.is_option]
        return found | {name: bool(self.rng.integers(2)) for name in switches if self.rng.integers(2)}

    def fitting(self) -> dict[str, dict[str, Any]]:
        """The groups without what is refused, since it is the optimizer's, or does not go with its options."""
        while True:
            try:
                self.made(**self.options, groups=self.groups)
            except OptionError as problem:
                group, name = self.refused(str(problem))
                self.groups[group].pop(name)
            else:
                return self.groups

    def refused(self, problem: str) -> tuple[str, str]:
        """An option of a group that may be why."""
        every = [(group, name) for group, values in self.groups.items() for name in values]
        said = [(group, name) for group, name in every if f"and it follows from {name}." in problem]
        bounds = [(group, name) for group, name in every if "Only one of" in problem and name.startswith("clip")]
        return (said or bounds)[0]

    def members(self) -> dict[str, list[str]]:
        """The variables of each group, and of none."""
        found: dict[str, list[str]] = {}
        for name in SHAPES:
            found.setdefault(next((one for one in self.groups if re.fullmatch(one, name)), ""), []).append(name)
        return found

    def made(self, **options: Any) -> Optimizer:
        is_bundled = self.kind in TABLE
        return TABLE[self.kind][1](**options) if is_bundled else Optimizer(self.rule, **options)

    def built(self, variables: dict[str, Array], options: dict[str, Any], groups: Any = None) -> Optimizer:
        made = self.made(**options, groups=groups)
        made.exclude_from_weight_decay(var_names=self.excluded)
        made.build(variables)
        return made

    def change(self) -> None:
        """Another value for an option of the optimizer, or of a group."""
        names = list(self.members())
        one = names[int(self.rng.integers(len(names)))]
        for name, value in self.some({"learning_rate": OWN["learning_rate"], "ema_momentum": [0.6]}).items():
            if one:
                before = {**self.groups[one]}
                self.groups[one][name] = value
                try:
                    self.whole.groups[one][name] = value
                except OptionError:
                    self.groups[one] = before
                    continue
            else:
                self.options[name] = value
                setattr(self.whole, name, value)
            for (group, _), part in zip(self.members().items(), self.parts, strict=True):
                if group == one or (not one and name not in self.groups[group]):
                    setattr(part, name, value)

    def call(self) -> None:
        """A call of all, with some gradients missing where nothing is kept for all variables."""
        given: dict[str, Any] = {name: self.gradient(v) for name, v in self.first.items()}
        if not self.keeps_common():
            given |= {name: None for name in ("head/bias", "body/bias") if self.rng.integers(4) == 0}
        inputs = {what: {name: self.gradient(v) for name, v in self.first.items()} for what in self.rule.inputs}
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Gradients do not exist")
            self.whole.apply(given, **inputs)
            for names, part in zip(self.members().values(), self.parts, strict=True):
                own = {name: given[name] for name in names}
                if any(one is not None for one in own.values()):
                    part.apply(own, **{what: {name: of[name] for name in names} for what, of in inputs.items()})

    def keeps_common(self) -> bool:
        """Whether a separate optimizer would stand still where its variables have no gradients, and another goes on."""
        return True

    def gradient(self, like: Array) -> Array:
        return np.array(self.rng.normal(size=like.shape), like.dtype)

    def bits(self) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """All that was trained and kept, of both sides."""
        ours = {name: v.tobytes() for name, v in {**self.ours, **slots(self.whole)}.items()}
        theirs = {name: v.tobytes() for name, v in self.theirs.items()}
        for part in self.parts:
            theirs |= {name: v.tobytes() for name, v in slots(part).items()}
        return ours, theirs


def is_taken(hyper: Hyper, value: float) -> bool:
    try:
        hyper.checked("", value)
    except OptionError:
        return False
    return True


def slots(optimizer: Optimizer) -> dict[str, Array]:
    """What is kept for a variable."""
    whole = optimizer.state_dict()
    beginnings = tuple(name.replace("/", "_") for name in SHAPES)
    return {name: v for name, v in whole.items() if name.startswith(beginnings)}


def has_common(rule: Rule) -> bool:
    """Whether a rule reduces over all variables: then groups are no separate optimizers."""
    return any(isinstance(node, Reduction) and node.over is Space.ALL for node in walk(*rule.stores.values()))
