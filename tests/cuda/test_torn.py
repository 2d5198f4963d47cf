"""A call that did not come to its end, where Python runs between its launches: on a GPU, and on a GPU and the host."""

import copy
import pickle
from typing import Any, NoReturn

import numpy as np
import pytest
import simulated_cupy as cupy
from compare import Array, assert_same_bits, make
from simulated_gpu import LaunchFailure, failing_after
from training import OPTIONS, PLACES, Saved, Training, fetched

from rmsprop_jit import ArrayError, BackendError, RMSprop, Variable


@pytest.fixture(params=list(PLACES.values()), ids=list(PLACES))
def training(request: pytest.FixtureRequest) -> Training:
    return Training(request.param)


def torn(training: Training, launches: int = 1) -> Saved:
    """One whole call, and one that fails after so many launches; what was saved between them."""
    training.step(1)
    saved = training.saved()
    with failing_after(launches), pytest.raises(LaunchFailure):
        training.step(2)
    return saved


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_call_that_fails_at_its_second_launch_is_torn_until_a_state_is_loaded(training: Training) -> None:
    saved = torn(training)
    assert training.optimizer.iterations == 1
    same = training.gradients(2)
    for gradients in (same, same, training.gradients(3), [None, same[1]]):
        with pytest.raises(BackendError, match=r"step 2 was torn; load a state\. Received: .*load_state_dict"):
            training.optimizer.apply(gradients)
    with pytest.raises(BackendError, match="step 2 was torn; load a state"):
        training.optimizer.update_step(same[1], training.variables[1], 0.1)
    assert training.optimizer.iterations == 1
    training.restore(saved)
    training.step(2)
    assert training.optimizer.iterations == 2


@pytest.mark.parametrize(("options", "launches"), [(OPTIONS, 3), ({"momentum": 0.9}, 1)], ids=["norm", "plain"])
@pytest.mark.parametrize("on_gpu", PLACES.values(), ids=PLACES)
def test_after_any_launch_that_fails_training_goes_on_as_if_nothing_had_been(
    on_gpu: tuple[int, ...], options: dict[str, Any], launches: int
) -> None:
    """A new rate comes with the call that fails: what was not made of it then must be made later."""
    training, twin = (Training(on_gpu, **options) for _ in range(2))
    for one in (training, twin):
        one.step(1)
    failed = True
    for seed in range(2, 20):
        saved = training.saved()
        training.optimizer.learning_rate = twin.optimizer.learning_rate = 0.1 / seed
        try:
            with failing_after(seed - 2):
                training.step(seed)
            failed = False
        except LaunchFailure:
            with pytest.raises(BackendError, match=f"step {seed} was torn"):
                training.step(seed)
            training.restore(saved)
            training.step(seed)
        twin.step(seed)
        training.assert_like(twin)
        if not failed:
            break
    assert not failed
    assert seed >= 2 + launches


def test_what_is_torn_is_not_saved_and_its_copies_are_torn(training: Training) -> None:
    torn(training)
    with pytest.raises(BackendError, match="step 2 was torn"):
        training.optimizer.state_dict()
    for twin in (copy.deepcopy(training.optimizer), pickle.loads(pickle.dumps(training.optimizer))):
        twin.build(training.placed([make(50, 1), make(21, 2)]))
        with pytest.raises(BackendError, match="step 2 was torn"):
            twin.apply(training.gradients(2))


def test_a_state_that_does_not_fit_leaves_the_call_torn(training: Training) -> None:
    saved = torn(training)
    with pytest.raises(ArrayError, match="does not fit"):
        training.optimizer.load_state_dict({**saved[1], "surplus": np.zeros(3)})
    with pytest.raises(BackendError, match="step 2 was torn"):
        training.step(2)
    training.restore(saved)
    stored: dict[str, Any] = {}
    training.optimizer.save_own_variables(stored)
    with failing_after(0), pytest.raises(LaunchFailure):
        training.step(2)
    training.optimizer.load_own_variables(stored)
    training.step(2)


@pytest.mark.parametrize("copies", [0, 1])
def test_a_state_that_is_loaded_in_part_is_torn(
    training: Training, monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    training.step(1)
    saved = training.saved()
    training.step(2)
    left, whole = [copies], cupy.ndarray.set

    def set_some(array: cupy.ndarray, host: Array) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        whole(array, host)

    with monkeypatch.context() as patched:
        patched.setattr(cupy.ndarray, "set", set_some)
        with pytest.raises(KeyboardInterrupt):
            training.optimizer.load_state_dict(saved[1])
    with pytest.raises(BackendError, match="step 2 was torn; load a state"):
        training.step(2)
    training.restore(saved)
    training.step(2)


def test_only_what_the_call_counted_is_lost_with_gradient_accumulation() -> None:
    options = {"gradient_accumulation_steps": 3, "momentum": 0.5}
    training, twin = (Training((0, 1), **options) for _ in range(2))
    for seed in range(1, 8):
        saved = training.saved()
        with failing_after(0), pytest.raises(LaunchFailure):
            training.step(seed)
        training.restore(saved)
        training.step(seed)
        twin.step(seed)
        training.assert_like(twin)


def test_a_step_of_the_rule_alone_can_be_torn() -> None:
    training = Training((0, 1))
    training.step(1)
    gradient = training.gradients(2)[0]
    with failing_after(0), pytest.raises(LaunchFailure):
        training.optimizer.update_step(gradient, training.variables[0], 0.1)
    with pytest.raises(BackendError, match="step 2 was torn"):
        training.step(2)


def test_a_torn_call_cannot_be_captured() -> None:
    training, stream = Training((0, 1)), cupy.cuda.Stream(non_blocking=True)
    torn(training)
    gradients = training.gradients(2)
    with stream:
        stream.begin_capture()
        with pytest.raises(BackendError, match="step 2 was torn"):
            training.optimizer.apply(gradients)
        graph = stream.end_capture()
    before = [fetched(variable) for variable in training.variables]
    graph.launch()
    for variable, value in zip(training.variables, before, strict=True):
        assert_same_bits(fetched(variable), value, "variable")


def test_a_constraint_that_fails_tears_nothing() -> None:
    """It runs after the step, which is counted."""

    def refuse(array: object) -> NoReturn:
        raise ZeroDivisionError

    variable = Variable(cupy.asarray(make(50, 1)), constraint=refuse)
    optimizer = RMSprop()
    optimizer.build([variable])
    with pytest.raises(ZeroDivisionError):
        optimizer.apply([cupy.asarray(make(50, 2))])
    assert optimizer.state_dict()["iteration"] == 1
