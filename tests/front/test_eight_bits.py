"""Slots kept in 8 bits: what an optimizer says of them, keeps, saves, and takes up again; both traps."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import make
from light import Weights, assert_goes_on, gradients, long_steps

from rmsprop_jit import ArrayError, OptionError, RMSprop
from rmsprop_jit.storages import SMALLEST

SEQUENCES = int(os.environ.get("SEQUENCES", "1"))
"""SEQUENCES=200 by hand."""


def weights(seed: int = 0) -> Weights:
    return {"dense/kernel": make(65 * 70, seed).reshape(65, 70), "dense/bias": make(9, seed + 1)}


def coded(optimizer: Any) -> set[str]:
    return {name for name, array in optimizer.state_dict().items() if array.dtype in (np.int8, np.uint8)}


def test_one_word_keeps_large_slots_in_8_bits_and_patterns_choose() -> None:
    optimizer = RMSprop(momentum=0.9, storage="int8")
    optimizer.build(weights())
    state = optimizer.state_dict()
    assert coded(optimizer) == {"dense_kernel_velocity", "dense_kernel_momentum"}
    assert [state[f"dense_kernel_{slot}"].dtype.name for slot in ("velocity", "momentum")] == ["uint8", "int8"]
    assert state["dense_kernel_velocity.scale"].shape == (-(-65 * 70 // 64),)
    assert "dense/kernel (65, 70) float32: velocity in int8, momentum in int8" in repr(optimizer.state)
    assert "4 slots of 9,748 bytes, 2.14 a parameter" in repr(optimizer)
    assert "14.125 bytes per parameter" in RMSprop(storage="int8").explain("summary")
    some = RMSprop(momentum=0.9, storage={".*:momentum": "bfloat16", "dense/.*:velocity": "int8"})
    some.build(weights())
    assert "dense/kernel (65, 70) float32: velocity in int8, momentum in bfloat16" in repr(some.state)


def test_small_variables_stay_as_they_are() -> None:
    """Whoever asks sees it in `state`."""
    own = {"small": np.zeros(SMALLEST - 1, np.float32), "large": np.zeros(SMALLEST, np.float32)}
    optimizer = RMSprop(storage="int8")
    optimizer.build(own)
    assert coded(optimizer) == {"large_velocity"}
    assert "small (4095,) float32: velocity\n" in repr(optimizer.state)
    assert "14.125 bytes per parameter" in optimizer.explain("summary")  # of the variables that have them
    with pytest.raises(OptionError, match=r"int8 is for slots of float32 variables"):
        RMSprop(storage="int8").build([np.zeros(SMALLEST)])
    with pytest.raises(OptionError, match=r"Received: storage='int4'"):
        RMSprop(storage="int4")
    with pytest.raises(OptionError, match=r"a pattern matches no variable. Received: 'kernel:velocity'"):
        RMSprop(storage={"kernel:velocity": "int8"}).build(weights())


def test_state_is_decoded_and_variables_are() -> None:
    own = weights()
    optimizer = RMSprop(storage="int8")
    optimizer.apply(gradients(own, 5), own)
    seen = optimizer.state["dense/kernel"]["velocity"]
    assert list(optimizer.state["dense/kernel"]) == ["velocity"]
    exact = np.float32(0.1) * np.square(gradients(own, 5)["dense/kernel"])
    assert seen.dtype == np.float32
    assert np.median(np.abs(seen / exact - 1)) < 0.02
    (shown,) = [one.value for one in optimizer.variables if one.path.endswith("kernel_velocity")]
    assert np.array_equal(shown, seen)
    other = RMSprop(storage="int8")
    other.build(weights())
    other.set_weights([one.value for one in optimizer.variables])
    found = other.state["dense/kernel"]["velocity"]
    assert (found == seen).mean() > 0.99
    with pytest.raises(ArrayError, match=r"stateless_apply\(\) has no slots of 8 bits"):
        optimizer.stateless_apply(optimizer.variables, [*gradients(own, 6).values()], [*own.values()])


def test_what_is_subtracted_stays_exact_or_is_refused_by_name() -> None:
    optimizer = RMSprop(centered=True, momentum=0.9, storage="int8")
    optimizer.build(weights())
    assert coded(optimizer) == {"dense_kernel_momentum"}
    with pytest.raises(OptionError, match=r"slot 'velocity' of rule 'rmsprop' .* Received: 'int8' for 'dense/kernel:"):
        RMSprop(centered=True, storage={".*:velocity": "int8"}).build(weights())


def test_centered_steps_are_as_good_as_those_of_float32() -> None:
    """Gradients of 1 +- 0.01: v and a squared are equal in four digits."""
    assert long_steps("int8", SMALLEST) < 1.5 * long_steps(None, SMALLEST)


@pytest.mark.parametrize("rho", [0.9, 0.99, 0.999])
def test_quiet_elements_forget_beside_a_loud_one(rho: float) -> None:
    """Gradients fall from 1 to 1e-3, but for one in a block; by nearest the others stay where they were."""
    own, gradient = np.zeros(SMALLEST, np.float32), np.full(SMALLEST, 1e-3, np.float32)
    gradient[::64] = 1
    optimizer = RMSprop(rho=rho, storage="int8")
    optimizer.build([own])
    optimizer.set_weights([np.array(0), np.array(1e-3), np.ones_like(own)])
    nearest = np.float32(1)
    for _ in range(20_000 if rho == 0.999 else 3_000):
        optimizer.apply([gradient])
        new = np.float32(rho) * nearest + np.float32(1 - rho) * np.float32(1e-6)
        nearest = np.square(np.rint(np.sqrt(new) * np.float32(255)) / np.float32(255))
    quiet = optimizer.state["variable_0"]["velocity"].reshape(-1, 64)[:, 1:]
    assert 1e-7 < quiet.mean() <= 1e-5
    assert rho < 0.999 or nearest > 0.9


def test_it_may_change_after_build() -> None:
    own, plain = weights(), weights()
    optimizer, other = RMSprop(storage="int8"), RMSprop()
    for step in range(3):
        optimizer.apply(gradients(own, step), own)
        other.apply(gradients(own, step), plain)
    before = optimizer.state["dense/kernel"]["velocity"].copy()
    optimizer.storage = None
    assert np.array_equal(optimizer.state["dense/kernel"]["velocity"], before)
    exact = other.state["dense/kernel"]["velocity"].copy()
    other.storage = "int8"
    assert not coded(optimizer)
    assert coded(other) == {"dense_kernel_velocity"}
    assert np.median(np.abs(other.state["dense/kernel"]["velocity"] / exact - 1)) < 0.02
    other.storage = "bfloat16"
    assert not coded(other)
    other.apply(gradients(own, 9), plain)


def test_slots_start_as_they_say() -> None:
    own = [np.zeros(SMALLEST, np.float32)]
    optimizer = RMSprop(dialect="tf1", storage="int8")
    optimizer.build(own)
    assert (optimizer.state["variable_0"]["velocity"] == 1).all()


def test_a_saved_state_is_converted_when_that_is_asked_and_never_silently(tmp_path: Path) -> None:
    own = weights()
    optimizer = RMSprop(storage="int8", seed=5)
    optimizer.apply(gradients(own, 1), own)
    optimizer.save(tmp_path / "state")
    other = RMSprop()
    other.build(weights())
    with pytest.raises(OptionError, match=r"storage='int8' \(here None\), seed=5 \(here None\)"):
        other.load(tmp_path / "state")
    other.load(tmp_path / "state", options="keep")
    assert not coded(other)
    seen = optimizer.state["dense/kernel"]["velocity"]
    assert np.array_equal(other.state["dense/kernel"]["velocity"], seen)
    other.load(tmp_path / "state", options="load")
    assert (other.storage, other.seed) == ("int8", 5)
    for name in ("dense_kernel_velocity", "dense_kernel_velocity.scale"):
        assert other.state_dict()[name].tobytes() == optimizer.state_dict()[name].tobytes()
    light = RMSprop(storage="bfloat16")
    light.build(weights())
    light.save(tmp_path / "light")
    optimizer.load(tmp_path / "light", options="keep")
    assert coded(optimizer) == {"dense_kernel_velocity"}


@pytest.mark.parametrize("lacking", ["dense_kernel_velocity", "dense_kernel_velocity.scale"])
def test_codes_without_scales_or_of_another_shape_are_refused(lacking: str) -> None:
    optimizer = RMSprop(storage="int8")
    optimizer.build(weights())
    state = optimizer.state_dict()
    with pytest.raises(ArrayError, match=rf"without \['{lacking}'\]|must have shape"):
        optimizer.load_state_dict({name: one for name, one in state.items() if name != lacking})
    with pytest.raises(ArrayError, match="must have shape"):
        optimizer.load_state_dict({**state, lacking: state[lacking][:-1]})
    with pytest.raises(ArrayError, match="must have shape"):
        optimizer.load_state_dict({**state, "dense_kernel_velocity": state["dense_kernel_velocity"].astype(np.int16)})


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_whoever_resumes_goes_on_with_the_same_bits(seed: int, tmp_path: Path) -> None:
    assert_goes_on("int8", weights(seed), seed, tmp_path, steps=7, often=0.5)
