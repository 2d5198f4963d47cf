"""Learning-rate schedules: Keras's six formulas, its reference values, what they refuse, and their use in RMSprop."""

import math
import os
import pickle
from collections.abc import Callable
from typing import Any

os.environ["KERAS_BACKEND"] = "numpy"

import keras
import numpy as np
import pytest

import rmsprop_jit
from rmsprop_jit import (
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    LearningRateSchedule,
    OptionError,
    PiecewiseConstantDecay,
    PolynomialDecay,
    RMSprop,
)

ARGUMENTS: dict[type[LearningRateSchedule], list[tuple[Any, ...]]] = {
    ExponentialDecay: [
        (0.1, 10, 0.5),
        (0.1, 7, 0.96, True),
        (1.0, 1, 0.9),
        (0.3, 100, 1.5),
        (0.01, 2.5, 0.5),
        (0.01, 2.5, 0.5, True),
    ],
    PiecewiseConstantDecay: [
        ([10], [0.1, 0.01]),
        ([0, 1, 2], [1.0, 2.0, 3.0, 4.0]),
        ([5, 10, 20], [0.5, 0.1, 0.05, 0.001]),
        ([3.0, 17.0], [1.0, 0.5, 0.1]),
    ],
    PolynomialDecay: [
        (0.1, 10),
        (0.1, 10, 0.01, 2.0),
        (0.1, 10, 0.01, 1.0, True),
        (0.1, 7, 0.0, 0.5),
        (0.1, 7, 0.05, 2.0, True),
        (0.01, 10, 0.1),
        (0.1, 100),
    ],
    InverseTimeDecay: [
        (0.1, 10, 0.5),
        (0.1, 3, 0.5, True),
        (1.0, 1, 2.0),
        (0.01, 50, 0.1),
    ],
    CosineDecay: [
        (0.1, 10),
        (0.1, 10, 0.1),
        (0.01, 10, 0.1, "name", 0.1, 5),
        (0.0, 30, 0.0, "name", 0.1, 8),
        (0.2, 10, 0.5, "name", 0.1, 5),
        (0.1, 100, 0.01),
        (0.1, 10, 0.0, "name", 0.3, 0),
    ],
    CosineDecayRestarts: [
        (0.1, 10, 2.0, 0.5, 0.1),
        (0.1, 10, 1.0, 0.5, 0.1),
        (0.1, 10),
        (0.2, 3, 3.0, 0.9),
        (0.1, 7, 1.0),
        (0.1, 50, 2.0),
    ],
}
CASES = [(kind, arguments) for kind, rows in ARGUMENTS.items() for arguments in rows]
cases = pytest.mark.parametrize(("kind", "arguments"), CASES, ids=[f"{k.__name__}-{a}" for k, a in CASES])
kinds = pytest.mark.parametrize(("kind", "arguments"), [(kind, rows[1]) for kind, rows in ARGUMENTS.items()])


def theirs(kind: type[LearningRateSchedule], arguments: tuple[Any, ...]) -> Any:
    return getattr(keras.optimizers.schedules, kind.__name__)(*arguments)


@cases
def test_equals_keras(kind: type[LearningRateSchedule], arguments: tuple[Any, ...]) -> None:
    ours, judge = kind(*arguments), theirs(kind, arguments)
    scale = max(abs(ours(step)) for step in range(41))
    for step in range(41):
        # a rate near its end is the small difference of two rounded numbers
        expected = float(np.asarray(judge(step)))
        assert ours(step) == pytest.approx(expected, rel=5e-6, abs=5e-7 * scale), step


@cases
def test_gives_a_float(kind: type[LearningRateSchedule], arguments: tuple[Any, ...]) -> None:
    schedule = kind(*arguments)
    steps: list[Any] = [0, 3, np.int64(7)]
    for step in steps:
        assert type(schedule(step)) is float


@cases
def test_config_goes_round(kind: type[LearningRateSchedule], arguments: tuple[Any, ...]) -> None:
    schedule = kind(*arguments)
    again = kind.from_config(schedule.get_config())
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert again.get_config() == schedule.get_config()
    assert [again(step) for step in range(41)] == [schedule(step) for step in range(41)]
    assert eval(repr(schedule), vars(rmsprop_jit)) == schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule


@cases
def test_config_is_that_of_keras(kind: type[LearningRateSchedule], arguments: tuple[Any, ...]) -> None:
    ours, judge = kind(*arguments).get_config(), theirs(kind, arguments).get_config()
    assert list(ours) == list(judge)
    assert {**ours, "name": None} == {**judge, "name": None}
    assert kind.from_config(judge) == kind.from_config(ours | {"name": judge["name"]})


@kinds
def test_names_are_those_of_keras(kind: type[LearningRateSchedule], arguments: tuple[Any, ...]) -> None:
    assert kind(*arguments[:3]).name == theirs(kind, arguments[:3]).name


def test_unequal_schedules() -> None:
    assert ExponentialDecay(0.1, 10, 0.5) != ExponentialDecay(0.1, 10, 0.6)
    assert ExponentialDecay(0.1, 10, 0.5) != InverseTimeDecay(0.1, 10, 0.5)
    assert ExponentialDecay(0.1, 10, 0.5) != 0.1


VALUES = [
    (ExponentialDecay(0.1, 10, 0.5), {0: 0.1, 1: 0.0933033, 5: 0.07071068, 15: 0.03535534}),
    (ExponentialDecay(0.1, 10, 0.5, staircase=True), {0: 0.1, 9: 0.1, 10: 0.05, 19: 0.05, 20: 0.025}),
    (PiecewiseConstantDecay([10, 20], [0.1, 0.05, 0.01]), {0: 0.1, 10: 0.1, 11: 0.05, 20: 0.05, 21: 0.01}),
    (PolynomialDecay(0.1, 10, 0.01, power=2), {0: 0.1, 1: 0.0829, 5: 0.0325, 10: 0.01, 11: 0.01, 1000: 0.01}),
    (PolynomialDecay(0.1, 10, 0.01, cycle=True), {0: 0.1, 10: 0.01, 15: 0.0325, 30: 0.01}),
    (InverseTimeDecay(0.1, 10, 0.5), {0: 0.1, 1: 0.0952381, 5: 0.08, 10: 0.06666667}),
    (InverseTimeDecay(0.1, 10, 0.5, staircase=True), {9: 0.1, 10: 0.06666667, 19: 0.06666667}),
    (CosineDecay(0.1, 10, alpha=0.1), {0: 0.1, 1: 0.09779754, 5: 0.055, 10: 0.01, 11: 0.01, 1000: 0.01}),
    (
        CosineDecay(0.01, 10, 0.1, warmup_target=0.1, warmup_steps=5),
        {0: 0.01, 1: 0.028, 4: 0.082, 5: 0.1, 10: 0.055, 15: 0.01, 16: 0.01},
    ),
    (
        CosineDecayRestarts(0.1, 10, 2, 0.5, 0.1),
        {0: 0.1, 5: 0.055, 9: 0.01220246, 10: 0.055, 15: 0.04840991, 30: 0.0325, 70: 0.02125},
    ),
    (CosineDecayRestarts(0.1, 10, 1, 0.5, 0.1), {0: 0.1, 10: 0.055, 15: 0.0325, 20: 0.0325, 30: 0.02125}),
]


@pytest.mark.parametrize(("schedule", "values"), VALUES, ids=[repr(schedule) for schedule, _ in VALUES])
def test_reference_values(schedule: Any, values: dict[int, float]) -> None:
    assert {step: schedule(step) for step in values} == pytest.approx(values, rel=1e-6)


@pytest.mark.parametrize("t_mul", [1.1, 1.5, 2, 2.0, 3.7, 7])
def test_every_restart_is_met(t_mul: float) -> None:
    """At the first step of a period the rate is the period's top, or, between two steps, less by what has passed."""
    schedule = CosineDecayRestarts(0.1, 10, t_mul, m_mul=0.9)
    begin, length = 0.0, 10.0
    for period in range(1, 5):
        begin, length = begin + length, length * t_mul
        first = math.ceil(begin)
        passed = (first - begin) / length
        top = 0.1 * 0.9**period
        assert schedule(first) == pytest.approx(top * 0.5 * (1 + math.cos(math.pi * passed)), rel=1e-9)
        assert schedule(first - 1) < schedule(first)


@pytest.mark.parametrize("t_mul", [0.5, 0.9])
def test_shrinking_periods_come_to_an_end(t_mul: float) -> None:
    schedule = CosineDecayRestarts(0.1, 10, t_mul, m_mul=0.5)
    assert all(math.isfinite(schedule(step)) for step in (0, 5, 9, 10, 15, 19, 20, 21, 100, 101, 10_000))
    assert schedule(10) == pytest.approx(0.05)


def test_boundaries_belong_to_the_value_before_them() -> None:
    schedule = PiecewiseConstantDecay([2, 4], [1.0, 0.5, 0.1])
    assert [schedule(step) for step in range(7)] == [1, 1, 1, 0.5, 0.5, 0.1, 0.1]


def test_cycles_begin_after_a_full_period() -> None:
    schedule = PolynomialDecay(0.1, 10, 0.0, cycle=True)
    assert [schedule(step) for step in (0, 5, 10)] == pytest.approx([0.1, 0.05, 0.0], abs=1e-12)
    assert schedule(11) == pytest.approx(0.1 * (1 - 11 / 20))


@pytest.mark.parametrize("steps", [0, -1, 0.0, -10, math.nan])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda steps: ExponentialDecay(0.1, steps, 0.5), "decay_steps"),
        (lambda steps: PolynomialDecay(0.1, steps), "decay_steps"),
        (lambda steps: InverseTimeDecay(0.1, steps, 0.5), "decay_steps"),
        (lambda steps: CosineDecay(0.1, steps), "decay_steps"),
        (lambda steps: CosineDecayRestarts(0.1, steps), "first_decay_steps"),
        (lambda steps: CosineDecayRestarts(0.1, 10, t_mul=steps), "t_mul"),
    ],
    ids=["exponential", "polynomial", "inverse", "cosine", "restarts", "t_mul"],
)
def test_steps_must_be_positive(make: Callable[[float], LearningRateSchedule], name: str, steps: float) -> None:
    with pytest.raises(OptionError, match=rf"Argument `{name}` must be > 0\. Received: {name}="):
        make(steps)


@pytest.mark.parametrize(
    ("boundaries", "values"),
    [([1], [0.1]), ([1, 2], [0.1, 0.2]), ([1], [0.1, 0.2, 0.3]), ([], [0.1]), ([], [])],
)
def test_piecewise_lengths_must_fit(boundaries: list[int], values: list[float]) -> None:
    message = "length of boundaries should be 1 less than the length of values.*Received"
    with pytest.raises(OptionError, match=message):
        PiecewiseConstantDecay(boundaries, values)


def test_numpy_arrays_are_boundaries_and_values() -> None:
    boundaries: Any = np.array([2, 4])
    values: Any = np.array([1.0, 0.5, 0.1])
    schedule = PiecewiseConstantDecay(boundaries, values)
    assert [schedule(step) for step in (2, 3, 5)] == [1, 0.5, 0.1]


def test_a_config_holds_what_the_lists_were() -> None:
    boundaries, values = [2], [1.0, 0.5]
    schedule = PiecewiseConstantDecay(boundaries, values)
    boundaries.append(3)
    values[0] = 9.0
    assert schedule(0) == 1.0
    assert schedule.get_config()["boundaries"] == [2]


def test_the_base_class_must_be_completed() -> None:
    with pytest.raises(NotImplementedError, match="__call__"):
        LearningRateSchedule()(0)
    with pytest.raises(NotImplementedError, match="get_config"):
        LearningRateSchedule().get_config()


# in RMSprop


@kinds
def test_each_call_uses_the_rate_of_the_calls_before_it(
    kind: type[LearningRateSchedule], arguments: tuple[Any, ...]
) -> None:
    schedule, v = kind(*arguments), np.zeros(1)
    optimizer = RMSprop(schedule, rho=1.0, epsilon=1.0)  # steps of learning_rate * gradient
    for step in range(15):
        before = float(v[0])
        assert optimizer.learning_rate == schedule(step)
        optimizer.apply([np.ones(1)], [v])
        assert before - v[0] == pytest.approx(schedule(step), rel=1e-12, abs=1e-15)


@kinds
def test_float32_variables_follow_keras(kind: type[LearningRateSchedule], arguments: tuple[Any, ...]) -> None:
    rng = np.random.default_rng(0)
    v = rng.normal(size=20).astype(np.float32)
    judged = keras.Variable(v.copy(), dtype="float32")
    ours = RMSprop(kind(*arguments), momentum=0.5)
    judge = keras.optimizers.RMSprop(theirs(kind, arguments), momentum=0.5)
    for _ in range(15):
        gradient = rng.normal(size=20).astype(np.float32)
        ours.apply([gradient], [v])
        judge.apply([gradient], [judged])
    np.testing.assert_allclose(v, np.asarray(judged.value), rtol=2e-5, atol=2e-6)


@kinds
def test_an_optimizers_config_holds_the_schedule(kind: type[LearningRateSchedule], arguments: tuple[Any, ...]) -> None:
    optimizer = RMSprop(kind(*arguments))
    config = optimizer.get_config()
    assert config["learning_rate"] == keras.optimizers.schedules.serialize(theirs(kind, arguments))
    again = RMSprop.from_config(config)
    assert [again.get_config(), again.learning_rate] == [config, optimizer.learning_rate]


@kinds
def test_keras_own_serialized_schedule_is_understood(
    kind: type[LearningRateSchedule], arguments: tuple[Any, ...]
) -> None:
    config = keras.optimizers.schedules.serialize(theirs(kind, arguments))
    optimizer = RMSprop(config)
    assert optimizer.learning_rate == kind(*arguments)(0)


def test_schedule_replaces_number_and_back() -> None:
    optimizer, v = RMSprop(1.0, rho=1.0, epsilon=1.0), np.zeros(1)
    optimizer.apply([np.ones(1)], [v])
    optimizer.learning_rate = PiecewiseConstantDecay([1], [5.0, 7.0])
    optimizer.apply([np.ones(1)], [v])
    optimizer.apply([np.ones(1)], [v])
    optimizer.learning_rate = 2
    optimizer.apply([np.ones(1)], [v])
    assert -v[0] == 1 + 5 + 7 + 2


class Mine(LearningRateSchedule):
    """A schedule of a user."""

    def __init__(self, top: float) -> None:
        self.top = top

    def __call__(self, step: int) -> float:
        return self.top / (step + 1)

    def get_config(self) -> dict[str, Any]:
        return {"top": self.top}


def test_a_schedule_of_ones_own() -> None:
    optimizer, v = RMSprop(Mine(1.0), rho=1.0, epsilon=1.0), np.zeros(1)
    for _ in range(3):
        optimizer.apply([np.ones(1)], [v])
    assert -v[0] == pytest.approx(1 + 1 / 2 + 1 / 3)
    assert Mine.from_config(Mine(2).get_config()) == Mine(2)
    assert len(optimizer.variables) == 2
    again = RMSprop.from_config(optimizer.get_config())
    assert again.learning_rate == 1.0


def test_schedules_are_a_value_of_the_package() -> None:
    assert {kind.__name__ for kind in ARGUMENTS} <= set(rmsprop_jit.__all__)
