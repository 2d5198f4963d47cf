"""Variables and gradients in bfloat16: trained in place, rounded by chance, saved and taken up again."""

import copy
import pickle
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from compare import Array, make

import rmsprop_jit
from rmsprop_jit import RMSprop, Variable

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def weights(seed: int = 0) -> dict[str, Array]:
    return {"kernel": make(40, seed).reshape(8, 5).astype(BFLOAT16), "bias": make(9, seed + 1).astype(BFLOAT16)}


def gradients(seed: int, dtype: Any = np.float32) -> dict[str, Array]:
    return {name: make(one.size, seed).reshape(one.shape).astype(dtype) for name, one in weights().items()}


def test_variables_are_changed_in_place_and_slots_are_float32() -> None:
    own = weights()
    before = {name: array.copy() for name, array in own.items()}
    optimizer = RMSprop(learning_rate=0.1)
    optimizer.apply(gradients(1), own)
    assert all((own[name] != before[name]).any() for name in own)
    assert {one.dtype for one in (optimizer.state[name]["velocity"] for name in own)} == {np.dtype(np.float32)}
    assert "14 bytes per parameter" in optimizer.explain("summary")
    assert "10 bytes per parameter" in RMSprop(storage="bfloat16").explain("summary", dtype="bfloat16")


@pytest.mark.parametrize("dtype", [np.float32, BFLOAT16])
def test_a_step_is_that_of_float32_but_for_the_last_rounding(dtype: Any) -> None:
    own, exact = weights(), {name: array.astype(np.float32) for name, array in weights().items()}
    given = gradients(3, dtype)
    RMSprop(learning_rate=0.5).apply(given, own)
    RMSprop(learning_rate=0.5).apply({name: one.astype(np.float32) for name, one in given.items()}, exact)
    for name, array in own.items():
        bits, wanted = array.view(np.uint16).astype(np.int64), exact[name].view(np.uint32).astype(np.int64) >> 16
        assert np.isin(bits - wanted, [0, 1]).all()


def test_gradients_of_bfloat16_for_variables_of_float32_and_float64() -> None:
    for dtype in (np.float32, np.float64):
        own, same = np.ones(9, dtype), np.ones(9, dtype)
        given = make(9).astype(BFLOAT16)
        RMSprop().apply([given], [own])
        RMSprop().apply([given.astype(dtype)], [same])
        assert own.tobytes() == same.tobytes()


def test_small_steps_are_not_lost() -> None:
    """A step of 1e-4 beside a weight of 1 is a fortieth of bfloat16's unit: to nearest nothing would ever change."""
    own = np.ones(4096, BFLOAT16)
    optimizer = RMSprop(learning_rate=1e-4, rho=0.0, epsilon=0.0)
    for _ in range(500):
        optimizer.apply([np.ones(own.size, BFLOAT16)], [own])
    assert float(own.astype(np.float64).mean()) == pytest.approx(0.95, abs=2e-3)


@pytest.mark.parametrize("way", ["save", "copy", "pickle"])
def test_training_goes_on_with_the_same_bits(way: str, tmp_path: Path) -> None:
    own, options = weights(), {"storage": "bfloat16", "seed": 2, "momentum": 0.5, "use_ema": True}
    optimizer = RMSprop(**options)  # type: ignore[arg-type]
    optimizer.build(own)
    optimizer.apply(gradients(1))
    theirs = {name: array.copy() for name, array in own.items()}
    if way == "save":
        optimizer.save(tmp_path / "state", variables=True)
        other = RMSprop(**options)  # type: ignore[arg-type]
        theirs = weights(5)
        other.build(theirs)
        other.load(tmp_path / "state")
    else:
        other = copy.deepcopy(optimizer) if way == "copy" else pickle.loads(pickle.dumps(optimizer))
        other.build(theirs)
    for step in range(3):
        optimizer.apply(gradients(step))
        other.apply(gradients(step))
    assert all(theirs[name].tobytes() == own[name].tobytes() for name in own)


def test_averages_constraints_and_values_that_are_passed() -> None:
    own = weights()
    optimizer = RMSprop(learning_rate=0.1, use_ema=True, ema_momentum=0.5)
    optimizer.build(own)
    for step in range(3):
        optimizer.apply(gradients(step))
    before = {name: array.copy() for name, array in own.items()}
    with optimizer.averaged():
        assert any((own[name] != before[name]).any() for name in own)
    assert all(own[name].tobytes() == before[name].tobytes() for name in own)
    optimizer.finalize_variable_values()
    average = optimizer.state["bias"]["average"]
    assert np.array_equal(own["bias"], average.astype(BFLOAT16))
    values, _ = optimizer.stateless_apply(optimizer.variables, gradients(7), own)
    assert values["bias"].dtype == BFLOAT16
    bound = Variable(make(9).astype(BFLOAT16), constraint=lambda value: np.minimum(value, 0.25))
    RMSprop(learning_rate=0.1).apply([np.ones(9, np.float32)], [bound])
    assert float(bound.numpy().astype(np.float32).max()) <= 0.25


def test_every_rule_takes_them() -> None:
    from rmsprop_jit.rules.table import HOMES

    for name in ("SGD", "Adam", "Lion", "Lamb", "ScheduleFreeAdamW"):
        assert name in HOMES
        own = weights()
        optimizer = getattr(rmsprop_jit, name)(learning_rate=0.1, storage="bfloat16")
        for step in range(2):
            optimizer.apply(gradients(step, BFLOAT16), own)
        assert all(np.isfinite(array.astype(np.float32)).all() for array in own.values())
