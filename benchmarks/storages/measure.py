"""The cases of storages beside one side, in a process of its own: run them and print a line of JSON for each."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from rmsprop_jit.codegen.axes import size_in
from rmsprop_jit.codegen.dtypes import storage

from .. import peers
from ..rows import Row, attempted, print_each
from ..timing import paired
from .cases import CEILING, FLOAT32, OfStorage, cases
from .moved import moving

CHECK_STEPS = 2
SAMPLES = 1 << 16
"""Elements that are checked."""

WITHIN = 0.1
"""How far steps may be from those of another storage, as a part of their length."""

PEERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bitsandbytes RMSprop8bit": ("bitsandbytes.optim", "RMSprop8bit", {"alpha": 0.9, "eps": 1e-7}),
    "bitsandbytes AdamW8bit": ("bitsandbytes.optim", "AdamW8bit", {"weight_decay": 0.01}),
    "torchao AdamW8bit": ("torchao.optim", "AdamW8bit", {"weight_decay": 0.01}),
    "torch fused AdamW": ("torch.optim", "AdamW", {"weight_decay": 0.01, "fused": True}),
}
"""Where the others are, and their arguments."""

Arrays = list[Any]
Side = tuple[Callable[[], object], Arrays]
"""A step, and the parameters that it trains."""


def measure(case: OfStorage, budget: float) -> Row:
    """One case; a result that is wrong has `correct` false and no times."""
    if case.against != CEILING and not is_right(case):
        return {"correct": False}
    parameters, gradients = _kept(case, *peers.arrays_for(case.shapes))
    theirs, _ = _other(case, parameters, gradients)
    ours, _ = _ours(case, parameters, gradients)
    return {"correct": True, **paired(ours, theirs, budget).as_row()}


def is_right(case: OfStorage) -> bool:
    """Whether both sides go the same way, from zeros: beside these, steps of bfloat16 parameters are not lost."""
    start, gradients = [np.zeros(SAMPLES, np.float32)], peers.arrays_for([(SAMPLES,)])[1]
    found = []
    for side in (_ours, _other):
        step, reached = side(case, *_kept(case, [one.copy() for one in start], gradients))
        for _ in range(CHECK_STEPS):
            step()
        found.append([one.astype(np.float32) for one in reached])
    ours, theirs = found
    return peers.agree(ours, theirs, start, WITHIN)


def _kept(case: OfStorage, parameters: Arrays, gradients: Arrays) -> tuple[Arrays, Arrays]:
    """Arrays in the dtypes of a case: themselves, where they are of these."""
    given = (case.way.parameters, parameters), (case.way.gradients, gradients)
    kept, brought = ([one.astype(storage(name).scalar, copy=False) for one in own] for name, own in given)
    return kept, brought


def _ours(case: OfStorage, parameters: Arrays, gradients: Arrays) -> Side:
    optimizer = case.optimizer
    optimizer.build(parameters)

    def step() -> None:
        optimizer.apply(gradients)

    return step, parameters


def _other(case: OfStorage, parameters: Arrays, gradients: Arrays) -> Side:
    """The other side: on the same parameters and gradients, unless ours of float32 is beside arrays that are not."""
    if case.against == FLOAT32:
        usual = replace(case, kept=FLOAT32)
        return _ours(usual, *_kept(usual, parameters, gradients))
    if case.against == CEILING:
        return _ceiling(case, parameters, gradients), parameters
    module, name, options = PEERS[case.against]
    made = getattr(importlib.import_module(module), name)
    tensors = [_parameter(*both) for both in zip(parameters, gradients, strict=True)]
    step: Callable[[], object] = made(tensors, lr=1e-3, **options).step
    return step, parameters


def _ceiling(case: OfStorage, parameters: Arrays, gradients: Arrays) -> Callable[[], object]:
    """The loads and stores of the step, on slots of its own."""
    program, shapes = case.program, [one.shape for one in parameters]
    arrays = {"parameter": parameters, "gradient": gradients}
    for array in program.arrays:
        kept = storage(array.storage).scalar
        arrays.setdefault(array.name, [np.ones(size_in(shape, array.space), kept) for shape in shapes])
    return moving(program, arrays, [one.size for one in parameters])


def _parameter(array: Any, gradient: Any) -> Any:
    """A parameter of torch's over these arrays."""
    import torch

    def over(one: Any) -> Any:
        if one.dtype.name != "bfloat16":
            return torch.from_numpy(one)
        return torch.from_numpy(one.view(np.uint16)).view(torch.bfloat16)

    made = torch.nn.Parameter(over(array))
    made.grad = over(gradient)
    return made


def main() -> None:
    """Measure the cases whose numbers are given; one line of JSON each."""
    budget, *numbers = sys.argv[1:]
    every = cases()
    print_each(attempted(case, partial(measure, case, float(budget))) for case in (every[int(n)] for n in numbers))


if __name__ == "__main__":
    main()
