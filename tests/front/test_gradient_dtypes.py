"""Gradients of the other float dtype: rounded once to the variable's where they are loaded, without a copy."""

import itertools
import tracemalloc
from typing import Any

import numpy as np
import pytest

import rmsprop_jit
from rmsprop_jit.arrays.homes import Array

OPTION_SETS = [
    {},
    {"centered": True, "momentum": 0.9, "weight_decay": 0.01, "use_ema": True, "clipvalue": 0.5},
    {"clipnorm": 0.5},
    {"global_clipnorm": 0.5, "loss_scale_factor": 3.0},
    {"gradient_accumulation_steps": 2, "global_clipnorm": 0.5},
]
SHAPES = [(7,), (3, 5), (), (1000,), (70_001,), (0,)]
OTHER = {"float32": "float64", "float64": "float32"}


def trained(
    dtypes: list[str], cast: list[bool], options: dict[str, Any], calls: int = 5, keep: bool = False
) -> list[Array]:
    """Variables and slots after some calls; gradients are of the other dtype where `cast` says so, else rounded."""
    rng = np.random.default_rng(8)
    variables = [np.asarray(rng.normal(size=shape), dtype) for shape, dtype in zip(SHAPES, dtypes, strict=True)]
    optimizer = rmsprop_jit.RMSprop(0.01, **options)
    optimizer.build(variables)
    wide = [[np.asarray(rng.normal(size=shape)) for shape in SHAPES] for _ in range(1 if keep else calls)]
    made = [
        [
            np.asarray(g, OTHER[dtype]) if is_cast else np.asarray(np.asarray(g, OTHER[dtype]), dtype)
            for g, dtype, is_cast in zip(gradients, dtypes, cast, strict=True)
        ]
        for gradients in wide
    ]
    for call in range(calls):
        optimizer.apply(made[call % len(made)])
    return [*variables, *(v.numpy() for v in optimizer.variables)]


@pytest.mark.parametrize("keep", [False, True], ids=["fresh", "same"])
@pytest.mark.parametrize("options", OPTION_SETS, ids=lambda options: "+".join(options) or "plain")
def test_they_give_what_gradients_rounded_beforehand_give(options: dict[str, Any], keep: bool) -> None:
    dtypes = ["float32", "float64", "float32", "float64", "float32", "float32"]
    expected = trained(dtypes, [False] * 6, options, keep=keep)
    for cast in ([True] * 6, [True, False] * 3, [False, True, True, False, True, False]):
        got = trained(dtypes, cast, options, keep=keep)
        if "global_clipnorm" in options and any(cast) and not all(cast):  # summed in another order
            for ours, theirs in zip(got, expected, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-14 if ours.dtype == np.float64 else 2e-7)
        else:
            assert [v.tobytes() for v in got] == [v.tobytes() for v in expected]


def test_a_caller_may_change_the_dtype_from_call_to_call() -> None:
    alone, mixed = ([np.ones(n, np.float32) for n in (5, 9, 3, 8)] for _ in range(2))
    rng = np.random.default_rng(2)
    ours, theirs = rmsprop_jit.RMSprop(0.1, global_clipnorm=1.0), rmsprop_jit.RMSprop(0.1, global_clipnorm=1.0)
    ours.build(mixed)
    theirs.build(alone)
    for dtypes in itertools.islice(itertools.product(["float32", "float64"], repeat=4), 16):
        gradients = [rng.normal(size=v.shape).astype(np.float32) for v in alone]
        for _ in range(2):
            ours.apply([g.astype(dtype) for g, dtype in zip(gradients, dtypes, strict=True)])
            theirs.apply(gradients)
        assert [v.tobytes() for v in mixed] == [v.tobytes() for v in alone]


def test_rounding_happens_before_anything_else() -> None:
    """A square in float64 would not overflow; rounded first, it does."""
    variable, gradient = np.ones(3, np.float32), np.full(3, 1e30)
    optimizer = rmsprop_jit.RMSprop(0.1)
    optimizer.apply([gradient], [variable])
    (velocity,) = (v.numpy() for v in optimizer.variables if v.name.endswith("velocity"))
    assert np.isinf(velocity).all()


def test_no_copy_is_made() -> None:
    variable, gradient = np.ones(1 << 20, np.float32), np.ones(1 << 20)
    optimizer = rmsprop_jit.RMSprop(0.1, centered=True)
    optimizer.apply([gradient], [variable])
    others = [np.ones(1 << 20) for _ in range(3)]
    tracemalloc.start()
    for other in others:
        optimizer.apply([other])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize("dtype", ["int16", "int32", "bool", "complex64"])
def test_other_kinds_are_refused(dtype: str) -> None:
    with pytest.raises(rmsprop_jit.ArrayError, match=dtype):
        rmsprop_jit.RMSprop().apply([np.ones(3, dtype)], [np.ones(3, np.float32)])


def test_update_step_takes_them() -> None:
    variable, twin = np.ones(3, np.float32), np.ones(3, np.float32)
    for array, gradient in ((variable, np.full(3, 0.3)), (twin, np.full(3, 0.3, np.float32))):
        optimizer = rmsprop_jit.RMSprop()
        optimizer.build([array])
        optimizer.update_step(gradient, array, 0.5)
    assert variable.tobytes() == twin.tobytes()
