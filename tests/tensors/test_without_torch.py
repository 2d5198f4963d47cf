"""Without torch: nothing else needs it, nothing imports it, and what needs it says so."""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rmsprop_jit
from rmsprop_jit.codegen.backends import dlpack, noted, tensors


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if f"{name}.".startswith(("torch.", "rmsprop_jit.torch."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(vars(rmsprop_jit), "torch", raising=False)


@pytest.mark.usefixtures("without_torch")
def test_what_needs_it_says_so() -> None:
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match=r"rmsprop_jit\.torch needs torch.*Install it"):
            importlib.import_module("rmsprop_jit.torch")
    assert not hasattr(rmsprop_jit, "torch")


@pytest.mark.usefixtures("without_torch")
def test_all_else_works() -> None:
    weights = np.ones(3, np.float32)
    optimizer = rmsprop_jit.RMSprop(0.1)
    for _ in range(3):
        optimizer.apply([np.ones(3, np.float32)], [weights])
    assert (weights < 1).all()
    with pytest.raises(rmsprop_jit.ArrayError, match="not a NumPy array, a torch tensor"):
        optimizer.apply([[1.0, 2.0, 3.0]], [weights])


def describe(_: int, where: int) -> int:
    ctypes.memset(where, 0, 8 * len(noted.Field))
    ctypes.c_int64.from_address(where).value = 64
    return 0


described = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(describe)
table = dlpack.Table(major=1, dltensor_from_py_object_no_sync=ctypes.cast(described, ctypes.c_void_p).value)
capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)


class OfAnother:
    """A tensor of another library, without axes, that describes itself as torch's do."""

    is_contiguous: Callable[[Any], bool] = lambda self: True
    data_ptr: Callable[[Any], int] = lambda self: 64
    dtype, device, shape, ndim = "float32", "cpu", (), 0
    __dlpack_c_exchange_api__ = capsule(ctypes.addressof(table), dlpack.CAPSULE, None)


@pytest.mark.usefixtures("without_torch")
def test_tensors_of_another_library_are_asked_by_the_function_of_their_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    one = OfAnother()
    assert dlpack.describer({OfAnother}) is not None
    assert tensors.stay([one], [64])()
    assert not tensors.stay([one], [128])()
