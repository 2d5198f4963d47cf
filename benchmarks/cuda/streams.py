"""What is asked of a new GPU about graphs and streams, CuPy's and torch's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import rmsprop_jit
from rmsprop_jit.codegen.backends.cuda import device as gpu

from ..peers import arrays_for
from .asking import Answers, Skipped, answer, near, needs_a_gpu, simulated

LAUNCHES, FEW = 100, 5
"""Of a graph, on a real GPU and in the simulator."""


@contextlib.contextmanager
def captured(stream: Any) -> Iterator[list[Any]]:
    """What is done in the `with` block, as a graph in a list. Nothing stays captured."""
    graphs: list[Any] = []
    with stream:
        stream.begin_capture()
        try:
            yield graphs
        finally:
            graphs.append(stream.end_capture())


def graphs() -> Answers:
    """A capture before any other kernel, launched with changes of rate; what other streams say to one."""
    xp, launches = gpu.cupy(), FEW if simulated() else LAUNCHES
    host, gradients = arrays_for([(33,), (5,)] if simulated() else [(1000,), (16_385,)])
    device, on_gpu = [xp.asarray(one) for one in host], [xp.asarray(one) for one in gradients]
    theirs, ours = rmsprop_jit.RMSprop(), rmsprop_jit.RMSprop()
    theirs.build(device)
    stream = xp.cuda.Stream(non_blocking=True)
    with captured(stream) as made:
        theirs.apply(on_gpu)
    with stream:  # a rate is assigned on the stream that the graph is launched on
        for i in range(launches):
            theirs.learning_rate = ours.learning_rate = 1e-3 / (1 + i)
            made[0].launch()
            ours.apply(gradients, host)
        stream.synchronize()
    near([one.get() for one in device], host, {"launches": launches})
    yield "launches", launches
    others = {"blocking": xp.cuda.Stream(), "null": xp.cuda.Stream.null}
    for name, other in others.items():
        yield f"capture on a {name} stream", answer(partial(_capture, other, theirs, on_gpu))
    for name, other in (("non-blocking", stream), ("blocking", others["blocking"])):
        asked = partial(_apply_on_null, other, theirs, on_gpu)
        yield f"apply on the null stream while a {name} stream captures", answer(asked)


def _capture(stream: Any, optimizer: rmsprop_jit.RMSprop, gradients: list[Any]) -> None:
    with captured(stream):
        optimizer.apply(gradients)


def _apply_on_null(stream: Any, optimizer: rmsprop_jit.RMSprop, gradients: list[Any]) -> None:
    with captured(stream), gpu.cupy().cuda.Stream.null:
        optimizer.apply(gradients)


def tensors() -> Answers:
    """Variables and gradients of torch: on its streams, with and without autograd, in its graphs."""
    needs_a_gpu()
    try:
        import torch
    except ModuleNotFoundError:
        raise Skipped("torch is not installed") from None
    default = torch.cuda.default_stream
    yield "on the default stream", answer(partial(_on_torch, torch, default))
    yield "on another stream", answer(partial(_on_torch, torch, torch.cuda.Stream))
    yield "that require grad", answer(partial(_on_torch, torch, default, requires_grad=True))
    for mode in ("global", "relaxed"):
        graph_of = partial(torch.cuda.graph, capture_error_mode=mode)
        yield f"in a graph, {mode}", answer(partial(_in_torch_graph, torch, graph_of))


def _on_torch(torch: Any, stream: Callable[[], Any], requires_grad: bool = False) -> None:
    """Gradients that torch has just computed on a stream of its own, against the processor."""
    host, gradients = arrays_for([(1000,), (1 << 22,)])
    ours, theirs = rmsprop_jit.RMSprop(), rmsprop_jit.RMSprop()
    device = [torch.from_numpy(one).cuda().requires_grad_(requires_grad) for one in host]
    halves = [torch.from_numpy(one / 2).cuda() for one in gradients]
    torch.cuda.synchronize()
    with torch.cuda.stream(stream()):
        for _ in range(10):
            theirs.apply([half + half for half in halves], device)
            ours.apply(gradients, host)
    torch.cuda.synchronize()
    near([one.detach().cpu().numpy() for one in device], host, {"torch": True})


def _in_torch_graph(torch: Any, graph_of: Callable[[Any], Any]) -> None:
    """A graph that torch captures, launched three times, against as many calls on the processor."""
    host, gradients = arrays_for([(1000,)])
    ours, theirs = rmsprop_jit.RMSprop(), rmsprop_jit.RMSprop()
    device, on_gpu = ([torch.from_numpy(one).cuda() for one in side] for side in (host, gradients))
    theirs.build(device)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with graph_of(graph):
        theirs.apply(on_gpu)
    for _ in range(3):
        graph.replay()
        ours.apply(gradients, host)
    torch.cuda.synchronize()
    near([one.cpu().numpy() for one in device], host, {"torch": True})
