"""Slots kept in fewer bits than their variables: what an optimizer says of them, keeps, saves, and takes up again."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import make
from light import BFLOAT16, Weights, assert_goes_on, gradients, long_steps

from rmsprop_jit import BackendError, OptionError, RMSprop
from rmsprop_jit.codegen import dtypes

SEQUENCES = int(os.environ.get("SEQUENCES", "3"))
"""SEQUENCES=200 by hand."""


def weights(seed: int = 0) -> Weights:
    return {"dense/kernel": make(40, seed).reshape(8, 5), "dense/bias": make(9, seed + 1)}


def light_slots(optimizer: Any) -> set[str]:
    return {name for name, array in optimizer.state_dict().items() if array.dtype == BFLOAT16}


def test_one_word_keeps_all_slots_in_bfloat16_and_patterns_choose() -> None:
    own = weights()
    optimizer = RMSprop(momentum=0.9, storage="bfloat16")
    optimizer.build(own)
    slots = {f"dense_{one}_{slot}" for one in ("kernel", "bias") for slot in ("velocity", "momentum")}
    assert light_slots(optimizer) == slots
    some = RMSprop(momentum=0.9, storage={"dense/bias:.*": "float32", ".*:velocity": "bfloat16"})
    some.build(weights())
    assert light_slots(some) == {"dense_kernel_velocity"}
    assert "dense/kernel (8, 5) float32: velocity in bfloat16, momentum" in repr(some.state)
    assert "196 bytes, 4 a parameter" in repr(optimizer)
    assert "20 bytes per parameter" in optimizer.explain("summary")
    assert "16 bytes per parameter" in RMSprop(storage="bfloat16").explain("summary")


def test_state_is_decoded_and_the_saved_one_has_the_bits() -> None:
    own = weights()
    optimizer = RMSprop(storage="bfloat16")
    optimizer.apply(gradients(own, 5), own)
    seen = optimizer.state["dense/bias"]["velocity"]
    saved = optimizer.state_dict()["dense_bias_velocity"]
    assert (seen.dtype, saved.dtype) == (np.dtype(np.float32), BFLOAT16)
    assert np.array_equal(seen, saved.astype(np.float32))
    (shown,) = [one.value for one in optimizer.variables if one.path.endswith("dense_bias_velocity")]
    assert np.array_equal(shown, seen)
    exact = np.float32(0.1) * np.square(gradients(own, 5)["dense/bias"])
    assert np.all(np.abs(seen - exact) <= exact / 128)


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("int4", r"must be one of 'float32', 'bfloat16', 'int8', or a dict .* Received: storage='int4'"),
        ({".*:velocity": "float8"}, r"Received: storage=\{'.*:velocity': 'float8'\}"),
        ({"kernel:velocity": "bfloat16"}, r"`storage`: a pattern matches no variable. Received: 'kernel:velocity'"),
        ({"(": "bfloat16"}, r"`storage` holds regular expressions"),
        (16, r"Received: storage=16"),
    ],
)
def test_what_no_slot_can_be_kept_in_is_refused(storage: Any, said: str) -> None:
    own = weights()
    with pytest.raises(OptionError, match=said):
        RMSprop(storage=storage).build(own)
    optimizer = RMSprop()
    optimizer.build(own)
    with pytest.raises(OptionError, match=said):
        optimizer.storage = storage
    assert optimizer.storage is None
    assert not light_slots(optimizer)


def test_what_is_subtracted_stays_exact_or_is_refused_by_name() -> None:
    optimizer = RMSprop(centered=True, momentum=0.9, storage="bfloat16")
    optimizer.build(weights())
    assert {name.rpartition("_")[2] for name in light_slots(optimizer)} == {"momentum"}
    with pytest.raises(
        OptionError, match=r"slot 'velocity' of rule 'rmsprop' .* Received: 'bfloat16' for 'dense/kernel:"
    ):
        RMSprop(centered=True, storage={".*:velocity": "bfloat16"}).build(weights())
    with pytest.raises(OptionError, match=r"slot 'average' .* is a copy of the variable"):
        RMSprop(use_ema=True, storage={".*:average": "bfloat16"}).build(weights())
    optimizer.centered = False
    assert {name.rpartition("_")[2] for name in light_slots(optimizer)} == {"momentum", "velocity"}


def test_centered_steps_are_as_good_as_those_of_float32() -> None:
    """Gradients of 1 +- 0.01: v and a squared are equal in four digits, of which bfloat16 has two."""
    assert long_steps("bfloat16", 300) < 1.5 * long_steps(None, 300)


@pytest.mark.parametrize("rho", [0.9, 0.99, 0.999])
def test_quiet_elements_forget(rho: float) -> None:
    """Of gradients that fall from 1 to 1e-3 the square is 1e-6 at last; by nearest it would stay where it was."""
    own, nearest = np.zeros(32, np.float32), np.ones(32, BFLOAT16)
    optimizer = RMSprop(rho=rho, storage="bfloat16")
    optimizer.build([own])
    steps = 20_000 if rho == 0.999 else 3_000
    quiet = np.full(32, 1e-3, np.float32)
    optimizer.apply([np.ones_like(own)])
    for _ in range(steps):
        optimizer.apply([quiet])
        if rho == 0.999:
            nearest = (np.float32(rho) * nearest.astype(np.float32) + np.float32(1 - rho) * quiet**2).astype(BFLOAT16)
    assert float(optimizer.state["variable_0"]["velocity"].mean()) <= 1e-5
    assert rho < 0.999 or float(nearest.astype(np.float32).mean()) > 0.5


def test_variables_of_float64_have_no_lighter_slots() -> None:
    with pytest.raises(OptionError, match=r"is for slots of float32 variables. .* 'variable_0', of dtype float64"):
        RMSprop(storage="bfloat16").build([np.zeros(3)])


def test_it_may_change_after_build() -> None:
    own, plain = weights(), weights()
    optimizer, other = RMSprop(storage="bfloat16"), RMSprop()
    for step in range(4):
        optimizer.apply(gradients(own, step), own)
        other.apply(gradients(own, step), plain)
    optimizer.storage = None
    other.storage = "bfloat16"
    assert not light_slots(optimizer)
    assert len(light_slots(other)) == 2
    before = optimizer.state["dense/bias"]["velocity"].copy()
    optimizer.storage = "bfloat16"
    assert np.array_equal(optimizer.state["dense/bias"]["velocity"], before)
    optimizer.apply(gradients(own, 9), own)


def test_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(BackendError, match=r"bfloat16 .* comes with ml_dtypes, .* `pip install ml_dtypes`"):
        RMSprop(storage="bfloat16").build(weights())
    assert dtypes.storage("float32").scalar is np.float32


def test_seeds_give_other_roundings_and_the_same_ones_again() -> None:
    def trained(seed: int) -> bytes:
        own = weights()
        optimizer = RMSprop(storage="bfloat16", seed=seed)
        for step in range(3):
            optimizer.apply(gradients(own, step), own)
        return optimizer.state["dense/kernel"]["velocity"].tobytes()

    assert trained(1) == trained(1) != trained(2)
    with pytest.raises(OptionError, match=r"`seed` must be an integer from 0 to 4294967295. Received: seed=4294967296"):
        RMSprop(seed=2**32)


def test_the_order_of_variables_changes_no_bit() -> None:
    own, turned = weights(), dict(reversed(weights().items()))
    for one in (own, turned):
        optimizer = RMSprop(storage="bfloat16")
        for step in range(3):
            given = gradients(own, step)
            optimizer.apply({name: given[name] for name in one}, one)
    assert all(own[name].tobytes() == turned[name].tobytes() for name in own)


def test_a_saved_state_is_converted_when_that_is_asked_and_never_silently(tmp_path: Path) -> None:
    own = weights()
    optimizer = RMSprop(storage="bfloat16", seed=5)
    optimizer.apply(gradients(own, 1), own)
    optimizer.save(tmp_path / "state")
    other = RMSprop()
    other.build(weights())
    with pytest.raises(OptionError, match=r"storage='bfloat16' \(here None\), seed=5 \(here None\)"):
        other.load(tmp_path / "state")
    other.load(tmp_path / "state", options="keep")
    assert not light_slots(other)
    assert np.array_equal(other.state["dense/bias"]["velocity"], optimizer.state["dense/bias"]["velocity"])
    other.load(tmp_path / "state", options="load")
    assert (other.storage, other.seed) == ("bfloat16", 5)
    assert (
        other.state_dict()["dense_bias_velocity"].tobytes() == optimizer.state_dict()["dense_bias_velocity"].tobytes()
    )


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_whoever_resumes_goes_on_with_the_same_bits(seed: int, tmp_path: Path) -> None:
    assert_goes_on("bfloat16", weights(seed), seed, tmp_path, steps=9, often=0.4)
