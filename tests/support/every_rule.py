"""Every bundled rule in every dialect, from the table: what is tried of all of them is tried of a new one, too.

A full sweep takes long. By default some sets of flags of each rule are tried, and where a compiler is slow some rules.
`RMSPROP_JIT_ALL_RULES=1` tries all rules, `RMSPROP_JIT_FLAG_SETS=10` ten times as many sets of flags, and
`RMSPROP_JIT_TURN=1`, 2, ... other ones.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import os
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar
from unittest import mock

import numpy as np
import pytest
from compare import Array, Maker
from papers import DRAWING
from run_rule import Tensors, make_tensors

import rmsprop_jit
from rmsprop_jit import OptionError
from rmsprop_jit.buckets import program_of
from rmsprop_jit.codegen import Program, Rule
from rmsprop_jit.codegen.kinds import KEY, SEED
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.table import HOMES

ALL = bool(os.environ.get("RMSPROP_JIT_ALL_RULES"))
SETS = int(os.environ.get("RMSPROP_JIT_FLAG_SETS", "1"))
TURN = int(os.environ.get("RMSPROP_JIT_TURN", "0"))

NUMBERS: dict[str, float] = {
    "clipnorm": 3.0,
    "global_clipnorm": 3.0,
    "clipvalue": 0.3,
    "weight_decay": 0.1,
    "loss_scale_factor": 8.0,
    "gradient_accumulation_steps": 2.0,
    "ema_overwrite_frequency": 3.0,
    "momentum": 0.9,
}
"""Numbers of options that are off by default."""

AROUND: list[tuple[str, ...]] = [
    ("weight_decay", "maximize"),
    ("clipvalue", "loss_scale_factor"),
    ("clipnorm", "use_ema"),
    ("global_clipnorm", "weight_decay", "weight_decay_exclusions"),
    ("use_ema", "ema_overwrite_frequency"),
    ("gradient_accumulation_steps", "clipvalue"),
    ("gradient_accumulation_steps", "micro_step"),
    ("gradient_accumulation_steps", "window_empty"),
]
"""What stands around a rule in a step."""

T = TypeVar("T")
Shape = tuple[int, ...]


class Variant(NamedTuple):
    """A class, and a dialect of it unless it is Keras's."""

    name: str
    dialect: str | None

    def __str__(self) -> str:
        return f"{self.name}-{self.dialect}" if self.dialect else self.name

    def made(self, **options: Any) -> Any:
        """An optimizer, whose steps are large enough to be seen unless the options say otherwise."""
        own: dict[str, Any] = {"dialect": self.dialect} if self.dialect else {}
        own |= {"seed": 7} if self.name in DRAWING and "seed" not in options else {}
        optimizer = getattr(rmsprop_jit, self.name)(**own, **options)
        if "learning_rate" not in options:
            optimizer.learning_rate = 0.0625  # of two: what is exact without it is exact with it
        return optimizer


def _dialects(name: str) -> list[str | None]:
    """The dialects of a class; one that there is not is answered with those that there are."""
    made = getattr(rmsprop_jit, name)
    if "dialect" not in inspect.signature(made).parameters:
        return [None]
    with pytest.raises(OptionError, match=r"must be one of ([\w, ]+)\.") as answer:
        made(dialect="no such")
    known = str(answer.value).partition("must be one of ")[2].partition(".")[0]
    return [None, *(one for one in known.split(", ") if one != "keras")]


VARIANTS = [Variant(name, dialect) for name in HOMES for dialect in _dialects(name)]


@functools.cache
def rule_of(variant: Variant) -> Rule:
    """The rule of an optimizer, which checks it when it is made."""
    with mock.patch("rmsprop_jit.optimizer.check_rule") as checked:
        variant.made()
    rule: Rule = checked.call_args.args[0]
    return rule


AXES = frozenset(
    one.name
    for one in VARIANTS
    if any(slot.over not in ("element", "tensor", "all") for slot in rule_of(one).slots.values())
)
"""Rules with numbers over axes, whose matrices compile for seconds, for each program anew."""


def some(cases: Sequence[T], label: str, count: int) -> list[T]:
    """So many of the cases (times FLAG_SETS), which follow one another, by a label and the turn."""
    wanted = count * SETS
    if wanted >= len(cases):
        return list(cases)
    first = zlib.crc32(label.encode()) + TURN * wanted
    return [cases[(first + i) % len(cases)] for i in range(wanted)]


def some_rules(label: str, count: int) -> list[Variant]:
    """So many of the rules, or all of them."""
    return VARIANTS if ALL else some(VARIANTS, label, count)


def own_flags(rule: Rule) -> list[tuple[str, ...]]:
    """Every combination of the flags that a rule's equations ask for, of which there is a shape."""
    names = list(dict.fromkeys((*rule.flags, *sorted(rule.decided_by_step))))
    every = itertools.product((False, True), repeat=len(names))
    found = [tuple(name for name, on in zip(names, chosen, strict=True) if on) for chosen in every]
    tried = MOST_AXES if ALL else MOST_AXES[:1]  # kernels over axes compile for seconds
    return [flags for flags in found if any(_are_of(rule, flags, _shaped(24, axes)) for axes in tried)]


MOST_AXES = (1, 2, 4)
"""How many axes tensors have for the flags that their shapes decide; the first that fits."""


def _are_of(rule: Rule, flags: Sequence[str], shape: Shape) -> bool:
    """Whether the flags that a shape decides are these."""
    return all((name in flags) is bool(flag.of(shape)) for name, flag in rule.flags.items() if flag.of is not None)


def _shaped(size: int, axes: int) -> Shape:
    """A shape of so many elements and axes."""
    if axes == 1:
        return (size,)
    rows = max((one for one in range(1, math.isqrt(size) + 1) if size % one == 0), default=1)
    return (rows, size // rows) if axes == 2 else (1, rows, *_shaped(size // rows, 2))


def shapes_of(rule: Rule, flags: Sequence[str], sizes: Sequence[int]) -> list[Shape]:
    """Shapes of so many elements, such as a rule has with these flags."""
    axes = next(one for one in MOST_AXES if _are_of(rule, flags, _shaped(24, one)))
    return [_shaped(size, axes) for size in sizes]


def flag_sets(rule: Rule, label: str, plain: int, around: int) -> list[tuple[str, ...]]:
    """Some sets of a rule's own flags, the first of them with nothing on, and some with what stands around it."""
    none, *others = own_flags(rule)
    whole = [(*own, *more) for own in (none, *others) for more in AROUND]
    return list(dict.fromkeys([none, *some(others, label, plain - 1), *some(whole, label, around)]))


class Trial(NamedTuple):
    """A program of a whole step, and what it is run on."""

    program: Program
    tensors: Tensors
    hypers: dict[str, float]
    own: dict[str, list[float]]


def is_shaped(rule: Rule) -> bool:
    """Whether shapes decide what a rule does."""
    return any(flag.of is not None for flag in rule.flags.values())


def usual_flags(rule: Rule, shape: Shape) -> list[str]:
    """Those of a variable of this shape, with the numbers that are on by default."""
    return [
        name
        for name, flag in rule.flags.items()
        if (flag.of(shape) if flag.of else flag.default or (flag.follows and rule.hypers[flag.follows].default))
    ]


def trial(
    rule: Rule,
    flags: Sequence[str],
    dtype: str,
    make: Maker,
    sizes: Sequence[int],
    step: float = 3.0,
    shapes: Sequence[Shape] = (),
) -> Trial:
    """The program, with tensors of so many elements: slots are not as they start, but as they may be later.

    shapes: of the tensors; by default such as the flags ask for.
    """
    whole, program = step_of(rule), program_of(rule, flags, dtype)
    shapes = shapes or shapes_of(rule, flags, sizes)
    tensors = make_tensors(whole, sizes, dtype, make)
    for tensor, shape, size in zip(tensors, shapes, sizes, strict=True):
        tensor |= {f"x.{name}": make(size).astype(dtype) for name in rule.inputs}
        for name, slot in whole.slots.items():
            if slot.over == "element":
                tensor[name] = np.abs(make(size)).astype(dtype)
            elif slot.over == "tensor":
                tensor[name][...] = 0.5
            elif slot.over != "all" and name in program.slots:
                tensor[name] = np.abs(make(math.prod(slot.shape_of(shape)))).astype(dtype).reshape(slot.shape_of(shape))
        tensor |= {name: one.reshape(shape) for name, one in tensor.items() if one.shape == (size,)}
    numbers = {
        "learning_rate": 0.05,
        "step": step,
        SEED[0]: 54321.0,
        SEED[1]: 7.0,
        **{name: one.default for name, one in whole.hypers.items()},
    }
    on = [flag.follows for name, flag in whole.flags.items() if flag.follows is not None and name in flags]
    numbers |= {name: 0.5 for name in on if numbers[name] == 0.0}  # it is on
    numbers |= {name: value for name, value in NUMBERS.items() if name in numbers}
    shared = {name: 0.5 * float(slot.initial) + 0.25 for name, slot in whole.slots.items() if slot.over == "all"}
    numbers |= {f"s.{name}{new}": value for name, value in shared.items() for new in ("", "'")}
    whether = [float(i % 2) for i in range(len(sizes))]
    own = {name: whether if name == "decays" else [one + 0.5 for one in whether] for name in program.tensor_hypers}
    own |= {name: [float(i) for i in range(len(sizes))] for name in KEY if name in own}
    return Trial(program, tensors, numbers, own)


def is_exact(program: Program) -> bool:
    """Whether no order of summation is in its numbers."""
    return not program.reductions()


def brought(variant: Variant, arrays: Sequence[Array]) -> dict[str, list[Array]]:
    """What a call brings beside gradients."""
    return {name: [np.abs(one) for one in arrays] for name in rule_of(variant).inputs}
