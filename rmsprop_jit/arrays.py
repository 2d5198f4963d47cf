"""Arrays: what may be updated in place, where it lies, and whether two of them overlap.

An array is NumPy's, or lies on a GPU: then it is CuPy's, or made CuPy's when it is checked (see gpu.py). Every check is
made before anything is written; every message names the array.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ArrayError

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Int64 = npt.NDArray[np.int64]
else:
    Array = Int64 = Any  # importing numpy.typing takes as long as all the rest of this package

DTYPES = ("float32", "float64")
"""Dtypes of variables, gradients and slots."""

CACHE_LINE = 64
"""Bytes. Slots lie like their variable in relation to it, so that what is aligned for one is aligned for all."""


HOST = "cpu"
"""The place of NumPy arrays; that of others is "cuda:0" and so on."""


def _gpu() -> ModuleType:
    """What handles arrays that are not NumPy's; imported when the first one comes."""
    from . import gpu

    return gpu


def is_array(array: object) -> bool:
    """Whether something is a NumPy array, or an array on a GPU."""
    return isinstance(array, np.ndarray) or bool(_gpu().lies_on_gpu(array))


def keeps_its_memory(array: object) -> bool:
    """Whether an object stands for the same memory as long as it lives; torch's tensors can be pointed elsewhere."""
    return isinstance(array, np.ndarray) or bool(_gpu().is_cupy(array))


def place_of(array: Array) -> str:
    """Where a checked array lies: HOST or "cuda:<number of the device>"."""
    return HOST if isinstance(array, np.ndarray) else f"cuda:{_gpu().index_of(array)}"


def address_of(array: Array) -> int:
    """The address of the first element of a checked array."""
    if isinstance(array, np.ndarray):
        return int(array.__array_interface__["data"][0])
    return int(array.data.ptr)


def to_host(array: Any) -> Array:
    """A copy in host memory; waits for the GPU."""
    if isinstance(array, np.ndarray):
        return array.copy()
    copy: Array = _gpu().fetch(_gpu().adopt(array)) if is_array(array) else np.array(array)
    return copy


def assign(array: Array, value: Any) -> None:
    """Write a number, or an array of the same shape and place, into a checked array."""
    if isinstance(array, np.ndarray):
        array[...] = value
    else:
        _gpu().assign(array, value)


def put(array: Array, values: Array) -> None:
    """Write a NumPy array of the same shape into a checked array, wherever that lies."""
    if isinstance(array, np.ndarray):
        array[...] = values
    else:
        _gpu().put(array, values)


def check_array(array: object, what: str) -> Array:
    """`array`, if a compiled kernel can read it where it lies; one on a GPU as CuPy's, in the same memory.

    Raises ArrayError, naming it as `what`, and BackendError if it lies on a GPU and CuPy is not installed.
    """
    if not isinstance(array, np.ndarray):
        return _check_on_gpu(array, what)
    if isinstance(array, np.ma.MaskedArray):
        raise ArrayError(
            f"{what} is a masked array, whose mask would be ignored. Received: {type(array).__name__}. "
            "Pass array.filled(...)."
        )
    if array.dtype.name not in DTYPES:
        raise ArrayError(f"{what} must be of dtype {' or '.join(DTYPES)}. Received: dtype={array.dtype}.")
    if not array.dtype.isnative:
        raise ArrayError(
            f"{what} is not in this machine's byte order. Received: dtype={array.dtype.str!r}. "
            f"Pass array.astype({array.dtype.name!r})."
        )
    if not array.flags.c_contiguous:
        raise ArrayError(
            f"{what} is not C-contiguous. Received: shape={array.shape}, strides={array.strides}. "
            "Pass numpy.ascontiguousarray(...) of it."
        )
    if not array.flags.aligned:
        raise ArrayError(
            f"{what} is not aligned to its {array.itemsize}-byte elements. "
            f"Received: address {address_of(array):#x}. Pass a copy."
        )
    return array


def _check_on_gpu(array: Any, what: str) -> Array:
    gpu = _gpu()
    if not gpu.lies_on_gpu(array):
        raise ArrayError(
            f"{what} is not a NumPy array, nor one on a GPU. Received: {type(array).__name__}. "
            "Pass numpy.asarray(...) of it."
        )
    try:
        seen: Array = gpu.adopt(array)
    except (TypeError, ValueError, RuntimeError, BufferError) as problem:
        raise ArrayError(
            f"{what} cannot be used as a CuPy array ({problem}). Received: {type(array).__name__}. "
            f"Pass a dense array of dtype {' or '.join(DTYPES)}."
        ) from problem
    if seen.dtype.name not in DTYPES:
        raise ArrayError(f"{what} must be of dtype {' or '.join(DTYPES)}. Received: dtype={seen.dtype}.")
    if not seen.flags.c_contiguous:
        raise ArrayError(
            f"{what} is not C-contiguous. Received: shape={seen.shape}, strides={seen.strides}. "
            "Pass a contiguous copy of it."
        )
    if address_of(seen) % seen.dtype.itemsize:
        raise ArrayError(
            f"{what} is not aligned to its {seen.dtype.itemsize}-byte elements. "
            f"Received: address {address_of(seen):#x}. Pass a copy."
        )
    return seen


def check_variable(array: object, name: str) -> Array:
    """An array that can be updated in place. Raises ArrayError, naming it, if it cannot."""
    checked = check_array(array, f"variable {name!r}")
    check_writable(array, name)
    return checked


def check_writable(array: Any, name: str) -> None:
    """Raise ArrayError if a variable is read-only."""
    if not isinstance(array, np.ndarray):
        if _gpu().is_read_only(array):
            raise ArrayError(
                f"variable {name!r} is read-only. Received: {type(array).__name__} whose __cuda_array_interface__ "
                "says so. Pass a writable copy."
            )
    elif not array.flags.writeable:
        raise ArrayError(
            f"variable {name!r} is read-only. Received: an array with flags.writeable=False. Pass a writable copy."
        )


def check_gradient(gradient: object, array: Array, name: str) -> Array:
    """A gradient of the shape and dtype of its variable. Raises ArrayError, naming the variable, if it is not."""
    checked = check_array(gradient, f"the gradient of {name!r}")
    if place_of(checked) != place_of(array):
        raise ArrayError(
            f"the gradient of {name!r} must be where the variable is, on {place_of(array)}. "
            f"Received: a gradient on {place_of(checked)}. Copy it there first."
        )
    if checked.shape != array.shape:
        raise ArrayError(
            f"the gradient of {name!r} must have the variable's shape {array.shape}. Received: shape={checked.shape}."
        )
    if checked.dtype != array.dtype:
        raise ArrayError(
            f"the gradient of {name!r} must have the variable's dtype {array.dtype}. "
            f"Received: dtype={checked.dtype}. Pass gradient.astype({array.dtype.name!r})."
        )
    return checked


class Memory:
    """The memory of some arrays, to ask whether another one touches it."""

    def __init__(self, arrays: Sequence[tuple[str, Array]]) -> None:
        spans = sorted((address_of(a), address_of(a) + a.nbytes, name) for name, a in arrays if a.nbytes)
        self.begins = np.array([begin for begin, _, _ in spans], np.int64)
        self.ends = np.array([end for _, end, _ in spans], np.int64)
        self.names = [name for _, _, name in spans]

    def overlapping_pair(self) -> tuple[str, str] | None:
        """The names of two of the arrays that share memory, if any do."""
        for i in np.flatnonzero(self.begins[1:] < self.ends[:-1]):
            return self.names[i], self.names[i + 1]
        return None

    def touched_by(self, begin: int, nbytes: int) -> str | None:
        """The name of an array that overlaps the given bytes, if any does; the arrays must not overlap each other."""
        i = int(np.searchsorted(self.begins, begin + nbytes)) - 1
        return self.names[i] if nbytes and i >= 0 and self.ends[i] > begin else None

    def is_touched(self, begins: Int64, nbytes: Int64) -> bool:
        """Whether any of many spans of bytes overlaps any of the arrays."""
        if not len(self.ends):
            return False
        ends = begins + nbytes
        before = np.searchsorted(self.begins, ends) - 1
        return bool(((self.ends[before] > begins) & (before >= 0) & (nbytes > 0)).any())


def lead_of(array: Array) -> int:
    """How many elements of an array's first cache line lie before it."""
    return address_of(array) % CACHE_LINE // array.itemsize


def aligned_like(array: Array, fill: float | Array) -> Array:
    """A new array of the same shape, dtype and place (in its cache line, too), holding `fill`."""
    if not isinstance(array, np.ndarray):
        made: Array = _gpu().new_like(array, fill)
        return made
    room = np.empty(array.nbytes + CACHE_LINE, np.uint8)
    begin = (address_of(array) - address_of(room)) % CACHE_LINE
    host = room[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    host[...] = fill
    return host
