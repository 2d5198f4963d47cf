"""465 groups of 1,000 elements: AdamW with options of their own beside one group, and torch's AdamW with as many.

What groups cost is a question of a few microseconds in some hundred, so both sides of a row stand in one process and
are timed in turns. Nothing is kept: the table is for the machine at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from . import timing
from .workloads import Shapes, arrays

COUNT, SIZE = 465, 1_000
SHAPES: Shapes = [(SIZE,)] * COUNT
RATE, DECAY = 1e-3, 0.01

Group = dict[str, Any]
Step = Callable[[], object]


class Line(NamedTuple):
    """What is timed beside one group, and what may be hoped for.

    most: how many times as long as one group's step it takes at most, or ...
    more: ... how many seconds longer.
    """

    name: str
    make: Callable[[], Step]
    most: float | None = None
    more: float | None = None


def part(i: int) -> float:
    """How far a group is among all."""
    return i / COUNT


def constants(i: int) -> Group:
    """Numbers of a group."""
    return {"learning_rate": RATE * (1 + part(i)), "weight_decay": DECAY * (1 + part(i))}


def schedules(i: int) -> Group:
    """A schedule of its own."""
    import rmsprop_jit

    return {"learning_rate": rmsprop_jit.CosineDecay(RATE * (1 + part(i)), 1_000_000)}


def decays(i: int) -> Group:
    """Numbers of which powers are taken in each step."""
    return {"beta_1": 0.9 - 0.1 * part(i), "beta_2": 0.999 - 0.01 * part(i)}


def ours(of: Callable[[int], Group] | None) -> Step:
    """A step of this project's AdamW, on one thread as torch's small tensors are."""
    import rmsprop_jit

    parameters, gradients = arrays(SHAPES, 0), arrays(SHAPES, 1)
    optimizer = rmsprop_jit.AdamW(learning_rate=RATE, weight_decay=DECAY, threads=1)
    optimizer.build(parameters if of is None else [{"params": [p], **of(i)} for i, p in enumerate(parameters)])
    return lambda: optimizer.apply(gradients)


def torchs(**how: bool) -> Step:
    """A step of torch's AdamW with a group a tensor."""
    import torch

    torch.set_num_threads(1)
    tensors = [torch.nn.Parameter(torch.from_numpy(array)) for array in arrays(SHAPES, 0)]
    for tensor, gradient in zip(tensors, arrays(SHAPES, 1), strict=True):
        tensor.grad = torch.from_numpy(gradient)
    groups = [{"params": [tensor], "lr": constants(i)["learning_rate"]} for i, tensor in enumerate(tensors)]
    optimizer = torch.optim.AdamW(groups, weight_decay=DECAY, **how)
    return lambda: optimizer.step()


LINES = (
    Line("465 groups, rates and decays", lambda: ours(constants), most=1.10),
    Line("465 groups, a schedule each", lambda: ours(schedules), more=1e-3),
    Line("465 groups, betas", lambda: ours(decays)),
    Line("torch foreach, 465 groups", lambda: torchs(foreach=True)),
    Line("torch fused, 465 groups", lambda: torchs(fused=True)),
)

HEAD = ("beside one group", "one", "this", "ratio, 10th and 90th percentile", "hoped for", "")


def measured(seconds: float) -> Iterator[tuple[str, ...]]:
    """The lines of the table, one after the other."""
    for line in LINES:
        try:
            made = line.make()
        except ImportError as missing:
            yield line.name, "", "", f"{missing.name} is not installed", "", ""
            continue
        found = timing.paired(ours(None), made, seconds)
        low, high = found.ratio_range
        extra = found.theirs - found.ours
        hoped = f"<= {line.most:.2f} x" if line.most else f"<= {line.more * 1e3:g} ms more" if line.more else ""
        is_met = found.ratio <= line.most if line.most else extra <= line.more if line.more else None
        told = "" if is_met is None else "yes" if is_met else "no"
        spread = f"{found.ratio:.3f} ({low:.3f} to {high:.3f}), {extra * 1e6:+.0f} us"
        yield line.name, f"{found.ours * 1e6:.0f} us", f"{found.theirs * 1e6:.0f} us", spread, hoped, told
