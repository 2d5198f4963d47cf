"""Gradients in float16, as an optimizer takes them: beside a loss scale, with inf in them, of CuPy, as inputs."""

from typing import Any

import numpy as np
import pytest
from compare import Array, make
from gpu import cupy

import rmsprop_jit
from rmsprop_jit import ArrayError, RMSprop

SCALE = 1024.0


def scaled(seed: int, n: int = 700) -> Array:
    """A gradient of float16 times SCALE, with numbers that float16 has few bits for."""
    return (make(n, seed) * 1e-3 * SCALE).astype(np.float16)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_is_that_of_gradients_which_were_cast_before(dtype: str) -> None:
    own, same = (make(700).astype(dtype) for _ in range(2))
    options: dict[str, Any] = {"momentum": 0.9, "centered": True, "loss_scale_factor": SCALE, "global_clipnorm": 0.1}
    ours, theirs = RMSprop(**options), RMSprop(**options)
    for step in range(4):
        ours.apply([scaled(step)], [own])
        theirs.apply([scaled(step).astype(dtype)], [same])
    assert own.tobytes() == same.tobytes()
    assert ours.state["variable_0"]["velocity"].dtype == dtype


def test_what_overflowed_is_skipped_and_the_scale_follows() -> None:
    own = make(9)
    optimizer = RMSprop(loss_scale_factor=SCALE, nonfinite="skip")
    optimizer.apply([scaled(0, 9)], [own])
    before, bad = own.copy(), scaled(1, 9)
    bad[4] = np.inf
    optimizer.apply([bad])
    assert own.tobytes() == before.tobytes()
    assert optimizer.skipped_steps == 1
    inner = RMSprop()
    dynamic = rmsprop_jit.LossScaleOptimizer(inner, initial_scale=SCALE)
    dynamic.build([own])
    dynamic.apply([bad])
    assert own.tobytes() == before.tobytes()
    assert float(np.asarray(dynamic.dynamic_scale)) == SCALE / 2


def test_calls_may_bring_now_one_and_now_the_other() -> None:
    own, same = make(700), make(700)
    ours, theirs = RMSprop(), RMSprop()
    for step, dtype in enumerate(["float16", "float32", "float64", "float16", "float16"]):
        ours.apply([scaled(step).astype(dtype)], [own])
        theirs.apply([scaled(step).astype(np.float32)], [same])
    assert own.tobytes() == same.tobytes()


def test_on_a_gpu_they_are_read_where_they_lie() -> None:
    own, same = cupy.asarray(make(700)), make(700)
    on_gpu, on_host = RMSprop(), RMSprop()
    for step in range(2):
        on_gpu.apply([cupy.asarray(scaled(step))], [own])
        on_host.apply([scaled(step)], [same])
    assert own.get().tobytes() == same.tobytes()


def test_variables_in_float16_are_refused_as_before() -> None:
    with pytest.raises(ArrayError, match=r"variable 'variable_0' must be of dtype float32, float64 or bfloat16. Rec"):
        RMSprop().build([np.zeros(3, np.float16)])
    with pytest.raises(
        ArrayError, match=r"must be of dtype float16, float32, float64 or bfloat16. Received: dtype=int8"
    ):
        RMSprop().apply([np.zeros(3, np.int8)], [np.zeros(3, np.float32)])


def test_inputs_may_be_in_float16() -> None:
    own, same = make(9), make(9)
    ours, theirs = rmsprop_jit.Sophia(), rmsprop_jit.Sophia()
    half = np.abs(make(9, 3)).astype(np.float16)
    ours.apply([scaled(1, 9)], [own], hessian=[half])
    theirs.apply([scaled(1, 9).astype(np.float32)], [same], hessian=[half.astype(np.float32)])
    assert own.tobytes() == same.tobytes()
