"""Lent: whether anybody still has states that `state_dict` showed, or memory of theirs.

Who has them can put others in their place, point a tensor elsewhere, or have its memory moved. Whether anybody does is
told by counts of references, beside those of a probe that nobody was ever shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, islice
from sys import getrefcount
from typing import Any

import torch

from ..arrays.checks import check_variable
from ..codegen.memory import is_usual

MORE = 2
"""Places that have a dict or a tensor of ours, and not the probe: what it is kept in, and a list to compare it with."""


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
        self._numbers = {first: _owners(self.tensors[first]) for first in islice(behind, len(numbers)) if dicts}

    def is_any(self) -> bool:
        """Whether anybody may have any of it."""
        if not is_usual() or any(tensor.device.type != "cpu" for tensor in self.tensors):
            return True
        if _is_elsewhere(self.dicts) or _is_elsewhere(self.tensors):
            return True
        alone = _owners(self.tensors[-1])
        if any(_owners(self.tensors[i]) != alone for i in self._with_memory):
            return True
        return any(_owners(self.tensors[first]) != owners for first, owners in self._numbers.items())


def _is_elsewhere(ours: list[Any]) -> bool:
    """Whether any but the last, the probe, is in more places than ours."""
    alone = next(map(getrefcount, reversed(ours))) + MORE
    return any(count != alone for count in map(getrefcount, islice(ours, len(ours) - 1)))


def _owners(tensor: Any) -> tuple[int, int]:
    """How many have the memory of a tensor, and what stands for it in Python."""
    storage = tensor.untyped_storage()
    return torch._C._storage_Use_Count(storage._cdata), getrefcount(storage)
