"""A step of an optimizer of torch's, first on memory of its own, for the check, then on ours, for the time.

Memory is not all alike: what a process is given first can be 1.8 times as fast as what it is given later (measured), so
that of two equals the one that was built first wins. In turns on the same arrays neither is favoured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rmsprop_jit import Optimizer

from .workloads import Array


class TorchStep:
    """Called, it does one update.

    optimizer, tensors: of torch's. `step`: what is called, by default its own.
    """

    def __init__(self, optimizer: Any, tensors: list[Any], step: Callable[[], object] | None = None) -> None:
        self._optimizer, self._tensors = optimizer, tensors
        self._step: Callable[[], object] = step or optimizer.step

    def __call__(self) -> None:
        self._step()

    def values(self) -> list[Array]:
        """The parameters now."""
        return [tensor.detach().cpu().numpy() for tensor in self._tensors]

    def move(self, ours: Optimizer, parameters: Sequence[Array], gradients: Sequence[Array]) -> None:
        """From now on work on the arrays of an optimizer of ours: parameters, gradients, as many slots as it has."""
        import torch

        slots = _slots(ours, len(parameters))
        for i, (tensor, parameter, gradient) in enumerate(zip(self._tensors, parameters, gradients, strict=True)):
            tensor.data, tensor.grad = torch.from_numpy(parameter), torch.from_numpy(gradient)
            states = self._optimizer.state[tensor].values()
            own = [one for one in states if isinstance(one, torch.Tensor) and one.shape == tensor.shape]
            for state, kind in zip(own, slots, strict=False):
                state.data = torch.from_numpy(kind[i]).view(tensor.shape)  # numbers over axes have fewer axes


def _slots(optimizer: Optimizer, count: int) -> list[list[Array]]:
    """Kind by kind, the slots that are arrays; what comes before them are the count of updates and the rate."""
    arrays = [slot.value for slot in optimizer.variables if slot.value.dtype == "float32" and slot.value.ndim]
    return [arrays[begin : begin + count] for begin in range(0, len(arrays), count)]
