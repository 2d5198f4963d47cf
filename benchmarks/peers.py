"""The others: each peer as a function that does one update of the same kind on its own copies of the arrays.

A peer takes parameters, gradients and options and returns `(step, values)`: `step()` does one update and waits for
it, `values()` gives the current parameters as NumPy arrays, for the check. Options are this project's; what a peer
cannot do raises NotImplementedError.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .torch_step import TorchStep
from .workloads import Array, Shapes, arrays

Made = tuple[Callable[[], object], Callable[[], list[Array]]]
Peer = Callable[[list[Array], list[Array], dict[str, Any]], Made]

AROUND = ("use_ema", "global_clipnorm", "clipvalue", "clipnorm")


def torch_step(
    parameters: list[Any],
    gradients: list[Any],
    options: dict[str, Any],
    as_tensor: Callable[[Any], Any],
    is_compiled: bool = False,
) -> TorchStep:
    """A step of torch's foreach RMSprop; `as_tensor` copies an array to a tensor on its device."""
    import torch

    if any(options.get(name) for name in AROUND):
        raise NotImplementedError("torch's RMSprop has no such option")
    tensors = [torch.nn.Parameter(as_tensor(p)) for p in parameters]
    for tensor, gradient in zip(tensors, gradients, strict=True):
        tensor.grad = as_tensor(gradient)
    optimizer = torch.optim.RMSprop(
        tensors,
        lr=options["learning_rate"],
        alpha=0.9,
        eps=1e-7,
        momentum=options.get("momentum", 0.0),
        centered=options.get("centered", False),
        foreach=True,
    )
    shrink = 1 - options["learning_rate"] * options.get("weight_decay", 0.0)

    def step() -> None:
        if shrink != 1:
            with torch.no_grad():
                torch._foreach_mul_(tensors, shrink)
        optimizer.step()

    return TorchStep(optimizer, tensors, torch.compile(step, fullgraph=False) if is_compiled else step)


def _as_tensor(array: Array) -> Any:
    import torch

    return torch.from_numpy(array.copy())


def torch_foreach(parameters: list[Array], gradients: list[Array], options: dict[str, Any]) -> Made:
    """`torch.optim.RMSprop(foreach=True)`; decoupled decay as one more foreach call."""
    step = torch_step(parameters, gradients, options, _as_tensor)
    return step, step.values


def torch_compile(parameters: list[Array], gradients: list[Array], options: dict[str, Any]) -> Made:
    """`torch.compile` of the same step."""
    step = torch_step(parameters, gradients, options, _as_tensor, is_compiled=True)
    return step, step.values


def optax_parts(options: dict[str, Any]) -> Any:
    """`optax.rmsprop`, and its update jitted over lists of arrays, with its buffers donated."""
    import optax as library

    if set(options) - {"learning_rate"}:
        raise NotImplementedError("only the plain rule is compared with optax")
    rule = library.rmsprop(options["learning_rate"], decay=0.9, eps=1e-7, eps_in_sqrt=True)
    return rule, jitted_update(rule)


def jitted_update(rule: Any) -> Any:
    """The update of a rule of optax's, with its buffers donated."""
    import jax
    import optax as library

    def update(params: Any, slots: Any, grads: Any) -> Any:
        updates, slots = rule.update(grads, slots, params)
        return library.apply_updates(params, updates), slots

    return jax.jit(update, donate_argnums=(0, 1))


def optax(parameters: list[Array], gradients: list[Array], options: dict[str, Any]) -> Made:
    """`optax.rmsprop`, jitted over the list of arrays, with its buffers donated."""
    return of_optax(optax_parts(options)[0], parameters, gradients)


def of_optax(rule: Any, parameters: list[Array], gradients: list[Array]) -> Made:
    """A rule of optax's in the same way."""
    import jax

    jitted = jitted_update(rule)
    held = [jax.numpy.asarray(g) for g in gradients]
    params = [jax.numpy.asarray(p) for p in parameters]
    state: Any = (params, rule.init(params))

    def step() -> None:
        nonlocal state
        state = jax.block_until_ready(jitted(*state, held))

    return step, lambda: [np.asarray(p) for p in state[0]]


def _keras(parameters: list[Array], gradients: list[Array], options: dict[str, Any], rule: str = "RMSprop") -> Any:
    import keras

    variables = [keras.Variable(p.copy(), name=f"v{i}") for i, p in enumerate(parameters)]
    optimizer = getattr(keras.optimizers, rule)(**options)
    optimizer.build(variables)
    return keras, optimizer, variables, [keras.ops.convert_to_tensor(g.copy()) for g in gradients]


def keras_torch(parameters: list[Array], gradients: list[Array], options: dict[str, Any]) -> Made:
    """Keras on torch, `apply`."""
    os.environ["KERAS_BACKEND"] = "torch"
    _, optimizer, variables, held = _keras(parameters, gradients, options)

    def step() -> None:
        optimizer.apply(held, variables)

    return step, lambda: [v.value.detach().numpy() for v in variables]


def keras_jax(parameters: list[Array], gradients: list[Array], options: dict[str, Any], rule: str = "RMSprop") -> Made:
    """Keras on jax, `stateless_apply`, jitted and donated."""
    os.environ["KERAS_BACKEND"] = "jax"
    import jax

    _, optimizer, variables, held = _keras(parameters, gradients, options, rule)
    jitted = jax.jit(optimizer.stateless_apply, donate_argnums=(0, 2))
    state: Any = ([v.value for v in variables], [v.value for v in optimizer.variables])

    def step() -> None:
        nonlocal state
        state = jax.block_until_ready(jitted(state[1], held, state[0]))

    return step, lambda: [np.asarray(p) for p in state[0]]


def numpy_naive(parameters: list[Array], gradients: list[Array], options: dict[str, Any]) -> Made:
    """The plain rule as one writes it in NumPy."""
    if set(options) - {"learning_rate"}:
        raise NotImplementedError("only the plain rule is written in NumPy")
    values = [p.copy() for p in parameters]
    velocity = [np.zeros_like(p) for p in parameters]
    rate = options["learning_rate"]

    def step() -> None:
        for p, v, g in zip(values, velocity, gradients, strict=True):
            v[...] = 0.9 * v + 0.1 * g * g
            p -= rate * g / np.sqrt(v + 1e-7)

    return step, lambda: values


def numexpr(parameters: list[Array], gradients: list[Array], options: dict[str, Any]) -> Made:
    """The plain rule in numexpr, one expression an array."""
    import numexpr as library

    if set(options) - {"learning_rate"}:
        raise NotImplementedError("only the plain rule is written in numexpr")
    values = [p.copy() for p in parameters]
    velocity = [np.zeros_like(p) for p in parameters]
    keep, rest, epsilon, rate = (np.float32(x) for x in (0.9, 0.1, 1e-7, options["learning_rate"]))
    names = {"keep": keep, "rest": rest, "epsilon": epsilon, "rate": rate}

    def step() -> None:
        for p, v, g in zip(values, velocity, gradients, strict=True):
            library.evaluate("keep * v + rest * (g * g)", {**names, "v": v, "g": g}, out=v, casting="same_kind")
            library.evaluate("p - rate * g / sqrt(v + epsilon)", {**names, "p": p, "v": v, "g": g}, out=p)

    return step, lambda: values


PEERS: dict[str, Peer] = {
    "torch foreach": torch_foreach,
    "torch.compile": torch_compile,
    "optax jitted": optax,
    "keras torch": keras_torch,
    "keras jax": keras_jax,
    "numpy": numpy_naive,
    "numexpr": numexpr,
}


Arrays = Sequence[npt.NDArray[Any]]


WITHIN = 0.01


def agree(ours: Arrays, theirs: Arrays, start: Arrays, within: float = WITHIN) -> bool:
    """Whether two updates from the same start went the same way: steps equal to 1 % of their length, nothing nan."""
    moved = np.concatenate([(a - s).ravel() for a, s in zip(ours, start, strict=True)])
    other = np.concatenate([(b - s).ravel() for b, s in zip(theirs, start, strict=True)])
    finite = bool(np.isfinite(moved).all() and np.isfinite(other).all())
    return finite and float(np.linalg.norm(moved - other)) <= within * float(np.linalg.norm(other))


def arrays_for(shapes: Shapes, seed: int = 0) -> tuple[list[Array], list[Array]]:
    """Parameters, and gradients that keep away from zero, where it matters on which side of the root epsilon stands."""
    normal = arrays(shapes, seed + 1)
    return arrays(shapes, seed), [(0.1 * g + np.copysign(np.float32(0.05), g)).astype(np.float32) for g in normal]
