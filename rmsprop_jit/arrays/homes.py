"""Homes: one for each kind of arrays, which alone knows how these are asked, written and made.

The rest of the package asks a home and never what library an array is of. A further kind of arrays is a module with a
`HOME` in it, and its line in HOMES.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..codegen.backends.contract import Reader

    Array = npt.NDArray[Any]
    Int64 = npt.NDArray[np.int64]
else:
    Array = Int64 = Any  # importing numpy.typing takes as long as all the rest of this package

HOMES = [".numpy", ".torch", ".exchanged", ".cupy"]
"""Modules with a `HOME`, in the order in which they are asked whether an array is theirs.

Each is imported when the first array comes that none before it owns: NumPy work loads nothing for GPUs, nor for torch.
"""


class Home(Protocol):
    """What is asked of one kind of arrays.

    An adopted array has NumPy's attributes `shape`, `strides`, `dtype`, `size`, `nbytes`, `itemsize`, `ndim` and
    `flags.c_contiguous`, whatever its class; the methods from `place` on take adopted arrays.
    """

    @property
    def kind(self) -> str:
        """What its arrays are called in messages."""

    @property
    def contiguous(self) -> str:
        """How its users write a contiguous copy of `{}`."""

    @property
    def writable(self) -> str:
        """How its users write a copy of `{}` that an optimizer can update."""

    @property
    def cast(self) -> str:
        """How its users write a copy of `{}` in the dtype `{dtype}`."""

    @property
    def takes_any_order(self) -> bool:
        """Whether elements may lie in any order, as long as nothing lies between them."""

    def owns(self, array: object) -> bool:
        """Whether an object is an array of this kind. Imports nothing."""

    def keeps_memory(self, array: object) -> bool:
        """Whether an array stands for the same memory as long as it lives; torch's tensors can be pointed elsewhere."""

    def adopt(self, array: Any) -> Array:
        """An array of this kind in the class that is worked with, in the same memory.

        Raises TypeError, ValueError, RuntimeError or BufferError for one that cannot be used.
        """

    def is_read_only(self, array: Any) -> bool:
        """Whether the library that owns an array of this kind forbids writing to it."""

    def place(self, array: Array) -> str:
        """Where it lies, as "cpu" or "cuda:0"; the part before the colon names the backend."""

    def address(self, array: Array) -> int:
        """The address of the first element."""

    def fetch(self, array: Array) -> Array:
        """A copy as a NumPy array; waits until it can be made."""

    def write(self, array: Array, value: Any) -> None:
        """Write a number, or an array of the same shape that is NumPy's or of this kind."""

    def new_like(self, array: Array, fill: Any, dtype: np.dtype[Any] | None = None) -> Array:
        """A new array of the same shape and place, holding a number or an array of this kind.

        dtype: by default that of `array`. Numbers are rounded to nearest.
        """

    def new_shaped(
        self, array: Array, shape: tuple[int, ...], fill: float, dtype: np.dtype[Any] | None = None
    ) -> Array:
        """A new array of another shape, in the same place, holding a number. dtype: by default that of `array`."""

    def new_number(self, array: Array, fill: float) -> Array:
        """A new float64 array of shape () in the same place, holding a number."""

    def reader(self, variables: Sequence[Any], begins: Int64, ends: Int64) -> Reader | None:
        """Looks at gradients of `variables` of this kind, all at once; None where that is not possible.

        begins, ends: the memory that a step writes, sorted; no gradient may touch it.
        """

    def versions(self, arrays: Sequence[Any]) -> Callable[[], None] | None:
        """What counts a write to each of some arrays of this kind; None where their library counts none."""


@functools.cache
def _home(module: str) -> Home:
    home: Home = importlib.import_module(module, __package__).HOME
    return home


def find_home(array: object) -> Home | None:
    """The home of an array, or None for what is no array that can be used."""
    for module in HOMES:
        home = _home(module)
        if home.owns(array):
            return home
        if type(array).__module__ == "builtins":  # a number, a list: no other home need be imported for the answer
            break
    return None


def home_of(array: Array) -> Home:
    """The home of an adopted array."""
    home = find_home(array)
    assert home is not None
    return home


def kinds() -> str:
    """All kinds of arrays, in words."""
    *most, last = (_home(module).kind for module in HOMES)
    return f"{', '.join(most)} or {last}"


def is_array(array: object) -> bool:
    """Whether something is an array of a known kind."""
    return find_home(array) is not None


def keeps_its_memory(array: object) -> bool:
    """Whether an object is an array that stands for the same memory as long as it lives."""
    home = find_home(array)
    return home is not None and home.keeps_memory(array)


def place_of(array: Array) -> str:
    """Where an adopted array lies."""
    return home_of(array).place(array)


def address_of(array: Array) -> int:
    """The address of the first element of an adopted array."""
    return home_of(array).address(array)


def write(array: Array, value: Any) -> None:
    """Write a number, or an array of the same shape that is NumPy's or of the same kind, into an adopted array."""
    home_of(array).write(array, value)


def to_host(array: Any) -> Array:
    """A copy of an array, or of anything that NumPy can convert, in host memory; waits for a GPU."""
    home = find_home(array)
    return np.array(array) if home is None else home.fetch(home.adopt(array))
