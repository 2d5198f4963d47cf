"""Functions outside on a GPU, on several, and beside the host's: what they raise tears nothing."""

from typing import Any

import numpy as np
import pytest
import simulated_cupy as cupy
from compare import Array, assert_same_bits, make
from outside_rules import BY_SHAPE
from simulated_gpu import LaunchFailure, failing_after
from training import fetched

from rmsprop_jit import NonFiniteError, Optimizer, OptionError, RuleError
from rmsprop_jit.codegen import Expr, Rule, outside
from rmsprop_jit.codegen.errors import BackendError
from rmsprop_jit.codegen.names import Names

PLACES: dict[str, list[int | None]] = {"one": [0, 0], "two": [0, 1], "and_the_host": [0, None]}
"""On which GPU each variable is; None is the host."""


class Told:
    """A function that does what it is told to."""

    def __init__(self) -> None:
        self.act: Any = lambda array: array
        self.kinds: list[str] = []

    def __call__(self, array: Any) -> Any:
        self.kinds.append(type(array).__module__)
        return self.act(array[::-1].copy())


class Trial:
    """Two variables and a rule that calls such a function of its slot."""

    def __init__(self, places: list[int | None], **options: Any) -> None:
        self.places, self.told = places, Told()

        def called(array: Any, step: float) -> Any:
            assert step == self.optimizer.iterations + 1
            return self.told(array)

        def stores(p: Expr, g: Expr, s: Names, h: Names) -> dict[Expr, Expr]:
            m = s.m + g
            return {s.m: m, p: p - h.learning_rate * outside(called, m, h.step)}

        self.optimizer = Optimizer(Rule("told", stores, slots={"m": 0.0}), 0.5, **options)
        self.variables = self.placed([make(6, 1), make(4, 2)])
        self.optimizer.build(self.variables)

    def placed(self, arrays: list[Array]) -> list[Any]:
        """Each array where the variable of its index is."""
        made: list[Any] = []
        for place, array in zip(self.places, arrays, strict=True):
            if place is None:
                made.append(array.copy())
            else:
                with cupy.cuda.Device(place):
                    made.append(cupy.asarray(array))
        return made

    def gradients(self, seed: int) -> list[Array]:
        return [make(6, 10 * seed), make(4, 10 * seed + 1)]

    def step(self, seed: int) -> None:
        self.optimizer.apply(self.placed(self.gradients(seed)))

    def values(self) -> list[Array]:
        return [*map(fetched, self.variables), *(fetched(one.value) for one in self.optimizer.variables[2:])]

    def assert_as(self, before: list[Array]) -> None:
        for value, old in zip(self.values(), before, strict=True):
            assert_same_bits(value, old, "array")


@pytest.fixture(params=list(PLACES.values()), ids=list(PLACES))
def trial(request: pytest.FixtureRequest) -> Trial:
    return Trial(request.param)


def test_steps_have_the_bits_of_the_host(trial: Trial) -> None:
    host = Trial([None, None])
    for seed in range(1, 4):
        trial.step(seed)
        host.step(seed)
    for ours, theirs in zip(trial.variables, host.variables, strict=True):
        np.testing.assert_allclose(fetched(ours), theirs, rtol=3e-7)
    wanted = ["numpy" if place is None else "simulated_cupy" for place in trial.places]
    assert sorted(trial.told.kinds) == sorted(wanted * 3)


def test_what_it_raises_tears_nothing(trial: Trial) -> None:
    twin = Trial(trial.places)
    for one in (trial, twin):
        one.step(1)
    before = trial.values()
    answers = iter([ZeroDivisionError("no"), KeyboardInterrupt()])

    def fail_for_the_smaller(array: Any) -> Any:
        if array.shape == (4,):
            raise next(answers)
        return array

    trial.told.act = fail_for_the_smaller
    with pytest.raises(ZeroDivisionError, match="no"):
        trial.step(2)
    with pytest.raises(KeyboardInterrupt):
        trial.step(2)
    trial.told.act = lambda array: None
    with pytest.raises(RuleError, match=r"outside\(called, \.\.\.\) of 'variable_\d'.*Received: NoneType"):
        trial.step(2)
    assert trial.optimizer.iterations == 1
    trial.assert_as(before)
    trial.told.act = lambda array: array
    for one in (trial, twin):
        one.step(3)
    trial.assert_as(twin.values())


@pytest.mark.parametrize("places", list(PLACES.values()), ids=list(PLACES))
def test_inf_that_it_makes_is_found_as_that_of_gradients(places: list[int | None]) -> None:
    trial = Trial(places, nonfinite="skip")
    trial.step(1)
    before = trial.values()
    trial.told.act = lambda array: array * np.inf if array.shape == (4,) else array
    trial.step(2)
    assert (trial.optimizer.iterations, trial.optimizer.skipped_steps) == (1, 1)
    trial.assert_as(before)
    trial.optimizer.nonfinite = "raise"
    with pytest.raises(NonFiniteError, match=r"outside\(called, \.\.\.\) of 'variable_1' returns inf or nan"):
        trial.step(2)
    trial.assert_as(before)
    trial.told.act = lambda array: array
    trial.step(2)
    assert (trial.optimizer.iterations, trial.optimizer.skipped_steps) == (2, 1)


def test_a_launch_before_the_functions_tears_nothing_and_one_after_them_does() -> None:
    trial = Trial([0, 0])
    trial.step(1)
    before = trial.values()
    with failing_after(0), pytest.raises(LaunchFailure):
        trial.step(2)
    trial.assert_as(before)
    assert trial.optimizer.iterations == 1
    with failing_after(1), pytest.raises(LaunchFailure):
        trial.step(2)
    with pytest.raises(BackendError, match="step 2 was torn"):
        trial.step(2)


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
def test_inf_is_found_before_it_is_called(places: list[int | None]) -> None:
    trial = Trial(places, nonfinite="skip")
    trial.step(1)
    before, calls = trial.values(), len(trial.told.kinds)
    bad = trial.gradients(2)
    bad[1][2] = np.inf
    trial.optimizer.apply(trial.placed(bad))
    assert (trial.optimizer.iterations, trial.optimizer.skipped_steps) == (1, 1)
    assert len(trial.told.kinds) == calls
    trial.assert_as(before)


def test_an_array_of_the_host_is_not_taken_on_a_gpu() -> None:
    trial = Trial([0, 0])
    trial.told.act = lambda array: array.get()
    with pytest.raises(RuleError, match=r"an array of simulated_cupy.*Received: numpy\.ndarray of shape"):
        trial.step(1)


def test_it_is_not_captured_but_a_rule_that_calls_none_of_it_is() -> None:
    stream = cupy.cuda.Stream(non_blocking=True)
    for shape, is_refused in (((3, 4), True), ((5,), False)):
        optimizer, variables = Optimizer(BY_SHAPE.rule), [cupy.asarray(np.ones(shape))]
        optimizer.build(variables)
        gradients = [cupy.asarray(np.ones(shape))]
        with stream:
            stream.begin_capture()
            if is_refused:
                with pytest.raises(OptionError, match=r"Received: outside\(reversed_, \.\.\.\)\..*outside of a graph"):
                    optimizer.apply(gradients)
            else:
                optimizer.apply(gradients)
            stream.end_capture()
