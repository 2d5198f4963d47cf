"""Several GPUs, and streams that do not wait for each other, in the simulator."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from compare import Array, assert_same_bits, make
from gpu import assert_as_on_host, cupy

from rmsprop_jit import OptionError, RMSprop


class Foreign:
    """Another library's array on a device; what that library says of it can be left out."""

    def __init__(self, host: Array, device: int) -> None:
        with cupy.cuda.Device(device):
            self.memory = cupy.asarray(host)
        self.shape = host.shape

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        interface: dict[str, Any] = self.memory.__cuda_array_interface__
        return interface


class Tensor(Foreign):
    """As torch's and JAX's: it says by DLPack which device it is on."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, int(self.memory.device.id)


class Managed(Tensor):
    """In memory that moves between devices, of which DLPack gives no number."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 13, 0


@pytest.mark.parametrize("kind", [Foreign, Tensor, Managed])
def test_an_array_on_a_device_that_is_not_current_is_used_where_it_lies(kind: type[Foreign]) -> None:
    variable, gradient = kind(make(), 1), kind(make(seed=1), 1)
    optimizer, host, twin = RMSprop(momentum=0.9), make(), RMSprop(momentum=0.9)
    for _ in range(2):
        optimizer.apply([gradient], [variable])
        twin.apply([make(seed=1)], [host])
    assert_same_bits(variable.memory._host, host, "variable")
    assert cupy.cuda.Device().id == 0


def test_an_array_without_elements_is_on_the_device_that_it_names() -> None:
    variables = [Tensor(make(), 1), Tensor(np.zeros(0, np.float32), 1)]
    optimizer = RMSprop(global_clipnorm=0.1)
    optimizer.build(variables)
    optimizer.apply([Tensor(make(seed=1), 1), Tensor(np.zeros(0, np.float32), 1)])
    assert optimizer.iterations == 1


@contextlib.contextmanager
def own_streams() -> Iterator[None]:
    """A stream of its own on each device, which waits for no other."""
    with contextlib.ExitStack() as stack:
        for device in (0, 1):
            with cupy.cuda.Device(device):
                stack.enter_context(cupy.cuda.Stream(non_blocking=True))
        yield


def test_a_norm_over_two_devices_waits_for_the_streams_that_make_it() -> None:
    variables, gradients = [make(50), make(40, 3)], [make(50, 1), make(40, 2)]
    on_gpu: list[list[Any]] = [[], []]
    for device in (0, 1):
        with cupy.cuda.Device(device):
            on_gpu[0].append(cupy.asarray(variables[device]))
            on_gpu[1].append(cupy.asarray(gradients[device]))
    optimizer, twin = RMSprop(global_clipnorm=0.5), RMSprop(global_clipnorm=0.5)
    optimizer.build(on_gpu[0])
    with own_streams():
        for _ in range(2):
            optimizer.apply(on_gpu[1])
            twin.apply(gradients, variables)
        state = optimizer.state_dict()
    assert state["iteration"] == 2
    for device, (variable, host) in enumerate(zip(on_gpu[0], variables, strict=True)):
        cupy.cuda.Device(device).synchronize()
        np.testing.assert_allclose(variable.get(), host, rtol=3e-6, atol=1e-6)
    for mine, other in zip(optimizer.variables, twin.variables, strict=True):
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=3e-6, atol=1e-6)


# Captures, and streams that wait for each other.


@pytest.mark.gpu
def test_a_call_on_the_null_stream_while_a_blocking_stream_is_captured_is_refused_with_advice() -> None:
    """CUDA answers no question about the null stream then."""
    variable, gradient = cupy.asarray(make()), cupy.asarray(make(seed=1))
    optimizer = RMSprop()
    optimizer.build([variable])
    optimizer.apply([gradient])
    stream = cupy.cuda.Stream()
    stream.begin_capture()
    try:
        calls: list[Callable[[], object]] = [lambda: optimizer.apply([gradient]), lambda: RMSprop().build([gradient])]
        for call in calls:
            with pytest.raises(OptionError, match=r"Received: .*null stream.*non_blocking=True.*with stream:"):
                call()
    finally:
        stream.end_capture()
    assert optimizer.iterations == 1
    host, twin = make(), RMSprop()
    twin.apply([make(seed=1)], [host])
    assert_as_on_host(variable.get(), host, "variable")


@pytest.mark.gpu
@pytest.mark.parametrize("non_blocking", [False, True])
def test_a_call_is_captured_on_any_stream_that_is_current(non_blocking: bool) -> None:
    variable, gradient = cupy.asarray(make()), cupy.asarray(make(seed=1))
    optimizer, twin, host = RMSprop(), RMSprop(), make()
    optimizer.build([variable])
    with cupy.cuda.Stream(non_blocking=non_blocking) as stream:
        stream.begin_capture()
        optimizer.apply([gradient])
        graph = stream.end_capture()
        for _ in range(2):
            graph.launch()
            twin.apply([make(seed=1)], [host])
        assert optimizer.iterations == 2
    assert_as_on_host(variable.get(), host, "variable")
