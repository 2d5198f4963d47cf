"""What only a real GPU can show: CUDA's own graphs, torch's own streams."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from compare import Array, make
from gpu import assert_as_on_host, capture, cupy, is_real, torch_here

from rmsprop_jit import OptionError, RMSprop

LAUNCHES = 100
"""On a real GPU; the simulator takes its time over each, and knows after some."""


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 0.5, "momentum": 0.9}], ids=["plain", "norm"])
def test_a_graph_is_launched_many_times_with_changing_rates(options: dict[str, Any]) -> None:
    launches = LAUNCHES if is_real() else LAUNCHES // 8
    variable, gradient = cupy.asarray(make()), cupy.asarray(make(seed=1))
    optimizer, twin, host = RMSprop(**options), RMSprop(**options), make()
    optimizer.build([variable])
    graph = capture(lambda: optimizer.apply([gradient]))
    for launch in range(launches):
        optimizer.learning_rate = twin.learning_rate = 0.1 / (1 + launch)
        graph.launch()
        twin.apply([make(seed=1)], [host])
    assert optimizer.iterations == launches
    assert_as_on_host(variable.get(), host, "variable")


@pytest.fixture
def torch() -> Any:
    return torch_here()


def on_torch(torch: Any, host: Array) -> Any:
    return torch.from_numpy(host.copy()).cuda()


@pytest.mark.gpu(real=True)
@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("stream", ["default", "own"])
def test_gradients_that_torch_has_just_started_to_compute_are_waited_for(
    torch: Any, stream: str, requires_grad: bool
) -> None:
    """Large ones, so that a step that did not wait would read what is not there yet."""
    size, optimizer, twin = 1 << 22, RMSprop(), RMSprop()
    host, gradient = make(size), make(size, 1)
    variable = on_torch(torch, host).requires_grad_(requires_grad)
    half = on_torch(torch, gradient / 2)
    torch.cuda.synchronize()
    own = torch.cuda.Stream() if stream == "own" else torch.cuda.default_stream()
    with torch.cuda.stream(own):
        for _ in range(10):
            optimizer.apply([half + half], [variable])
            twin.apply([gradient], [host])
    torch.cuda.synchronize()
    assert_as_on_host(variable.detach().cpu().numpy(), host, "variable")


@pytest.mark.gpu(real=True)
def test_tensors_that_are_pointed_elsewhere_are_noticed(torch: Any) -> None:
    variable, gradient = on_torch(torch, make()), on_torch(torch, make(seed=1))
    optimizer, twin, host = RMSprop(), RMSprop(), make()
    optimizer.build([variable])
    for seed in (1, 1, 2, 2):
        gradient.data = on_torch(torch, make(seed=seed))
        optimizer.apply([gradient])
        twin.apply([make(seed=seed)], [host])
    assert_as_on_host(variable.cpu().numpy(), host, "variable")


@contextlib.contextmanager
def cupys_stream_is(torch: Any) -> Iterator[None]:
    """torch's current stream is CuPy's, too, in the `with` block."""
    with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
        yield


def graph_of(torch: Any, work: Callable[[], object]) -> Any:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="relaxed"), cupys_stream_is(torch):
        work()
    return graph


@pytest.mark.gpu(real=True)
def test_a_step_is_part_of_a_graph_of_torchs(torch: Any) -> None:
    variable, gradient = on_torch(torch, make()), on_torch(torch, make(seed=1))
    optimizer, twin, host = RMSprop(), RMSprop(), make()
    optimizer.build([variable])
    torch.cuda.synchronize()
    graph = graph_of(torch, lambda: optimizer.apply([gradient]))
    for launch in range(3):
        assert optimizer.iterations == launch
        graph.replay()
        twin.apply([make(seed=1)], [host])
        torch.cuda.synchronize()
    assert_as_on_host(variable.cpu().numpy(), host, "variable")


@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")
@pytest.mark.gpu(real=True)
def test_a_capture_of_torchs_that_cupy_does_not_see_is_refused(torch: Any) -> None:
    variable, gradient = on_torch(torch, make()), on_torch(torch, make(seed=1))
    optimizer = RMSprop()
    optimizer.build([variable])
    optimizer.apply([gradient])
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    told = pytest.raises(OptionError, match="Received: a call during a capture of torch's")
    with told, torch.cuda.graph(graph, capture_error_mode="relaxed"):
        optimizer.apply([gradient])
    assert optimizer.iterations == 1
