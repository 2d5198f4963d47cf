"""Variables of 24 bits: a bfloat16 that the model holds, and a byte of error beside it, which is state."""

import copy
import pickle
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from compare import Array, make

import rmsprop_jit
from rmsprop_jit import Adam, OptionError, RMSprop, Variable

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FINE = {".*:parameter": "bfloat16+int8"}


def weights(seed: int = 0) -> dict[str, Array]:
    return {"kernel": make(40, seed).reshape(8, 5).astype(BFLOAT16), "bias": make(9, seed + 1).astype(BFLOAT16)}


def gradients(seed: int, dtype: Any = np.float32) -> dict[str, Array]:
    return {name: make(one.size, seed).reshape(one.shape).astype(dtype) for name, one in weights().items()}


def states(*optimizers: Any) -> list[dict[str, bytes]]:
    return [{name: array.tobytes() for name, array in one.state_dict().items()} for one in optimizers]


def test_a_training_is_that_of_float32_but_for_eight_bits() -> None:
    own, exact = weights(), {name: array.astype(np.float32) for name, array in weights().items()}
    optimizer, theirs = (RMSprop(learning_rate=0.01, storage=kept) for kept in (FINE, None))
    for step in range(5):
        optimizer.apply(gradients(step), own)
        theirs.apply(gradients(step), exact)
    for name, array in own.items():
        shown = optimizer.state[name]["parameter"]
        assert np.allclose(shown, exact[name], rtol=2**-14, atol=1e-5)
        assert np.array_equal(array.astype(np.float32), shown.astype(BFLOAT16).astype(np.float32))
        assert not np.array_equal(shown, array.astype(np.float32))
    assert "kernel (8, 5) bfloat16: velocity, parameter in bfloat16+int8" in repr(optimizer.state)
    assert "245 bytes, 5 a parameter" in repr(optimizer)
    assert "16 bytes per parameter" in optimizer.explain("summary")
    light = RMSprop(storage={**FINE, ".*:velocity": "bfloat16"})
    light.apply(gradients(1, BFLOAT16), weights())
    assert "12 bytes per parameter" in light.explain("summary") or "14 bytes" in light.explain("summary")


def test_patterns_choose_and_what_cannot_be_is_refused() -> None:
    own = weights()
    optimizer = RMSprop(storage={"kernel:parameter": "bfloat16+int8", ".*:velocity": "bfloat16"})
    optimizer.build(own)
    assert [*optimizer.state["kernel"]] == ["velocity", "parameter"]
    assert [*optimizer.state["bias"]] == ["velocity"]
    for storage, said in (
        ("bfloat16+int8", r"`storage` must be .* Received: storage='bfloat16\+int8'"),
        ({"kernel:velocity": "bfloat16+int8"}, r"a pattern matches no variable. Received: 'kernel:velocity'"),
        ({"kernel:parameter": "bfloat16"}, r"a pattern matches no variable. Received: 'kernel:parameter'"),
    ):
        with pytest.raises(OptionError, match=said):
            RMSprop(storage=storage).build(own)
    with pytest.raises(OptionError, match=r"bfloat16\+int8 is for variables of bfloat16. Received: .* of float32"):
        RMSprop(storage=FINE).build([make(9)])


@pytest.mark.parametrize("way", ["save", "dict", "copy", "pickle"])
def test_whoever_resumes_goes_on_with_the_same_bits(way: str, tmp_path: Path) -> None:
    own, options = weights(), {"storage": {**FINE, ".*:velocity": "bfloat16"}, "seed": 2, "use_ema": True}
    optimizer = Adam(**options)  # type: ignore[arg-type]
    optimizer.build(own)
    for step in range(3):
        optimizer.apply(gradients(step))
    theirs = {name: array.copy() for name, array in own.items()}
    if way in ("copy", "pickle"):
        other = copy.deepcopy(optimizer) if way == "copy" else pickle.loads(pickle.dumps(optimizer))
        other.build(theirs)
    else:
        other = Adam(**options)  # type: ignore[arg-type]
        theirs = theirs if way == "dict" else weights(9)
        other.build(theirs)
        optimizer.save(tmp_path / "state", variables=True)
        other.load(tmp_path / "state") if way == "save" else other.load_state_dict(optimizer.state_dict())
    assert np.any(optimizer.state_dict()["kernel.error"])
    for step in range(3):
        optimizer.apply(gradients(step))
        other.apply(gradients(step))
    assert all(theirs[name].tobytes() == own[name].tobytes() for name in own)
    ours, others = states(optimizer, other)
    assert ours == others


def test_what_is_assigned_clears_the_error() -> None:
    own = Variable(make(9).astype(BFLOAT16), name="w")
    optimizer = RMSprop(storage=FINE)
    optimizer.build([own])
    for change, value in ((own.assign, np.ones(9)), (own.assign_add, np.ones(9, BFLOAT16))):
        optimizer.apply([make(9, 1)])
        assert np.any(optimizer.state_dict()["w.error"])
        change(value)
        assert not np.any(optimizer.state_dict()["w.error"])
    optimizer.apply([make(9, 1)])
    own.value[...] = 0  # which nobody sees: zero is zero all the same
    assert np.abs(optimizer.state["w"]["parameter"]).max() < 1e-37


def test_a_constraint_clears_the_error_where_it_changes_anything() -> None:
    own = Variable(make(9).astype(BFLOAT16), name="w", constraint=lambda value: np.minimum(value, BFLOAT16.type(0.25)))
    optimizer = RMSprop(storage=FINE)
    is_far = own.numpy().astype(np.float32) > 0.26
    optimizer.apply([make(9, 1)], [own])
    error = optimizer.state_dict()["w.error"]
    assert is_far.any()
    assert not error[is_far].any()
    assert error[~is_far].any()


def test_averages_and_blocks_of_them() -> None:
    own = weights()
    optimizer = RMSprop(learning_rate=0.1, use_ema=True, ema_momentum=0.5, storage=FINE)
    for step in range(3):
        optimizer.apply(gradients(step), own)
    before, bits = states(optimizer), {name: array.tobytes() for name, array in own.items()}
    with optimizer.averaged():
        assert any(own[name].tobytes() != bits[name] for name in own)
    assert {name: array.tobytes() for name, array in own.items()} == bits
    assert states(optimizer) == before
    optimizer.finalize_variable_values()
    assert np.array_equal(optimizer.state["bias"]["parameter"], optimizer.state["bias"]["average"].astype(BFLOAT16))


def test_it_may_change_after_build_and_averages_begin_with_all_bits() -> None:
    own = weights()
    optimizer = RMSprop(storage=FINE)
    for step in range(3):
        optimizer.apply(gradients(step), own)
    seen = optimizer.state["bias"]["parameter"].copy()
    optimizer.use_ema = True
    assert np.array_equal(optimizer.state["bias"]["average"], seen)
    optimizer.storage = None
    assert "bias.error" not in optimizer.state_dict()
    optimizer.storage = FINE
    assert not optimizer.state_dict()["bias.error"].any()
    optimizer.apply(gradients(4))


def test_a_state_without_errors_is_taken_when_that_is_asked(tmp_path: Path) -> None:
    own, theirs = weights(), weights()
    ours, other = RMSprop(storage=FINE), RMSprop()
    ours.apply(gradients(1), own)
    other.apply(gradients(1), theirs)
    with pytest.raises(OptionError, match="storage="):
        ours.load_state_dict(other.state_dict())
    ours.load_state_dict(other.state_dict(variables=True), options="keep")
    assert not ours.state_dict()["bias.error"].any()
    ours.apply(gradients(2))
    other.load_state_dict(ours.state_dict(), options="keep")


def test_a_stateless_call_has_the_same_bits() -> None:
    own = weights()
    optimizer = rmsprop_jit.Lamb(learning_rate=0.1, storage=FINE)
    for step in range(2):
        optimizer.apply(gradients(step, BFLOAT16), own)
    passed = [np.array(one.value) for one in optimizer.variables]
    values, _ = optimizer.stateless_apply(passed, gradients(5), own)
    assert np.any(optimizer.state_dict()["kernel.error"])
    optimizer.apply(gradients(5))
    assert all(values[key].tobytes() == own[key].tobytes() for key in own)
