"""`optimizer.state`, what an optimizer says of its size, and states as lists of weights."""

import os

os.environ.setdefault("KERAS_BACKEND", "numpy")

from typing import Any

import keras
import numpy as np
import pytest
from compare import Array

import rmsprop_jit
from rmsprop_jit import ArrayError, Nadam, RMSprop, Variable

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own


def new_weights() -> dict[str, Array]:
    return {"dense/kernel": np.ones((4, 3), np.float32), "dense/bias": np.zeros(3, np.float32)}


def gradients() -> dict[str, Array]:
    return {"dense/kernel": np.full((4, 3), 0.5, np.float32), "dense/bias": np.ones(3, np.float32)}


def test_slots_are_found_by_the_names_of_variable_and_slot() -> None:
    optimizer = RMSprop(momentum=0.9)
    optimizer.build(new_weights())
    optimizer.apply(gradients())
    assert [*optimizer.state] == ["dense/kernel", "dense/bias"]
    assert {path: [*slots] for path, slots in optimizer.state.items()} == {
        "dense/kernel": ["velocity", "momentum"],
        "dense/bias": ["velocity", "momentum"],
    }
    by_name = optimizer.state_dict()
    for path, slots in optimizer.state.items():
        for name, array in slots.items():
            np.testing.assert_array_equal(array, by_name[f"{path.replace('/', '_')}_{name}"])


def test_a_view_is_of_the_moment() -> None:
    optimizer = RMSprop()
    state = optimizer.state
    assert len(state) == 0
    optimizer.build(new_weights())
    slots = state["dense/bias"]
    velocity = slots["velocity"]
    assert velocity.tolist() == [0, 0, 0]
    optimizer.apply(gradients())
    np.testing.assert_allclose(velocity, 0.1, rtol=1e-6)
    optimizer.centered = True
    assert [*state["dense/bias"]] == ["velocity", "average_gradient"]
    assert np.shares_memory(velocity, state["dense/bias"]["velocity"])


def test_it_is_to_be_read() -> None:
    optimizer = RMSprop()
    optimizer.build(new_weights())
    with pytest.raises(ValueError, match="read-only"):
        optimizer.state["dense/bias"]["velocity"][0] = 1
    with pytest.raises(TypeError):
        optimizer.state["dense/bias"] = {}  # type: ignore[index]
    with pytest.raises(AttributeError, match="`state` of 'RMSprop' cannot be set"):
        optimizer.state = {}  # type: ignore[misc]
    optimizer.apply(gradients())


def test_what_an_empty_window_has_left_over_is_shown_as_zeros() -> None:
    optimizer = RMSprop(gradient_accumulation_steps=2)
    optimizer.build(new_weights())
    seen = []
    for _ in range(2):
        optimizer.apply(gradients())
        seen.append(optimizer.state["dense/bias"]["gradient_accumulator"].tolist())
    assert seen == [[1, 1, 1], [0, 0, 0]]


def test_slots_over_all_have_a_place_of_their_own() -> None:
    optimizer = Nadam()
    optimizer.build({"w": np.ones(3)})
    optimizer.apply([np.ones(3)])
    assert [*optimizer.state] == ["w", "all"]
    assert float(optimizer.state["all"]["u_product"]) == optimizer.state_dict()["all/u_product"]
    other = Nadam()
    other.build({"all": np.ones(3)})
    assert {*other.state["all"]} == {"momentum", "velocity", "u_product"}


@pytest.mark.parametrize(
    ("path", "name", "message"),
    [
        ("dense/kernal", "velocity", r"no variable 'dense/kernal'.*'dense/bias'.*Did you mean 'dense/kernel'\?"),
        ("dense/bias", "velocty", r"'dense/bias' has no slot 'velocty'; its slots: velocity\. Did you mean 'velocity'"),
        ("dense/bias", "momentum", r"'dense/bias' has no slot 'momentum'; its slots: velocity\."),
        (0, "velocity", "no variable 0"),
    ],
)
def test_a_wrong_name_is_answered_with_those_that_are_near(path: Any, name: str, message: str) -> None:
    optimizer = RMSprop()
    optimizer.build(new_weights())
    with pytest.raises(KeyError, match=message):
        optimizer.state[path][name]
    assert "dense/kernal" not in optimizer.state
    assert optimizer.state.get("dense/kernal") is None


def test_before_it_is_built_there_is_nothing() -> None:
    with pytest.raises(KeyError, match=r"not built, call build\(\) first"):
        RMSprop().state["w"]
    assert repr(RMSprop().state) == "<state of 0 variables>"


def test_a_state_shows_what_is_in_it() -> None:
    optimizer = RMSprop(centered=True)
    optimizer.build(new_weights())
    assert repr(optimizer.state).splitlines() == [
        "<state of 2 variables of 15 parameters, 4 slots of 120 bytes>",
        "  dense/kernel (4, 3) float32: velocity, average_gradient",
        "  dense/bias (3,) float32: velocity, average_gradient",
    ]
    assert repr(optimizer.state["dense/bias"]) == (
        "<slots of 'dense/bias': velocity (3,) float32, average_gradient (3,) float32>"
    )
    many = RMSprop()
    many.build([np.ones(1) for _ in range(1000)])
    assert (
        repr(many.state).splitlines()[0] == "<state of 1,000 variables of 1,000 parameters, 1,000 slots of 8,000 bytes>"
    )
    assert repr(many.state).splitlines()[-1] == "  and 988 more variables"


def test_an_optimizer_shows_its_options_and_its_size() -> None:
    optimizer = Nadam(0.5, use_ema=True, gradient_accumulation_steps=2)
    optimizer.build(new_weights())
    optimizer.apply(gradients())
    assert repr(optimizer) == (
        "<Nadam(rule='nadam', learning_rate=0.5, gradient_accumulation_steps=2, use_ema=True): "
        "2 variables of 15 parameters, 9 slots of 248 bytes, 1 call>"
    )


# set_weights


def test_weights_of_one_are_set_in_another() -> None:
    first, second = RMSprop(0.25, momentum=0.9), RMSprop(0.5, momentum=0.9)
    for one in (first, second):
        one.build(new_weights())
    first.apply(gradients())
    second.set_weights(first.variables)
    assert [one.numpy().tolist() for one in first.variables] == [one.numpy().tolist() for one in second.variables]
    assert (second.iterations, second.learning_rate) == (1, 0.25)


def test_weights_of_keras_s_are_set() -> None:
    theirs = [keras.Variable(np.ones((2, 2), np.float32))]
    judge = keras.optimizers.Adam(0.25)
    judge.apply([np.ones((2, 2), np.float32)], theirs)
    optimizer = rmsprop_jit.Adam(0.5)
    with pytest.raises(ArrayError, match=r"set_weights\(\) needs an optimizer that is built.*Received: "):
        optimizer.set_weights(judge.variables)
    optimizer.build([Variable(np.ones((2, 2), np.float32))])
    optimizer.set_weights(judge.variables)
    for ours, other in zip(optimizer.variables, judge.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), np.asarray(other.value))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda all_: all_[:-1], r"this optimizer has 4 variables\. Received: a list of 3"),
        (lambda all_: [*all_, 1.0], "Received: a list of 5"),
        (lambda all_: [*all_[:-1], np.ones(2)], r"the list: 'dense_bias_velocity' must have shape \(3,\)"),
        (lambda all_: [all_[0], "much", *all_[2:]], "the list's learning rate"),
        (lambda all_: [-1, *all_[1:]], "iteration must be a whole number"),
        (lambda all_: dict(enumerate(all_)), r"takes a list.*Received: dict.*`load_state_dict`"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(weights: Any, message: str) -> None:
    optimizer = RMSprop()
    optimizer.build(new_weights())
    optimizer.apply(gradients())
    before = {name: array.tobytes() for name, array in optimizer.state_dict().items()}
    with pytest.raises(ArrayError, match=message):
        optimizer.set_weights(weights([one.numpy() for one in optimizer.variables]))
    assert {name: array.tobytes() for name, array in optimizer.state_dict().items()} == before
