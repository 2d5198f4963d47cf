"""A tensor that its class describes to compiled code: by a table of C functions, as DLPack's header says.

Written after that header (`dlpack.h` of DLPack 1.3), and knows nothing of how the package reads it.
"""

from __future__ import annotations

import ctypes
from typing import Any

from compare import Array

NAME = b"dlpack_exchange_api"
DESCRIBE = ctypes.cast(ctypes.pythonapi.PySequence_DelItem, ctypes.c_void_p).value
"""`int PySequence_DelItem(PyObject *, Py_ssize_t)` has the signature of `dltensor_from_py_object_no_sync`: it calls
`__delitem__` with the address as a number, and returns 0, or -1 with the exception set. No function that ctypes makes
of Python could leave an exception behind."""

CODES = {"i": 0, "u": 1, "f": 2}


class DLTensor(ctypes.Structure):
    """What is filled."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    )


class ExchangeAPI(ctypes.Structure):
    """DLPackExchangeAPI."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("prev_api", ctypes.c_void_p),
        ("managed_tensor_allocator", ctypes.c_void_p),
        ("managed_tensor_from_py_object_no_sync", ctypes.c_void_p),
        ("managed_tensor_to_py_object_no_sync", ctypes.c_void_p),
        ("dltensor_from_py_object_no_sync", ctypes.c_void_p),
        ("current_work_stream", ctypes.c_void_p),
    )


_KEPT: list[ExchangeAPI] = []


def table(describe: int | None = DESCRIBE, major: int = 1, minor: int = 3, older: int | None = None) -> int:
    """The address of a table, which stays for good."""
    made = ExchangeAPI(major, minor, older, dltensor_from_py_object_no_sync=describe)
    _KEPT.append(made)
    return ctypes.addressof(made)


def capsule(at: int, name: bytes = NAME) -> Any:
    """A capsule of a table."""
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    return new(("PyCapsule_New", ctypes.pythonapi))(at, name, None)


class Tensor:
    """A tensor in the memory of a NumPy array, which can be exchanged.

    asked:  how often Python asked it something.
    broken: describing it fails.
    lost:   its storage was resized to nothing.
    offset: so many of the bytes to its begin are told apart from the rest.
    """

    __dlpack_c_exchange_api__ = capsule(table())
    requires_grad = False

    def __init__(self, host: Array, device_type: int = 2) -> None:
        self.data, self.device_type, self.asked, self.offset = host, device_type, 0, 0
        self.lost = self.broken = self.without_strides = False
        self._sizes: list[Any] = []  # all that were ever shown stay: whoever was shown some may still look at them

    def __delitem__(self, at: int) -> None:
        if self.broken:
            raise BufferError("cannot be described")
        host, out = self.data, DLTensor.from_address(at)
        shape = (ctypes.c_int64 * host.ndim)(*host.shape)
        strides = (ctypes.c_int64 * host.ndim)(*(step // host.itemsize for step in host.strides))
        self._sizes += [shape, strides]
        out.data, out.byte_offset = self._begin() - self.offset or None, self.offset
        out.device_type, out.device_id, out.ndim = self.device_type, 0, host.ndim
        out.code, out.bits, out.lanes = CODES[host.dtype.kind], 8 * host.itemsize, 1
        out.shape = ctypes.addressof(shape) if host.ndim else None
        out.strides = ctypes.addressof(strides) if host.ndim and not self.without_strides else None

    def _begin(self) -> int:
        return 0 if self.lost or not self.data.size else self.data.ctypes.data

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.data.shape

    @property
    def dtype(self) -> str:
        """As torch's are shown."""
        return f"torch.{self.data.dtype}"

    @property
    def device(self) -> str:
        """As torch's are shown."""
        return "cuda:0"

    def data_ptr(self) -> int:
        """Where it begins."""
        self.asked += 1
        return self._begin()

    def is_contiguous(self) -> bool:
        """Whether its elements are in order, without gaps."""
        self.asked += 1
        return self.data.flags.c_contiguous

    def numel(self) -> int:
        """How many elements it has."""
        self.asked += 1
        return self.data.size

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device_type, 0

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self.data.__array_interface__, "data": (self._begin(), False)}


def subclass() -> type[Tensor]:
    """A subclass of tensors, of which nothing is known."""
    return type("Subclass", (Tensor,), {})
