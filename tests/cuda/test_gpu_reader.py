"""How gradients on a GPU are looked at: each of them in every call, by what CuPy answers at once."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import simulated_cupy
import simulated_gpu
from compare import Array, assert_same_bits, make

from rmsprop_jit import RMSprop
from rmsprop_jit.codegen.backends.cuda import device
from rmsprop_jit.codegen.backends.cuda.reader import Reader

NOTHING: Array = np.zeros(0, np.int64)


class RealCuPy(simulated_gpu.Driver):
    """CuPy itself, of which no GPU is asked anything."""

    def cupy(self) -> Any:
        return pytest.importorskip("cupy")

    imported = cupy


@pytest.fixture
def real() -> Iterator[Callable[..., Any]]:
    """A function that makes CuPy's own array of a NumPy array, in the same memory."""
    cupy = pytest.importorskip("cupy")

    def array(host: Array, index: int = 0) -> Any:
        memory = cupy.cuda.UnownedMemory(host.ctypes.data, host.nbytes, host, index)
        return cupy.ndarray(host.shape, host.dtype, cupy.cuda.MemoryPointer(memory, 0), host.strides)

    device.use_driver(RealCuPy())
    try:
        yield array
    finally:
        device.use_driver(simulated_gpu.Driver())


def test_the_arrays_of_cupy_itself_are_read(real: Callable[..., Any]) -> None:
    host = [make(12).reshape(3, 4), make(5).astype(np.float64), make(1), make(0)]
    reader = Reader([real(array) for array in host], NOTHING, NOTHING)
    gradients = [make(12, 1).reshape(3, 4), make(5, 1), make(0)]
    names = ("float32", "float32", None, "float32")
    good = [real(gradients[0]), real(gradients[1]), None, real(gradients[2])]
    read = reader.read(good, names)
    assert read is not None
    assert read.addresses.tolist() == [*(array.ctypes.data for array in gradients[:2]), 0, good[3].data.ptr]
    bad = {
        "another dtype": real(np.zeros((3, 4))),
        "another shape": real(make(12).reshape(4, 3)),
        "not contiguous": real(np.asfortranarray(gradients[0])),
        "another device": real(gradients[0], 1),
        "of another library": gradients[0],
        "missing": None,
    }
    for what, array in bad.items():
        assert reader.read([array, *good[1:]], names) is None, what
    assert reader.read([*good[:2], real(make(1)), good[3]], names) is None
    assert reader.read(good, names) is not None


def test_cupy_has_what_is_asked_of_it_first(real: Callable[..., Any]) -> None:
    array = real(make(12).reshape(3, 4).T)
    assert array._c_contiguous is array.flags.c_contiguous is False
    assert array.data.device_id == array.device.id


def trained(prepare: Callable[[Any], object]) -> tuple[Array, Array]:
    """A variable after three calls with gradients of their own, each prepared, and its twin on the host."""
    host, ours, twin = make(), RMSprop(), RMSprop()
    variable = simulated_cupy.asarray(host)
    for seed in range(3):
        gradient = simulated_cupy.asarray(make(seed=seed))
        if seed:
            prepare(gradient)
        ours.apply([gradient], [variable])
        twin.apply([make(seed=seed)], [host])
    return variable.get(), host


def test_neither_flags_nor_devices_nor_names_of_dtypes_are_made_for_fresh_gradients() -> None:
    class Dtype:
        """Equal to one of NumPy's, without its name."""

        def __eq__(self, other: object) -> bool:
            return other == np.dtype(np.float32)

        def __hash__(self) -> int:
            return hash(np.dtype(np.float32))

    def prepare(gradient: Any) -> None:
        del gradient.flags, gradient.device
        gradient.dtype = Dtype()

    assert_same_bits(*trained(prepare), "variable")


def test_a_cupy_without_these_attributes_is_asked_by_its_public_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(gradient: Any) -> None:
        assert not hasattr(gradient, "_c_contiguous")
        assert not hasattr(gradient.data, "device_id")

    monkeypatch.delattr(simulated_cupy.ndarray, "_c_contiguous")
    monkeypatch.delattr(simulated_cupy.cuda.MemoryPointer, "device_id")
    assert_same_bits(*trained(prepare), "variable")
