"""Torch's optimizers beside ours: the same parameters, gradients and calls, and how far they are apart."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

SHAPES = [(4, 3), (7,), (), (0, 3), (2, 3, 4, 5)]
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-12}


def parameters(seed: int, dtype: Any = torch.float64, shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[Any]:
    """Some parameters; the one of four dimensions in channels-last order."""
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    made = [one.to(memory_format=torch.channels_last) if one.ndim == 4 else one for one in made]
    return [torch.nn.Parameter(one) for one in made]


def twins(ours: Sequence[Any]) -> list[Any]:
    """The same parameters in other memory."""
    return [torch.nn.Parameter(one.detach().clone()) for one in ours]


def give_gradients(ours: Sequence[Any], theirs: Sequence[Any], seed: int, missing: float = 0.0) -> None:
    """The same gradients to both; a part of them is missing."""
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    for a, b in zip(ours, theirs, strict=True):
        gradient = torch.randn(a.shape, generator=generator, dtype=torch.float64) + 0.5
        is_missing = rng.random() < missing
        for one in (a, b):
            one.grad = None if is_missing else torch.empty_like(one).copy_(gradient).detach()


def distance(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """The largest difference, relative where numbers are above 1."""
    found = [0.0]
    for a, b in zip(ours, theirs, strict=True):
        if a.numel():
            scale = max(1.0, float(b.detach().abs().max()))
            found.append(float((a.detach() - b.detach()).abs().max()) / scale)
    return max(found)


def train(
    ours: Sequence[Any],
    theirs: Sequence[Any],
    optimizer: Any,
    other: Any,
    steps: int,
    seed: int = 100,
    missing: float = 0.0,
    each: Callable[[int], None] | None = None,
) -> None:
    """So many steps of both."""
    for step in range(steps):
        give_gradients(ours, theirs, seed + step, missing)
        optimizer.step()
        other.step()
        if each is not None:
            each(step)


def exchanged(optimizer: Any, other: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state of each for the other."""
    return copy.deepcopy(other.state_dict()), copy.deepcopy(optimizer.state_dict())
