"""`rmsprop_jit.torch.RMSprop` beside torch's, on the same parameters, gradients and states, in turns.

Run with seconds and the numbers of cases, or with seconds, "sweep" and a peer; prints a line of JSON for each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rmsprop_jit.buckets import program_of

from . import peers
from . import workloads as w
from .cases import Case
from .ceiling import traffic
from .rows import Row, attempted, print_each
from .sweep import MOST_TENSORS, swept
from .timing import Paired, Work, paired

CEILING, FOREACH, COMPILED, BOUND = "ceiling", "torch foreach", "torch.compile", "300 us"
MOST = 300e-6
"""Seconds that a step of 1,000 tiny tensors may take: what the host does, every pointer read."""

CHECK_STEPS = 3
SIZES, COUNTS = [10, 1_000, 100_000, 10_000_000], [1, 10, 100, 1_000, 10_000]
PEER = FOREACH
"""Of the sweep."""


@dataclass(frozen=True)
class OfTorch(Case):
    """shown: whether the states were shown to somebody, as `state_dict` does, so that every step looks at them, too."""

    shown: bool = False


RESNET, SMALL = "ResNet-50", "200 x 1,000"
TINY: w.Shapes = [(16,)] * 1_000
CASES = [
    OfTorch(RESNET, w.resnet50(), {}, CEILING, 0.90),
    OfTorch(RESNET, w.resnet50(), {}, FOREACH, 5.0),
    OfTorch(RESNET, w.resnet50(), {}, COMPILED, 1.0),
    OfTorch(SMALL, w.SMALL, {}, CEILING, 0.0),
    OfTorch(SMALL, w.SMALL, {}, FOREACH, 15.0),
    OfTorch(f"{SMALL}, after state_dict()", w.SMALL, {}, FOREACH, 0.0, shown=True),
    OfTorch("200 x 2: the host alone", [(2,)] * 200, {}, FOREACH, 0.0),
    OfTorch("1,000 x 16: the host alone", TINY, {}, BOUND, 1.0),
    OfTorch("1,000 x 16: the host alone", TINY, {}, FOREACH, 15.0),
]


def measure(case: Case, budget: float) -> Row:
    """One case; a result that is wrong has `correct` false and no times."""
    import torch

    from rmsprop_jit.torch import RMSprop

    arrays, gradients = peers.arrays_for(case.shapes)
    ours, theirs = (parameters(arrays, gradients) for _ in range(2))
    optimizer, other = RMSprop(ours, lr=1e-3), torch.optim.RMSprop(theirs, lr=1e-3, foreach=True)
    step = torch.compile(other.step) if case.against == COMPILED else other.step
    for _ in range(CHECK_STEPS):
        optimizer.step()
        step()
    reached, wanted = ([one.detach().numpy() for one in side] for side in (ours, theirs))
    if not peers.agree(reached, wanted, arrays):
        return {"correct": False}
    own = vars(optimizer)["state"]  # to ask for `state` would show it
    for one, twin in zip(ours, theirs, strict=True):
        twin.data, twin.grad = one.data, one.grad
        other.state[twin]["square_avg"].data = own[one]["square_avg"]
    if isinstance(case, OfTorch) and case.shown:
        optimizer.state_dict()
    return {"correct": True, **_timed(case, optimizer, ours, step, budget).as_row()}


def parameters(arrays: Sequence[w.Array], gradients: Sequence[w.Array]) -> list[Any]:
    """Parameters of torch's with gradients, in memory of their own."""
    import torch

    made = [torch.nn.Parameter(torch.from_numpy(array.copy())) for array in arrays]
    for one, gradient in zip(made, gradients, strict=True):
        one.grad = torch.from_numpy(gradient.copy())
    return made


def _timed(case: Case, optimizer: Any, ours: Sequence[Any], theirs: Work, budget: float) -> Paired:
    if case.against == BOUND:
        found = paired(optimizer.step, optimizer.step, budget)
        return Paired.of([found.ours_range[0], found.ours, found.ours_range[1]], [MOST] * 3)
    return paired(optimizer.step, ceiling(optimizer, ours) if case.against == CEILING else theirs, budget)


def ceiling(optimizer: Any, parameters: Sequence[Any]) -> Callable[[], object]:
    """The same loads and stores, and next to no arithmetic; nothing of the host's."""
    from rmsprop_jit.torch.settings import settings_of
    from rmsprop_jit.torch.words import words_of

    words, own = words_of("rmsprop"), vars(optimizer)["state"]
    flags = settings_of(words, optimizer.param_groups[0], None, None).flags
    program = program_of(words.rule, flags, "float32", ("float32",))
    tensors = {"parameter": list(parameters), "gradient": [one.grad for one in parameters]}
    tensors["velocity"] = [own[one]["square_avg"] for one in parameters]
    arrays = {name: [one.detach().numpy() for one in kept] for name, kept in tensors.items()}
    return traffic(program, arrays, [tuple(one.shape) for one in parameters])


def main() -> None:
    """Measure what was asked for."""
    seconds, *numbers = sys.argv[1:]
    if numbers[0] == "sweep":
        print_each(swept(numbers[1], SIZES, COUNTS, measure, float(seconds), MOST_TENSORS.get(numbers[1], sys.maxsize)))
        return
    cases = [CASES[int(number)] for number in numbers]
    print_each(attempted(case, partial(measure, case, float(seconds))) for case in cases)


if __name__ == "__main__":
    main()
