"""What is asked of a GPU that has not run these kernels yet: one function a question, one process a function.

`python -m benchmarks.cuda.parts NAME` prints, as a line of JSON, what was found, or why nothing could be asked here. A
wrong answer is an exception.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

import rmsprop_jit
from rmsprop_jit.codegen.backends.cuda import compilers, frame
from rmsprop_jit.codegen.backends.cuda import device as gpu

from .. import workloads as w
from ..cases import Case
from ..machine import today, versions
from ..peers import arrays_for
from ..programs import step_program
from ..rows import attempted
from . import cases, measure, timing

Found = dict[str, Any]
Host = npt.NDArray[Any]

SIZES, FEW_SIZES = [0, 1, 3, 1023, 16_385], [0, 1, 3, 33]
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
"""Of the largest number in an array: GPUs contract a * b + c, and sum norms in another order."""
SWEPT = [10**n for n in range(4, 9)]
LAUNCHES = 100


class Skipped(Exception):
    """The question cannot be asked here; the message says why."""


def simulated() -> str:
    """Why what is at hand is no real GPU; nothing if it is one."""
    try:
        gpu.cupy().cuda.runtime.getDeviceCount()
    except Exception as problem:  # no CuPy, no driver, no device, or a stand-in for CuPy: each has an error of its own
        return f"it needs a real GPU ({type(problem).__name__}: {problem})"
    return ""


def needs_a_gpu() -> None:
    """Raises Skipped where there is none."""
    if why := simulated():
        raise Skipped(why)


def known() -> Found:
    """Versions, and the device."""
    why = simulated()
    return {"date": today(), "device": why, **versions(timing.PACKAGES)} if why else timing.device()


def kernels() -> Found:
    """The kernels of each option set of the benchmark, loaded; what the assembler says of their registers."""
    needs_a_gpu()
    arch, compiler = gpu.arch_of(0), compilers.choose(None)
    found: Found = {}
    for case in cases.CASES:
        for kernel in frame.sources(step_program(rmsprop_jit.RMSprop(**case.options))):
            code = compilers.machine_code(kernel, compiler, arch)
            gpu.cupy().cuda.function.Module().load(code.cubin)
            found[f"{case.name}, {kernel.name}"] = compilers.usage(code, arch)
    return found


def option_set(seed: int) -> tuple[dict[str, Any], str]:
    """Random options, and a dtype."""
    rng = np.random.default_rng(seed)
    some = {"centered": True, "momentum": 0.9, "weight_decay": 0.01, "use_ema": True, "gradient_accumulation_steps": 2}
    options = {"learning_rate": 0.01} | {name: value for name, value in some.items() if rng.integers(2)}
    clip = rng.choice(["", "clipvalue", "clipnorm", "global_clipnorm"])
    return options | ({str(clip): 0.5} if clip else {}), ("float32", "float64")[seed % 2]


def compared(options: dict[str, Any], variables: list[Host], calls: list[list[Host]]) -> list[Host]:
    """Calls on the processor and on the GPU, there on views that begin one element late. Returns what the GPU has."""
    xp = gpu.cupy()

    def late(array: Host) -> Any:
        return xp.asarray(np.concatenate([array[:1], array]) if array.size else array)[min(array.size, 1) :]

    host, device = [one.copy() for one in variables], [late(one) for one in variables]
    ours, theirs = rmsprop_jit.RMSprop(**options), rmsprop_jit.RMSprop(**options)
    for call in calls:
        ours.apply(call, host)
        theirs.apply([late(one) for one in call], device)
    got = [one.get() for one in device]
    near(got, host, options)
    return got


def near(got: list[Host], wanted: list[Host], options: dict[str, Any]) -> None:
    """Raises AssertionError where the GPU's arrays are not the processor's."""
    for mine, theirs in zip(got, wanted, strict=True):
        scale = max(1e-3, float(np.max(np.abs(theirs), initial=0.0, where=np.isfinite(theirs))))
        allowed = TOLERANCE[str(theirs.dtype)] * scale
        if not np.allclose(mine, theirs, rtol=0, atol=allowed, equal_nan=True):
            error = np.nanmax(np.abs(mine - theirs))
            raise AssertionError(
                f"{theirs.dtype}, {theirs.size} elements, {options}: off by {error}, {allowed} allowed"
            )


def parity() -> Found:
    """Random option sets on both sides."""
    return _parity(3 if simulated() else 24, FEW_SIZES if simulated() else SIZES)


def small_parity() -> Found:
    """Fewer and smaller ones: for tools under which a kernel takes a thousand times as long."""
    needs_a_gpu()
    return _parity(4, FEW_SIZES)


def _parity(seeds: int, sizes: list[int]) -> Found:
    for seed in range(seeds):
        options, dtype = option_set(seed)
        rng = np.random.default_rng(seed)
        variables, *calls = ([rng.standard_normal(n).astype(dtype) for n in sizes] for _ in range(5))
        compared(options, variables, calls)
    return {"option sets": seeds, "sizes": sizes}


def norms() -> Found:
    """The same bits twice; no overflow, no underflow; nan where the processor has it."""
    sizes = [33, 3] if simulated() else [100_003, 3, 16_385]
    numbers = {"usual": 1.0, "huge": 1e30, "tiny": 1e-30, "nan": float("nan")}
    for name in ("clipnorm", "global_clipnorm"):
        for number in numbers.values():
            variables, gradients = w.arrays([(n,) for n in sizes]), w.arrays([(n,) for n in sizes], seed=1)
            gradients[0] *= np.float32(number)
            once, again = (compared({**w.PLAIN, name: 0.5}, variables, [gradients] * 2) for _ in range(2))
            assert all(a.tobytes() == b.tobytes() for a, b in zip(once, again, strict=True)), f"{name}, {number}: bits"
    return {"sizes": sizes, "gradients": list(numbers)}


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


def graphs() -> Found:
    """A capture before any other kernel, launched with changes of rate; what other streams say to one."""
    needs_a_gpu()
    xp = gpu.cupy()
    host, gradients = arrays_for([(1000,), (16_385,)])
    device, on_gpu = [xp.asarray(one) for one in host], [xp.asarray(one) for one in gradients]
    theirs, ours = rmsprop_jit.RMSprop(), rmsprop_jit.RMSprop()
    theirs.build(device)
    stream = xp.cuda.Stream(non_blocking=True)
    with captured(stream) as made:
        theirs.apply(on_gpu)
    with stream:  # a rate is assigned on the stream that the graph is launched on
        for i in range(LAUNCHES):
            theirs.learning_rate = ours.learning_rate = 1e-3 / (1 + i)
            made[0].launch(stream)
            ours.apply(gradients, host)
        stream.synchronize()
    near([one.get() for one in device], host, {"launches": LAUNCHES})
    others = {"blocking": xp.cuda.Stream(), "null": xp.cuda.Stream.null}
    found = {
        f"capture on a {name} stream": answer(partial(_capture, other, theirs, on_gpu))
        for name, other in others.items()
    }
    return found | {
        f"apply on the null stream while a {name} stream captures": answer(
            partial(_apply_on_null, other, theirs, on_gpu)
        )
        for name, other in (("non-blocking", stream), ("blocking", others["blocking"]))
    }


def _capture(stream: Any, optimizer: rmsprop_jit.RMSprop, gradients: list[Any]) -> None:
    with captured(stream):
        optimizer.apply(gradients)


def _apply_on_null(stream: Any, optimizer: rmsprop_jit.RMSprop, gradients: list[Any]) -> None:
    with captured(stream), gpu.cupy().cuda.Stream.null:
        optimizer.apply(gradients)


def tensors() -> Found:
    """Variables and gradients of torch: on its streams, with and without autograd, in its graphs."""
    needs_a_gpu()
    try:
        import torch
    except ModuleNotFoundError:
        raise Skipped("torch is not installed") from None
    plain = torch.cuda.graph
    return {
        "on the default stream": answer(partial(_on_torch, torch, torch.cuda.default_stream)),
        "on another stream": answer(partial(_on_torch, torch, torch.cuda.Stream)),
        "that require grad": answer(partial(_on_torch, torch, torch.cuda.default_stream, requires_grad=True)),
        **{
            f"in a graph, {mode}": answer(partial(_in_torch_graph, torch, partial(plain, capture_error_mode=mode)))
            for mode in ("global", "relaxed")
        },
    }


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


def answer(work: Callable[[], object]) -> str:
    """What work comes to, where either is an answer."""
    try:
        work()
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}"
    return "works"


def swept() -> Found:
    """Ours beside a copy, against the number of elements, and for ResNet-50."""
    needs_a_gpu()
    asked = [Case(f"{n:,}", [(n,)], w.PLAIN, "copy", 0.0) for n in SWEPT]
    asked.append(Case("ResNet-50", w.resnet50(), w.PLAIN, "copy", 0.0))
    return {case.name: attempted(case, partial(measure.measure, case, 1.0)) for case in asked}


def steps() -> Found:
    """A few steps of 1e8 elements each, for a profiler to look at."""
    needs_a_gpu()
    for options in (w.PLAIN, w.EVERYTHING, {**w.PLAIN, "global_clipnorm": 1.0}):
        parameters, gradients = measure.arrays_for(cases.HUGE)
        optimizer = rmsprop_jit.RMSprop(**options)
        for _ in range(3):
            optimizer.apply(gradients, parameters)
        gpu.cupy().cuda.Device().synchronize()
    return {}


FUNCTIONS: dict[str, Callable[[], Found]] = {
    one.__name__: one for one in (known, kernels, parity, small_parity, norms, graphs, tensors, swept, steps)
}


def main() -> None:
    """One part."""
    try:
        found = {"found": FUNCTIONS[sys.argv[1]]()}
    except Skipped as why:
        found = {"skipped": {"why": str(why)}}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
