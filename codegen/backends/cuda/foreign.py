"""Arrays of other libraries on a GPU: looked at through CuPy, in the same memory on the same device."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import torch_streams
from .device import DeviceArray, cupy, is_cupy, use

CUDA, CUDA_MANAGED = 2, 13
"""DLPack's numbers of device types whose memory kernels can reach."""


def lies_on_gpu(array: object) -> bool:
    """Whether an array, of whatever library, is in the memory of a CUDA device. Imports nothing."""
    if isinstance(array, np.ndarray | np.generic | float | int | list | tuple):
        return False
    where = getattr(array, "__dlpack_device__", None)
    if where is not None:
        return int(where()[0]) in (CUDA, CUDA_MANAGED)
    return hasattr(array, "__cuda_array_interface__")


def adopt(array: Any) -> DeviceArray:
    """The array as CuPy's, in the same memory. A torch tensor that requires grad is taken without its history."""
    if is_cupy(array):
        return array
    torch_streams.meet(array)
    array = _without_history(array)
    xp = cupy()
    if not hasattr(array, "__cuda_array_interface__"):
        return xp.from_dlpack(array)
    with use(_device_of(array)):  # `asarray` copies what lies on a device that is not the current one
        return xp.asarray(array)


def _device_of(array: Any) -> int:
    """The number of the device on which an array lies: by DLPack, or else by its address."""
    xp, where = cupy(), getattr(array, "__dlpack_device__", None)
    kind, index = where() if where is not None else (None, xp.cuda.Device().id)
    if kind != CUDA:  # managed memory moves: DLPack's number says nothing
        address = array.__cuda_array_interface__["data"][0]
        found = xp.cuda.runtime.pointerGetAttributes(address).device if address else -1
        index = found if found >= 0 else index
    return int(index)


def is_read_only(array: Any) -> bool:
    """Whether the library that owns an array forbids writing to it."""
    interface = getattr(_without_history(array), "__cuda_array_interface__", None)
    return bool(interface is not None and interface["data"][1])


def _without_history(array: Any) -> Any:
    """A torch tensor that requires grad as one that does not, in the same memory; other arrays as they are."""
    return array.detach() if getattr(array, "requires_grad", False) else array
