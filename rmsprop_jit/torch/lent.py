"""Lent: how much of the states that `state_dict` showed anybody still has: our objects, their memory, or nothing.

Who has them can put others in their place, point a tensor elsewhere, or have its memory moved. Whether anybody does is
told by counts of references, weak ones, too, beside those of a probe that nobody was ever shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from itertools import accumulate, islice
from sys import getrefcount
from typing import Any
from weakref import getweakrefcount

import torch

from ..arrays.checks import check_variable
from ..codegen.memory import is_usual

MORE = 2
"""Places that have a dict or a tensor of ours, and not the probe: what it is kept in, and a list to compare it with."""


class Reach(IntEnum):
    """What of our states others may have. Who has but memory can move it, and does not get at our objects again."""

    NOTHING = 0
    MEMORY = 1
    OBJECTS = 2


class Lent:
    """Some dicts and tensors, and the memory of these.

    dicts:   each in all states, too, and in a list of ours, and nowhere else.
    slots:   tensors that arrays look at; `numbers`: by name, tensors that look at one array together, made just now.
             Each in a dict, too, and in a list of ours.
    """

    def __init__(self, dicts: Sequence[Any], slots: Sequence[Any], numbers: Sequence[Sequence[Any]]) -> None:
        probe = torch.zeros((), device="cpu")
        self._looks = check_variable(probe, "a probe")
        self.dicts: list[Any] = [*dicts, {}]
        self.tensors = [tensor for own in (slots, *numbers) for tensor in own] + [probe]
        self._with_memory = [i for i, tensor in enumerate(slots) if tensor.numel()]
        behind = accumulate(map(len, numbers), initial=len(slots))
        self._shared: dict[int, tuple[int, int, int]] = {}
        self._numbers = {first: _owners(self.tensors[first]) for first in islice(behind, len(numbers)) if dicts}

    def reach(self) -> Reach:
        """What others may have."""
        if not is_usual() or any(tensor.device.type != "cpu" for tensor in self.tensors):
            return Reach.OBJECTS
        if _is_elsewhere(self.dicts) or _is_elsewhere(self.tensors):
            return Reach.OBJECTS
        alone = _owners(self.tensors[-1])
        usual = {**dict.fromkeys(self._with_memory, alone), **self._numbers}
        self._shared = {i: owners for i, owners in usual.items() if _owners(self.tensors[i]) != owners}
        return Reach.MEMORY if self._shared else Reach.NOTHING

    def shared(self) -> list[Any]:
        """The tensors whose memory others had at the last `reach`; of those that have one memory the first."""
        return [self.tensors[i] for i in self._shared]

    def is_shared(self) -> bool:
        """Whether the first of them is still like that: if so, nobody looks at the others."""
        return any(_owners(self.tensors[i]) != owners for i, owners in islice(self._shared.items(), 1))


def _is_elsewhere(ours: list[Any]) -> bool:
    """Whether any but the last, the probe, is in more places than ours, or can be had by a weak reference."""
    if any(map(getweakrefcount, ours)):
        return True
    alone = next(map(getrefcount, reversed(ours))) + MORE
    return any(count != alone for count in map(getrefcount, islice(ours, len(ours) - 1)))


def _owners(tensor: Any) -> tuple[int, int, int]:
    """How many have the memory of a tensor, and what stands for it in Python, or a weak reference to that."""
    storage = tensor.untyped_storage()
    return torch._C._storage_Use_Count(storage._cdata), getrefcount(storage), getweakrefcount(storage)
