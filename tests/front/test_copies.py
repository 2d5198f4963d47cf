"""Copies in bfloat16 that updates write beside the variables, for who computes with them."""

import copy
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from compare import Array, make
from gpu import cupy

from rmsprop_jit import ArrayError, RMSprop, Variable

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def weights() -> dict[str, Array]:
    return {"kernel": make(700).reshape(7, 100), "bias": make(9, 1)}


def gradients(seed: int) -> dict[str, Array]:
    return {name: make(one.size, seed).reshape(one.shape) for name, one in weights().items()}


def copies_of(own: dict[str, Array]) -> dict[str, Array]:
    return {name: np.zeros(one.shape, BFLOAT16) for name, one in own.items()}


def assert_shown(own: dict[str, Array], copies: dict[str, Array]) -> None:
    for name, one in copies.items():
        assert one.tobytes() == own[name].astype(BFLOAT16).tobytes(), name


def test_they_are_written_now_and_by_every_update() -> None:
    own, same = weights(), weights()
    optimizer, plain = (RMSprop(momentum=0.9, global_clipnorm=1.0) for _ in range(2))
    optimizer.build(own)
    copies = copies_of(own)
    optimizer.copy_to(copies)
    assert_shown(own, copies)
    for step in range(3):
        optimizer.apply(gradients(step))
        plain.apply(gradients(step), same)
        assert_shown(own, copies)
    assert all(own[name].tobytes() == same[name].tobytes() for name in own)
    assert "copy" not in " ".join(optimizer.state_dict())
    assert "p.copy" not in repr(optimizer.state)
    assert "32 bytes per parameter" in plain.explain("summary")
    assert "34 bytes per parameter" in optimizer.explain("summary")


def test_some_variables_may_have_none_and_all_may_lose_them() -> None:
    own = weights()
    optimizer = RMSprop()
    optimizer.build(own)
    copies = copies_of(own)
    optimizer.copy_to([None, copies["bias"]])
    optimizer.apply(gradients(1))
    assert not copies["kernel"].any()
    assert_shown(own, {"bias": copies["bias"]})
    optimizer.copy_to(None)
    before = copies["bias"].copy()
    optimizer.apply(gradients(2))
    assert copies["bias"].tobytes() == before.tobytes()


def test_constraints_blocks_and_loading_write_them() -> None:
    own = {"w": Variable(make(9), name="w", constraint=lambda value: np.minimum(value, 0.25))}
    arrays = {"w": own["w"].value}
    optimizer = RMSprop(learning_rate=0.1, use_ema=True, ema_momentum=0.5)
    optimizer.build(own)
    copies = copies_of(arrays)
    optimizer.copy_to(copies)
    for step in range(3):
        optimizer.apply([make(9, step)])
        assert_shown(arrays, copies)
    saved = optimizer.state_dict(variables=True)
    with optimizer.averaged():
        assert_shown(arrays, copies)
    assert_shown(arrays, copies)
    optimizer.finalize_variable_values()
    assert_shown(arrays, copies)
    optimizer.load_state_dict(saved)
    assert_shown(arrays, copies)


def test_a_deep_copy_writes_none_and_other_options_go_on_writing() -> None:
    own = weights()
    optimizer = RMSprop()
    optimizer.build(own)
    copies = copies_of(own)
    optimizer.copy_to(copies)
    theirs = {name: array.copy() for name, array in own.items()}
    other = copy.deepcopy(optimizer)
    other.build(theirs)
    before = {name: one.tobytes() for name, one in copies.items()}
    other.apply(gradients(1))
    assert {name: one.tobytes() for name, one in copies.items()} == before
    optimizer.momentum = 0.9
    optimizer.apply(gradients(2))
    assert_shown(own, copies)


def test_a_gradient_that_is_skipped_leaves_them() -> None:
    own = weights()
    optimizer = RMSprop(nonfinite="skip")
    optimizer.build(own)
    copies = copies_of(own)
    optimizer.copy_to(copies)
    bad = gradients(1)
    bad["bias"][3] = np.nan
    optimizer.apply(bad)
    assert optimizer.skipped_steps == 1
    assert_shown(own, copies)


def bad_copies() -> dict[str, tuple[Any, str]]:
    room = np.zeros(20, BFLOAT16)
    return {
        "an unknown name": ({"weight": room[:9]}, r"Received: 'weight'; its variables: \['kernel', 'bias'\]"),
        "another dtype": ({"bias": make(9)}, r"copy of variable 'bias' must be of dtype bfloat16.*dtype=float32"),
        "another shape": ({"bias": room[:8]}, r"of shape \(9,\).*shape=\(8,\)"),
        "no array": ({"bias": [1.0]}, "not a NumPy array"),
        "every second": ({"bias": room[:18:2]}, "not C-contiguous"),
        "too few": ([room[:9]], r"one for each of 2 variables. Received: list of 1"),
        "one array": (room[:9], r"a dict by the variables' names.*Received: ndarray"),
    }


@pytest.mark.parametrize("what", bad_copies())
def test_what_is_no_copy_is_refused_and_nothing_is_written(what: str) -> None:
    given, said = bad_copies()[what]
    own = weights()
    optimizer = RMSprop()
    optimizer.build(own)
    copies = copies_of(own)
    optimizer.copy_to(copies)
    with pytest.raises(ArrayError, match=said):
        optimizer.copy_to(given)
    optimizer.apply(gradients(1))
    assert_shown(own, copies)


def test_each_variable_has_one_copy_and_each_name_one_variable() -> None:
    own = [Variable(make(9, i), name="k", path=f"{layer}/k") for i, layer in enumerate("de")]
    alone = Variable(make(9, 2), name="alone", path="d/alone")
    optimizer = RMSprop()
    optimizer.build([*own, alone])
    one, two = (np.zeros(9, BFLOAT16) for _ in range(2))
    with pytest.raises(ArrayError, match=r"two for 'd/alone', as 'alone' and as 'd/alone'"):
        optimizer.copy_to({"alone": one, "d/alone": two})
    with pytest.raises(ArrayError, match=r"Received: 'k', which is what 2 variables are called: \['d/k', 'e/k'\]"):
        optimizer.copy_to({"k": one})
    assert not one.any()
    optimizer.copy_to({"e/k": one, "alone": two})
    assert_shown({"e/k": own[1].value, "alone": alone.value}, {"e/k": one, "alone": two})


def test_overlaps_read_only_arrays_and_other_variables_are_refused() -> None:
    own = weights()
    optimizer = RMSprop()
    optimizer.build(own)
    room = np.zeros(710, BFLOAT16)
    with pytest.raises(ArrayError, match="share memory"):
        optimizer.copy_to({"kernel": room[:700].reshape(7, 100), "bias": room[695:704]})
    with pytest.raises(ArrayError, match="share memory"):
        optimizer.copy_to({"bias": own["kernel"].ravel()[:5].view(BFLOAT16)[:9]})
    room.flags.writeable = False
    with pytest.raises(ArrayError, match=r"bias: copy' is read-only"):
        optimizer.copy_to({"bias": room[:9]})
    other = RMSprop()
    other.build({"w": np.zeros(9, BFLOAT16)})
    with pytest.raises(ArrayError, match=r"would be of a variable of float32. Received: one of bfloat16"):
        other.copy_to({"w": np.zeros(9, BFLOAT16)})
    copies = copies_of(own)
    optimizer.copy_to(copies)
    with pytest.raises(ArrayError, match=r"the gradient of 'bias' shares memory with slot 'p.copy' of 'kernel'"):
        optimizer.apply({"kernel": gradients(1)["kernel"], "bias": copies["kernel"].ravel()[:9]})


def test_on_a_gpu_they_are_written_there() -> None:
    own = cupy.asarray(make(700))
    optimizer = RMSprop()
    optimizer.build([own])
    there = cupy.asarray(np.zeros(700, BFLOAT16))
    optimizer.copy_to([there])
    for step in range(2):
        optimizer.apply([cupy.asarray(make(700, step))])
    assert there.get().tobytes() == own.get().astype(BFLOAT16).tobytes()
    with pytest.raises(ArrayError, match="on cuda:0"):
        optimizer.copy_to([np.zeros(700, BFLOAT16)])
