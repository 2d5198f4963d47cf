"""What all questions to a new GPU need: whether there is one, and how its numbers are compared with the processor's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

import rmsprop_jit
from rmsprop_jit.codegen.backends.cuda import device as gpu

Host = npt.NDArray[Any]

Answers = Iterator[tuple[str, Any]]
"""What was found, by name, one after the other: each is kept at once, and after each a question may be left."""

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
"""Of the largest number in an array: GPUs sum norms in another order."""


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


def answer(work: Callable[[], object]) -> str:
    """What work comes to, where either is an answer."""
    try:
        work()
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}"
    return "works"
