"""What a variable is told: what it adds, whether it should be trained, and by which constraint; and a loss's value."""

import os

os.environ.setdefault("KERAS_BACKEND", "numpy")

import threading
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from rmsprop_jit import SGD, ArrayError, OptionError, RMSprop, Variable
from rmsprop_jit.arrays.homes import Array

# assign_add, assign_sub


def test_adding_and_subtracting_is_in_place() -> None:
    array = np.array([1.0, 2.0], np.float32)
    variable = Variable(array)
    variable.assign_add([1, 2])
    assert array.tolist() == [2, 4]
    variable.assign_sub(1)
    assert array.tolist() == [1, 3]
    variable.assign_sub(Variable(array))
    assert array.tolist() == [0, 0]
    variable.assign_add(np.array([1e-9, 0.5]))  # rounded once
    assert array.tolist() == [np.float32(1e-9), 0.5]
    assert variable.value is array


def test_they_are_keras_s() -> None:
    ours, theirs = Variable([1.0, 2.0, 3.0]), keras.Variable([1.0, 2.0, 3.0])
    for value in (0.1, [1.0, -2.0, 0.3]):
        ours.assign_add(value)
        theirs.assign_add(value)
        ours.assign_sub(0.7)
        theirs.assign_sub(0.7)
    assert ours.numpy().tolist() == np.asarray(theirs.value).tolist()


@pytest.mark.parametrize("value", [[1, 2, 3], [[1, 2], [3, 4]], "text", 1j, [[1], [2]], None])
def test_what_does_not_fit_changes_nothing(value: Any) -> None:
    variable = Variable([1.0, 2.0], name="kernel")
    for change in (variable.assign_add, variable.assign_sub):
        with pytest.raises(ArrayError, match=r"'kernel' has shape \(2,\) and dtype float32\. Received: shape=.*Pass"):
            change(value)
    assert variable.value.tolist() == [1, 2]


class Exchanged:
    """An array of a library that has DLPack, and no arithmetic with NumPy's."""

    __array_ufunc__ = None

    def __init__(self, array: Array) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __dlpack__(self, **keywords: Any) -> Any:
        return self.array.__dlpack__(**keywords)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def test_arrays_of_other_libraries_are_added() -> None:
    variable = Variable(np.ones(2))
    variable.assign_add(Exchanged(np.array([1.0, 2.0])))  # type: ignore[arg-type]
    variable.assign_sub(Exchanged(np.array([0.5, 0.5])))  # type: ignore[arg-type]
    assert variable.value.tolist() == [1.5, 2.5]


def test_a_counter_counts_whole_numbers() -> None:
    counter = Variable(np.array(1))
    counter.assign_add(2)
    with pytest.raises(ArrayError, match="int64"):
        counter.assign_add(0.5)
    assert float(counter) == 3


# trainable


def test_an_optimizer_updates_what_it_is_given_as_keras_s_does() -> None:
    ours = [Variable([1.0], name="w"), Variable([1.0], name="frozen", trainable=False)]
    theirs = [keras.Variable([1.0], trainable=one.trainable) for one in ours]
    judge = keras.optimizers.SGD(0.5)
    judge.apply([np.ones(1, np.float32)] * 2, theirs)
    SGD(0.5).apply([np.ones(1, np.float32) for _ in ours], ours)
    assert [one.numpy()[0] for one in ours] == [np.asarray(one.value)[0] for one in theirs] == [0.5, 0.5]
    assert [one.name for one in ours if one.trainable] == ["w"]


@pytest.mark.parametrize("wrong", [1, None, "no", np.True_])
def test_it_is_true_or_false(wrong: Any) -> None:
    variable = Variable([1.0], name="w")
    variable.trainable = False
    with pytest.raises(OptionError, match=r"`trainable` of variable 'w' must be True or False\. Received: "):
        variable.trainable = wrong
    with pytest.raises(OptionError, match="`trainable` of variable 'new'"):
        Variable([1.0], name="new", trainable=wrong)
    assert variable.trainable is False


# constraint


def halved(array: Array) -> Array:
    half: Array = array / 2
    return half


@pytest.mark.parametrize("options", [{}, {"use_ema": True}, {"gradient_accumulation_steps": 2}])
def test_a_constraint_holds_from_the_next_call_on(options: dict[str, Any]) -> None:
    """Beside an optimizer that is new for each part: what was prepared for the calls before is not used."""
    variables, others = ([Variable(np.ones(3), name="a"), Variable(np.ones(3), name="b")] for _ in range(2))
    optimizer, again = RMSprop(0.1, **options), RMSprop(0.1, **options)
    gradient = [np.full(3, 0.5), np.full(3, -0.5)]
    again.build(others)
    for constraint in (None, halved, None, np.abs, halved):
        for one in (variables[0], others[0]):
            one.constraint = constraint
        state = again.state_dict()
        again = RMSprop(0.1, **options)
        again.build(others)
        again.load_state_dict(state, options="keep")
        for _ in range(4):
            optimizer.apply(gradient, variables)
            again.apply(gradient, others)
            assert [one.numpy().tolist() for one in variables] == [one.numpy().tolist() for one in others]
    assert variables[0].numpy()[0] < 0.6 < variables[1].numpy()[0]


def test_two_optimizers_see_it() -> None:
    variable, gradient = Variable(np.ones(3)), [np.zeros(3)]
    optimizers = [SGD(0.1), SGD(0.2)]
    for _ in range(3):
        for one in optimizers:
            one.apply(gradient, [variable])
    variable.constraint = halved
    for one in optimizers:
        one.apply(gradient, [variable])
    assert variable.value.tolist() == [0.25] * 3
    variable.constraint = None
    for one in optimizers:
        one.apply(gradient, [variable])
    assert variable.value.tolist() == [0.25] * 3


def test_no_constraint_that_was_set_is_missed_while_others_are() -> None:
    """Two threads set constraints of variables that they do not share, and each looks at once."""
    wrong: list[str] = []

    def work(name: str) -> None:
        variable, optimizer = Variable(np.ones(1), name=name), SGD(0.1)
        for _ in range(40):
            for constraint, expected in ((halved, 0.5), (None, 1.0)):
                variable.assign([1.0])
                variable.constraint = constraint
                optimizer.apply([np.zeros(1)], [variable])
                if variable.value[0] != expected:
                    wrong.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong


@pytest.mark.parametrize("wrong", [1, "nonneg", [abs]])
def test_a_constraint_is_a_function_or_none(wrong: Any) -> None:
    variable = Variable([1.0], name="w", constraint=halved)
    with pytest.raises(OptionError, match=r"`constraint` of variable 'w' must be a function.*Received: "):
        variable.constraint = wrong
    with pytest.raises(OptionError, match="`constraint` of variable 'new'"):
        Variable([1.0], name="new", constraint=wrong)
    assert variable.constraint is halved


# What `minimize` returns.

LOSSES: dict[str, Callable[[Variable], Any]] = {
    "number": lambda v: (v**2)[0] + 1.0,
    "array of one": lambda v: v[:1] ** 2 + 1.0,
    "nothing read": lambda _: 5.0 + 0.0 * np.ones(()),
}


@pytest.mark.parametrize("name", ["number", "array of one"])
def test_minimize_returns_what_the_loss_was(name: str) -> None:
    pytest.importorskip("autograd")
    variable = Variable(np.array([2.0, 1.0], np.float32))
    optimizer = SGD(0.25)
    assert [optimizer.minimize(lambda: LOSSES[name](variable), [variable]) for _ in range(3)] == [5.0, 2.0, 1.25]
    assert type(optimizer.minimize(lambda: LOSSES[name](variable), [variable])) is float


def test_a_loss_that_reads_nothing_is_an_error() -> None:
    pytest.importorskip("autograd")
    variable = Variable([2.0])
    with pytest.raises(ArrayError, match="No gradients provided"):
        SGD(0.25).minimize(lambda: LOSSES["nothing read"](variable), [variable])


def test_a_scaled_loss_is_returned_as_it_was_computed() -> None:
    pytest.importorskip("autograd")
    variable, optimizer = Variable([2.0]), SGD(0.25, loss_scale_factor=8.0)
    assert optimizer.minimize(lambda: optimizer.scale_loss(variable[0] ** 2), [variable]) == 32.0
    assert float(variable.value[0]) == 1.0
