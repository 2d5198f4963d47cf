"""The cases of storages: a rule whose state is kept so, beside float32, beside its ceiling, and beside others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import rmsprop_jit
from rmsprop_jit import Optimizer
from rmsprop_jit.codegen import Program
from rmsprop_jit.codegen.dtypes import BYTE, FINE
from rmsprop_jit.codegen.pieces import ERROR
from rmsprop_jit.rules.table import TABLE
from rmsprop_jit.storages import usual_light

from .. import workloads as w
from ..cases import Case
from ..programs import step_program

LATE = 1_000_000
"""An update that is past all warming up."""

FLOAT32, CEILING = "float32", "ceiling"
ONE, MANY = "16.7 M", "GPT-2 small"
SIZES: dict[str, w.Shapes] = {ONE: w.BIG, MANY: w.gpt2_small()}

SLOTS = {".*:(velocity|momentum)": "bfloat16"}


@dataclass(frozen=True)
class Way:
    """How things are kept: parameters and gradients in a dtype each, and what `storage` asks for."""

    parameters: str
    gradients: str
    storage: Any


WAYS = {
    FLOAT32: Way("float32", "float32", None),
    "bfloat16": Way("float32", "float32", "bfloat16"),
    "int8": Way("float32", "float32", "int8"),
    "all bfloat16": Way("bfloat16", "bfloat16", "bfloat16"),
    "int8, all else bfloat16": Way("bfloat16", "bfloat16", "int8"),
    "24 bits, all else bfloat16": Way("bfloat16", "bfloat16", {".*:parameter": FINE} | SLOTS),
}
"""Slots, if nothing else is said; the first is what all are measured beside."""

RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "RMSprop": ("RMSprop", {}),
    "RMSprop, momentum": ("RMSprop", {"momentum": 0.9}),
    "Adam": ("Adam", {}),
    "AdamW": ("AdamW", {"weight_decay": 0.01}),
    "Lion": ("Lion", {}),
}
"""Classes of the package, with arguments beside the usual ones."""

OURS = {
    "RMSprop": ([*WAYS][1:], (ONE, MANY)),
    "RMSprop, momentum": (["bfloat16", "int8", "int8, all else bfloat16"], (ONE,)),
    "Adam": (["bfloat16", "int8"], (ONE, MANY)),
    "Lion": (["bfloat16", "int8"], (ONE,)),
}
OF_MANY = ("bfloat16", "int8")
"""Rules, the ways that they are measured in, and sizes; many tensors take long to make, so only some ways."""

THEIRS = {
    "bitsandbytes RMSprop8bit": ("RMSprop", "int8", 20.0),
    "bitsandbytes AdamW8bit": ("AdamW", "int8", 0.0),
    "torchao AdamW8bit": ("AdamW", "int8", 50.0),
    "torch fused AdamW": ("AdamW", "all bfloat16", 1.0),
}
"""Others, beside which rule and way of ours they are, and the least ratio that is hoped for."""


@dataclass(frozen=True)
class OfStorage(Case):
    """A case, with what the table tells of each.

    rule: a name of RULES. kept: one of WAYS. size: one of SIZES. moved: bytes that a step moves of a parameter.
    """

    rule: str = ""
    kept: str = FLOAT32
    size: str = ONE
    moved: float = 0.0

    @property
    def way(self) -> Way:
        """How things are kept."""
        return WAYS[self.kept]

    @property
    def optimizer(self) -> Optimizer:
        """A new one."""
        name, options = RULES[self.rule]
        made: Optimizer = getattr(rmsprop_jit, name)(storage=self.way.storage, **options)
        return made

    @property
    def program(self) -> Program:
        """What its step runs."""
        optimizer, rule, way = self.optimizer, TABLE[RULES[self.rule][0].lower()][0].rule, self.way
        usual = step_program(optimizer, rule, LATE)
        light = usual_light(rule, way.storage, frozenset(), way.parameters)
        if isinstance(way.storage, dict):
            light = (*((name, "bfloat16") for name in usual.slots), (ERROR, BYTE))
        return step_program(optimizer, rule, LATE, dtype=way.parameters, gradient=way.gradients, light=light)

    def about(self) -> dict[str, Any]:
        """How a row of results begins."""
        return {**super().about(), "rule": self.rule, "kept": self.kept, "size": self.size, "moved": self.moved}


def _case(rule: str, kept: str, size: str, against: str, target: float) -> OfStorage:
    made = OfStorage(f"{rule}, {kept}, {size}", SIZES[size], {}, against, target, False, rule, kept, size)
    return replace(made, moved=made.program.bytes_per_element())


def cases() -> list[OfStorage]:
    """All of them."""
    found = []
    for rule, (ways, sizes) in OURS.items():
        for size in sizes:
            for kept in ways if size == ONE else OF_MANY:
                found += [_case(rule, kept, size, FLOAT32, 1.0), _case(rule, kept, size, CEILING, 0.8)]
    return found + [_case(rule, kept, ONE, peer, target) for peer, (rule, kept, target) in THEIRS.items()]
