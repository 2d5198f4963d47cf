"""A training whose variables lie on the GPU, or some of them on the host, and that can be set back."""

from typing import Any

import numpy as np
from compare import Array, assert_same_bits, make
from gpu import cupy

from rmsprop_jit import RMSprop

OPTIONS: dict[str, Any] = {"global_clipnorm": 0.5, "momentum": 0.9}
PLACES: dict[str, tuple[int, ...]] = {"gpu": (0, 1), "gpu and host": (0,)}

Saved = tuple[list[Array], dict[str, Any]]
"""Variables, and the state of their optimizer."""


def fetched(array: Any) -> Array:
    """A copy on the host."""
    copied: Array = array.get() if isinstance(array, cupy.ndarray) else array.copy()
    return copied


def write(array: Any, value: Array) -> None:
    """Set all elements, wherever the array lies."""
    if isinstance(array, cupy.ndarray):
        array.set(value)
    else:
        array[...] = value


class Training:
    """Two variables, some of them on the GPU, and an optimizer of them."""

    def __init__(self, on_gpu: tuple[int, ...], **options: Any) -> None:
        self.on_gpu = on_gpu
        self.variables = self.placed([make(50, 1), make(21, 2)])
        self.optimizer = RMSprop(0.1, **(options or OPTIONS))
        self.optimizer.build(self.variables)

    def placed(self, arrays: list[Array]) -> list[Any]:
        """Each array where the variable of its index is."""
        return [cupy.asarray(array) if i in self.on_gpu else array.copy() for i, array in enumerate(arrays)]

    def gradients(self, seed: int) -> list[Any]:
        """A gradient for each variable."""
        return self.placed([make(50, 10 + seed), make(21, 20 + seed)])

    def step(self, seed: int) -> None:
        """One call."""
        self.optimizer.apply(self.gradients(seed))

    def saved(self) -> Saved:
        """Copies of the variables, and the optimizer's state."""
        return [fetched(variable) for variable in self.variables], self.optimizer.state_dict()

    def restore(self, saved: Saved) -> None:
        """Go back to what was saved."""
        values, state = saved
        for variable, value in zip(self.variables, values, strict=True):
            write(variable, value)
        self.optimizer.load_state_dict(state, options="keep")  # a rate that was set since then stays

    def assert_like(self, other: "Training") -> None:
        """Equal variables and state, bit for bit."""
        ours, theirs = self.saved(), other.saved()
        for mine, their in zip(ours[0], theirs[0], strict=True):
            assert_same_bits(mine, their, "variable")
        assert ours[1].keys() == theirs[1].keys()
        for name, value in theirs[1].items():
            assert np.array_equal(ours[1][name], value), name
