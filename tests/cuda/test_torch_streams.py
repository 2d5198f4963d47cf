"""torch's tensors on streams that are not CuPy's, with a simulated torch: its current stream, and its graphs."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import simulated_cupy as cupy
from compare import Array, assert_same_bits, make

from rmsprop_jit import OptionError, RMSprop


class Tensor:
    """A tensor of torch's on a device."""

    def __init__(self, host: Array, device: int = 0) -> None:
        with cupy.cuda.Device(device):
            self.memory = cupy.asarray(host)
        self.shape = host.shape

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.memory.__cuda_array_interface__

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, int(self.memory.device.id)


class Torch:
    """What is asked of torch, with a stream of its own on each device, and work on it that is not yet done."""

    def __init__(self) -> None:
        self.Tensor, self.cuda = Tensor, self
        self.counted: list[Tensor] = []  # whose versions are one more, as often as they are here
        self.autograd = SimpleNamespace(graph=SimpleNamespace(increment_version=self.counted.extend))
        self.streams = []
        for device in (0, 1):
            with cupy.cuda.Device(device):
                self.streams.append(cupy.cuda.Stream(non_blocking=True))

    def current_stream(self, device: int) -> Any:
        return SimpleNamespace(cuda_stream=self.streams[device].ptr)

    def is_initialized(self) -> bool:
        return True

    def is_current_stream_capturing(self) -> bool:
        return bool(self.streams[cupy.cuda.Device().id].is_capturing())

    def fill(self, tensor: Tensor, value: Array) -> None:
        """Write to a tensor, later."""
        host = tensor.memory._host
        self.streams[tensor.memory.device.id].submit(lambda: host.__setitem__(..., value))


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Torch:
    made = Torch()
    monkeypatch.setitem(sys.modules, "torch", made)
    return made


@pytest.mark.parametrize("device", [0, 1])
@pytest.mark.parametrize("own_stream", [False, True])
def test_gradients_are_read_after_torch_made_them_and_before_it_takes_them_back(
    torch: Torch, device: int, own_stream: bool
) -> None:
    variable, gradient = Tensor(make(), device), Tensor(make(seed=9), device)
    optimizer, twin, host = RMSprop(momentum=0.9), RMSprop(momentum=0.9), make()
    optimizer.build([variable])
    with cupy.cuda.Device(device):
        ours = cupy.cuda.Stream(non_blocking=True) if own_stream else cupy.cuda.get_current_stream()
    for seed in (1, 2):
        torch.fill(gradient, make(seed=seed))
        with cupy.cuda.Device(device), ours:
            optimizer.apply([gradient])
        torch.fill(gradient, np.full(300, np.nan, np.float32))  # freed, and used for something else
        twin.apply([make(seed=seed)], [host])
    torch.streams[device].synchronize()
    assert_same_bits(variable.memory._host, host, "variable")


@pytest.mark.parametrize("chosen", [False, True])
def test_torch_is_told_which_of_its_tensors_a_step_writes(torch: Torch, chosen: bool) -> None:
    """Where the GPU alone knows which step is due, each call may write them."""
    ours, idle, gradient = Tensor(make()), Tensor(make()), Tensor(make(seed=1))
    others: dict[str, Any] = {"nonfinite": "skip", "gradient_accumulation_steps": 2} if chosen else {}
    optimizer, not_torch_s = RMSprop(**others), cupy.asarray(make())
    optimizer.build([ours, idle, not_torch_s])
    for _ in range(3):
        optimizer.apply([gradient, gradient], [ours, not_torch_s])
    assert torch.counted == [ours] * 3


def test_slots_that_begin_as_the_variable_are_filled_after_torch_made_it(torch: Torch) -> None:
    variable, gradient = Tensor(make(seed=5)), Tensor(make(seed=1))
    optimizer, twin, host = RMSprop(use_ema=True), RMSprop(use_ema=True), make()
    torch.fill(variable, make())
    optimizer.build([variable])
    optimizer.apply([gradient])
    twin.apply([make(seed=1)], [host])
    for mine, other in zip(optimizer.variables, twin.variables, strict=True):
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=3e-6, atol=1e-6)


def test_a_step_on_torchs_own_stream_needs_no_event(torch: Torch, monkeypatch: pytest.MonkeyPatch) -> None:
    variable, gradient = Tensor(make()), Tensor(make(seed=1))
    optimizer = RMSprop()
    optimizer.build([variable])
    monkeypatch.setattr(cupy.cuda.runtime, "streamWaitEvent", None)
    with torch.streams[0]:
        optimizer.apply([gradient])
        assert optimizer.iterations == 1


def test_a_capture_of_torchs_that_cupy_does_not_see_is_refused(torch: Torch) -> None:
    """The call would be done now, once, and be no part of the graph."""
    variable, gradient = Tensor(make()), Tensor(make(seed=1))
    optimizer = RMSprop()
    optimizer.build([variable])
    optimizer.apply([gradient])
    before = variable.memory.get()
    torch.streams[0].begin_capture()
    try:
        with pytest.raises(OptionError, match=r"Received: .*torch.*ExternalStream.*capture_error_mode=\"relaxed\""):
            optimizer.apply([gradient])
    finally:
        torch.streams[0].end_capture()
    assert_same_bits(variable.memory.get(), before, "variable")
    assert optimizer.iterations == 1


def test_a_capture_of_torchs_is_joined_on_its_stream(torch: Torch) -> None:
    variable, gradient = Tensor(make()), Tensor(make(seed=1))
    optimizer, twin, host = RMSprop(), RMSprop(), make()
    optimizer.build([variable])
    with torch.streams[0] as stream:
        stream.begin_capture()
        optimizer.apply([gradient])
        graph = stream.end_capture()
        for _ in range(2):
            graph.launch()
            twin.apply([make(seed=1)], [host])
        assert optimizer.iterations == 2
    assert_same_bits(variable.memory.get(), host, "variable")


def test_a_capture_that_allows_no_memory_names_the_mode_that_does(torch: Torch) -> None:
    variable, gradient = Tensor(make()), Tensor(make(seed=1))
    optimizer = RMSprop()
    optimizer.build([variable])
    with torch.streams[0] as stream:
        stream.begin_capture(mode=cupy.cuda.runtime.streamCaptureModeGlobal)
        with pytest.raises(OptionError, match=r"Received: .*global.*capture_error_mode=\"relaxed\""):
            optimizer.apply([gradient])
        stream.end_capture()
    assert optimizer.iterations == 0
    optimizer.apply([gradient])
    assert optimizer.iterations == 1
