"""The others on a GPU: each as a function that does one update of the same kind on its own copies of the arrays.

A peer takes CuPy arrays (parameters, gradients) and options and returns a Made. What it cannot do raises
NotImplementedError.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..peers import optax_parts, torch_step
from ..rows import Absent
from ..workloads import Array

OnGpu = Any
"""A CuPy array."""


@dataclass(frozen=True)
class Made:
    """A peer at work.

    step:   does one update.
    values: the parameters now, as NumPy arrays.
    wait:   waits until the update is done, where CUDA events on CuPy's stream do not see it (jax has its own streams).
    """

    step: Callable[[], object]
    values: Callable[[], list[Array]]
    wait: Callable[[], object] | None = None


def as_tensor(array: OnGpu) -> Any:
    """A copy of an array as a tensor on its device."""
    import torch

    return torch.from_dlpack(array).clone()


def torch_foreach(parameters: list[OnGpu], gradients: list[OnGpu], options: dict[str, Any]) -> Made:
    """`torch.optim.RMSprop(foreach=True)`; decoupled decay as one more foreach call."""
    step = torch_step(parameters, gradients, options, as_tensor)
    return Made(step, step.values)


def torch_compile(parameters: list[OnGpu], gradients: list[OnGpu], options: dict[str, Any]) -> Made:
    """`torch.compile` of the same step."""
    step = torch_step(parameters, gradients, options, as_tensor, is_compiled=True)
    return Made(step, step.values)


def _jax_on_gpu() -> Any:
    """jax, where it computes on a GPU; without a claim on most of the memory, in which CuPy's arrays lie."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # read when jax is imported
    import jax

    platform = jax.default_backend()
    if platform != "gpu":
        raise Absent(
            "jax for GPUs",
            f"jax does not compute on a GPU here. Received: a jax whose platform is {platform!r}. "
            "Install 'jax[cuda13]' (or cuda12), and leave JAX_PLATFORMS unset.",
        )
    return jax


def optax(parameters: list[OnGpu], gradients: list[OnGpu], options: dict[str, Any]) -> Made:
    """`optax.rmsprop`, jitted over the list of arrays, with its buffers donated."""
    jax = _jax_on_gpu()
    rule, jitted = optax_parts(options)
    held = [jax.device_put(g.get()) for g in gradients]
    params = [jax.device_put(p.get()) for p in parameters]
    state: Any = (params, rule.init(params))

    def step() -> None:
        nonlocal state
        state = jitted(*state, held)

    return Made(step, lambda: [np.asarray(p) for p in state[0]], lambda: jax.block_until_ready(state))


def _plain_only(options: dict[str, Any]) -> None:
    if set(options) - {"learning_rate"}:
        raise NotImplementedError("only the plain rule is written by hand")


def elementwise(parameters: list[OnGpu], gradients: list[OnGpu], options: dict[str, Any]) -> Made:
    """The plain rule by hand as one `cupy.ElementwiseKernel`, one launch a tensor."""
    import cupy

    _plain_only(options)
    kernel = cupy.ElementwiseKernel(
        "float32 g, float32 rate, float32 rho, float32 rest, float32 epsilon",
        "float32 p, float32 v",
        "v = rho * v + rest * (g * g); p = p - rate * g / sqrtf(v + epsilon)",
        "rmsprop_by_hand",
    )
    own = [(p.copy(), g.copy(), cupy.zeros_like(p)) for p, g in zip(parameters, gradients, strict=True)]
    numbers = [np.float32(x) for x in (options["learning_rate"], 0.9, 1 - 0.9, 1e-7)]

    def step() -> None:
        for p, g, v in own:
            kernel(g, *numbers, p, v)

    return Made(step, lambda: [p.get() for p, _, _ in own])


def fuse(parameters: list[OnGpu], gradients: list[OnGpu], options: dict[str, Any]) -> Made:
    """The plain rule as two functions under `cupy.fuse`."""
    import cupy

    _plain_only(options)
    rate, rho, rest, epsilon = (np.float32(x) for x in (options["learning_rate"], 0.9, 1 - 0.9, 1e-7))

    def velocity(g: OnGpu, v: OnGpu) -> OnGpu:
        return rho * v + rest * (g * g)

    def parameter(p: OnGpu, g: OnGpu, v: OnGpu) -> OnGpu:
        return p - rate * g / cupy.sqrt(v + epsilon)

    new_velocity, new_parameter = cupy.fuse()(velocity), cupy.fuse()(parameter)
    own = [[p.copy(), g.copy(), cupy.zeros_like(p)] for p, g in zip(parameters, gradients, strict=True)]

    def step() -> None:
        for tensor in own:
            p, g, v = tensor
            tensor[2] = v = new_velocity(g, v)
            tensor[0] = new_parameter(p, g, v)

    return Made(step, lambda: [tensor[0].get() for tensor in own])


PEERS: dict[str, Callable[[list[OnGpu], list[OnGpu], dict[str, Any]], Made]] = {
    "torch foreach": torch_foreach,
    "torch.compile": torch_compile,
    "optax jitted": optax,
    "cupy.ElementwiseKernel": elementwise,
    "cupy.fuse": fuse,
}
