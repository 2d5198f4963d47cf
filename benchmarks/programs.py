"""The program that an optimizer runs in call after call, and its arrays; found by public names only."""

from __future__ import annotations

from typing import Any

import rmsprop_jit
from rmsprop_jit.buckets import program_of
from rmsprop_jit.codegen.program import Program
from rmsprop_jit.flags import option_flags, part_flags
from rmsprop_jit.options import OPTIONS, Options
from rmsprop_jit.rules.rmsprop import RMSPROP


def step_program(optimizer: rmsprop_jit.RMSprop) -> Program:
    """What a call for float32 variables runs: an update, or (with gradient accumulation) a micro-step.

    Other calls of a window are rare where windows are as long as in the cases.
    """
    values = {name: getattr(optimizer, name) for name in OPTIONS}
    hypers = {name: getattr(optimizer, name) for name in RMSPROP.hypers}
    switches = {name: getattr(optimizer, name) for name, flag in RMSPROP.flags.items() if flag.follows is None}
    flags = option_flags(RMSPROP, Options(values, hypers, switches))
    if optimizer.gradient_accumulation_steps:
        flags = part_flags(RMSPROP, flags, "micro_step")
    return program_of(RMSPROP, flags, "float32")


def arrays_of(
    program: Program, optimizer: rmsprop_jit.RMSprop, parameters: list[Any], gradients: list[Any]
) -> dict[str, list[Any]]:
    """The arrays that a program reads and writes, by name, one a tensor.

    The optimizer has made a call: before, it shows zeros of their own in place of an accumulator that is empty.
    """
    found = {"parameter": parameters, "gradient": gradients}
    state = optimizer.variables
    for array in program.arrays:
        if array.name not in found:
            found[array.name] = [slot.value for slot in state if slot.name.endswith(f"_{array.name}")]
        assert len(found[array.name]) == len(parameters), array.name
    return found
