"""The program that an optimizer runs in call after call, and its arrays; found by public names only."""

from __future__ import annotations

import re
from typing import Any

from rmsprop_jit import Optimizer
from rmsprop_jit.buckets import Light, program_of
from rmsprop_jit.codegen import Rule
from rmsprop_jit.codegen.axes import Axes
from rmsprop_jit.codegen.kinds import Space
from rmsprop_jit.codegen.program import Program
from rmsprop_jit.flags import option_flags, part_flags, step_flags, variable_flags
from rmsprop_jit.option_table import OPTIONS
from rmsprop_jit.options import Options
from rmsprop_jit.rules.rmsprop import RMSPROP


def options_of(optimizer: Optimizer, rule: Rule) -> Options:
    """All options of an optimizer without groups, those of its rule among them."""
    common = OPTIONS.keys() - {"groups"}
    values, hypers = ({name: getattr(optimizer, name) for name in names} for names in (common, rule.hypers))
    switches = {name: getattr(optimizer, name) for name, flag in rule.flags.items() if flag.is_option}
    return Options(values, hypers, switches)


def step_program(
    optimizer: Optimizer,
    rule: Rule = RMSPROP,
    update: int = 1,
    shape: tuple[int, ...] = (1,),
    dtype: str = "float32",
    gradient: str = "float32",
    light: Light = (),
) -> Program:
    """What a call for variables runs: an update, or (with gradient accumulation) a micro-step.

    Other calls of a window are rare where windows are as long as in the cases. `update`, from 1, is what flags that
    the step decides are asked for, but that no update is a variable's first.
    """
    options = options_of(optimizer, rule)
    numbers = options.numbers(optimizer.learning_rate, update)
    flags = option_flags(rule, options) | step_flags(rule, lambda: numbers) | variable_flags(rule, shape, "")
    if options.gradient_accumulation_steps:
        flags = part_flags(rule, flags, "micro_step")
    return program_of(rule, flags, dtype, (gradient,), light=light)


def arrays_of(
    program: Program, optimizer: Optimizer, parameters: list[Any], gradients: list[Any]
) -> dict[str, list[Any]]:
    """The arrays of elements, or of numbers over axes, that a program reads and writes, by name, one a tensor.

    The optimizer has made a call: before, it shows zeros of their own in place of an accumulator that is empty.
    """
    found = {"parameter": parameters, "gradient": gradients}
    for array in program.arrays:
        is_kept = array.space is Space.ELEMENT or isinstance(array.space, Axes)
        if array.name not in found and is_kept and not array.is_made:
            found[array.name] = slots_named(optimizer, array.name)
            assert len(found[array.name]) == len(parameters), array.name
    return found


def slots_named(optimizer: Optimizer, name: str) -> list[Any]:
    """The arrays of a slot, in the order of the variables, which have no names."""
    name_of_one = re.compile(rf"(?:.*/)?variable_\d+_{re.escape(name)}")
    return [slot.value for slot in optimizer.variables if name_of_one.fullmatch(slot.name)]
