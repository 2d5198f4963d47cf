"""Versions: torch counts how often each tensor was written, so that no graph is followed that saved other numbers.

Of what is written at an address it knows only if it is told. Nothing here imports torch.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..codegen.backends import inside


def of_torch(arrays: Iterable[Any]) -> Callable[[], None] | None:
    """What counts a write to each of torch's tensors among arrays; None where there are none."""
    torch = sys.modules.get("torch")
    kind = getattr(torch, "Tensor", None)
    tensors = [] if kind is None else [one for one in arrays if isinstance(one, kind)]
    graph: Any = getattr(getattr(torch, "autograd", None), "graph", None)
    return of_tensors(graph.increment_version, tensors) if tensors and graph is not None else None


def of_tensors(increment: Callable[[Any], None], tensors: Sequence[Any]) -> Callable[[], None]:
    """What counts a write to each of some of torch's tensors: compiled code, or else torch's own function."""
    return inside.counter(tensors) or functools.partial(of_lists(increment), tensors)


@functools.lru_cache(maxsize=1)
def of_lists(increment: Callable[[Any], None]) -> Callable[[Sequence[Any]], None]:
    """What counts a write to each tensor of a list: torch's own function, which before torch 2.5 takes one tensor."""

    def one_by_one(tensors: Sequence[Any]) -> None:
        for one in tensors:
            if not one.is_inference():  # these have no version, and a newer torch passes them over
                increment(one)

    try:
        increment([])
    except (RuntimeError, TypeError):
        return one_by_one
    return increment
