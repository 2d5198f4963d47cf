"""Schedules far out, at step 0 and of odd arguments: what Keras's formulas are in float64, and never a raw error."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

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

FAR: list[tuple[LearningRateSchedule, int, float]] = [
    (ExponentialDecay(0.1, 1, 1.5), 10_000, math.inf),
    (ExponentialDecay(0.1, 1, 2), 10_000, math.inf),
    (ExponentialDecay(-0.1, 1, 1.5, staircase=True), 10_000, -math.inf),
    (ExponentialDecay(0.0, 1, 1.5), 10_000, math.nan),
    (ExponentialDecay(0.1, 1, 0.5), 10_000, 0.0),
    (ExponentialDecay(0.1, 1, 0), 0, 0.1),
    (ExponentialDecay(0.1, 2, -0.5), 1, math.nan),
    (ExponentialDecay(0.1, 5e-324, 2.0, staircase=True), 1, math.inf),
    (InverseTimeDecay(0.1, 1, -1.0), 1, math.inf),
    (InverseTimeDecay(0.1, 1, -0.5, staircase=True), 2, math.inf),
    (InverseTimeDecay(0.0, 1, -1), 1, math.nan),
    (InverseTimeDecay(0.1, 5e-324, 1.0, staircase=True), 1, 0.0),
    (PolynomialDecay(0.1, 10, 0.01, power=-1.0), 10, math.inf),
    (PolynomialDecay(0.1, 10, 0.01, power=-1), 10, math.inf),
    (PolynomialDecay(0.1, 10, 0.01, power=-1.0, cycle=True), 20, math.inf),
    (PolynomialDecay(0.1, 10, 0.01, power=0.0), 10, 0.1),
    (PolynomialDecay(0.1, 10, 0.01, cycle=True), 0, 0.1),
    (PolynomialDecay(0.1, 5e-324, 0.01, cycle=True), 1, 0.1),
    (CosineDecay(0.1, 10, alpha=0.1), 10**18, 0.1 * 0.1),
    (CosineDecay(0.1, 10, warmup_target=0.2, warmup_steps=0), 0, 0.2),
    (CosineDecayRestarts(0.1, 1, t_mul=1, m_mul=2.0), 10_000, math.inf),
    (CosineDecayRestarts(0.1, 1, t_mul=1, m_mul=2), 10**9, math.inf),
    (CosineDecayRestarts(0.1, 1, t_mul=1, m_mul=0), 0, 0.1),
    (CosineDecayRestarts(0.1, 1, t_mul=1, m_mul=0.5), 10_000, 0.0),
    (CosineDecayRestarts(0.1, 1e-3, t_mul=1.001, m_mul=1e300), 10_000, math.inf),
    (PiecewiseConstantDecay([10], [1, 2]), 10**30, 2.0),
]


@pytest.mark.parametrize(("schedule", "step", "expected"), FAR, ids=lambda x: f"{x}")
def test_a_rate_far_out_is_that_of_the_formula(schedule: LearningRateSchedule, step: int, expected: float) -> None:
    rate = schedule(step)
    assert type(rate) is float
    assert rate == expected or (math.isnan(rate) and math.isnan(expected))


ODD: dict[type[LearningRateSchedule], list[list[Any]]] = {
    ExponentialDecay: [[0.1, 0], [1, 2.5, 1e-300, 1e300], [-2.0, -1, 0, 0.5, 3, 1e200], [False, True]],
    InverseTimeDecay: [[0.1, 0], [1, 2.5, 1e-300, 1e300], [-2.0, -1, 0, 0.5, 3, 1e200], [False, True]],
    PolynomialDecay: [[0.1, 1], [1, 7.5, 1e-300, 1e300], [0.0, 0.1], [-2, -0.5, 0, 0.5, 300], [False, True]],
    CosineDecay: [[0.1, 0], [1, 7.5, 1e-300, 1e300], [0.0, 1e300]],
    CosineDecayRestarts: [[0.1, 1], [1, 7.5, 1e300], [0.5, 1, 2.0], [-3, 0, 0.5, 1e300], [0.0, 0.1]],
}


@pytest.mark.parametrize("kind", ODD)
def test_no_argument_and_no_step_is_a_raw_error(kind: type[LearningRateSchedule]) -> None:
    for arguments in itertools.product(*ODD[kind]):
        for step in (0, 1, 2, 10, 12_345, 2**53, 2**63 - 1):
            assert type(kind(*arguments)(step)) is float


def test_formulas_are_those_of_keras_in_float64() -> None:
    """`keras/src/optimizers/schedules/learning_rate_schedule.py`, with float64 for its tensors."""
    with np.errstate(all="ignore"):
        for step, rate, decay in itertools.product((0, 1, 7, 5000), (0.1, 3.0), (0.5, 1.5, -1.5)):
            passed = np.float64(step) / np.float64(3.0)
            power = np.float64(rate) * np.power(np.float64(decay), passed)
            inverse = np.float64(rate) / (np.float64(1) + np.float64(decay) * np.floor(passed))
            assert np.array_equal(ExponentialDecay(rate, 3, decay)(step), power, equal_nan=True)
            assert np.array_equal(InverseTimeDecay(rate, 3, decay, staircase=True)(step), inverse, equal_nan=True)


def test_an_optimizer_refuses_such_a_rate_before_it_writes() -> None:
    weights = [np.ones(3, np.float32)]
    optimizer = RMSprop(InverseTimeDecay(0.1, 1, -1.0))
    optimizer.apply([np.ones(3, np.float32)], weights)
    before = weights[0].copy()
    with pytest.raises(OptionError, match=r"`learning_rate` must be a finite number\. Received: learning_rate=inf"):
        optimizer.apply([np.ones(3, np.float32)])
    assert np.array_equal(weights[0], before)
    assert optimizer.iterations == 1
