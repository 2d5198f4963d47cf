"""How often a step on a GPU copies something there, and how many kernels it starts."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import simulated_cupy as cupy
from compare import assert_same_bits, make
from gpu import capture
from gpu_counts import Counts, counted

from rmsprop_jit import Optimizer, PiecewiseConstantDecay, RMSprop
from rmsprop_jit.codegen import Expr, Rule, specialize
from rmsprop_jit.codegen.backends.cuda import frame
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.rules.around import step_of


@pytest.fixture
def counts() -> Iterator[Counts]:
    """What is counted during a test."""
    with counted() as found:
        yield found


def steps(optimizer: Optimizer, twin: Optimizer, counts: Counts, number: int = 6) -> list[tuple[int, int]]:
    """Copies and launches of each step with the same gradients; on the host the same steps have the same result."""
    host, gradients = [make(40), make(7, 1)], [make(40, 2), make(7, 3)]
    ours, theirs = [cupy.asarray(array) for array in host], [cupy.asarray(array) for array in gradients]
    optimizer.build(ours)
    counts.taken()
    found = []
    for _ in range(number):
        optimizer.apply(theirs)
        found.append(counts.taken())
        twin.apply(gradients, host)
    for mine, other in zip(ours, host, strict=True):
        np.testing.assert_allclose(mine.get(), other, rtol=2e-6, atol=1e-6)
    return found


EMA: dict[str, Any] = {"centered": True, "momentum": 0.9, "use_ema": True}

RATE = PiecewiseConstantDecay([2, 4], [0.1, 0.05, 0.01])

CASES: dict[str, tuple[dict[str, Any], int]] = {
    "plain": ({}, 1),
    "averages": (EMA, 1),
    "averages that overwrite": ({**EMA, "ema_overwrite_frequency": 3}, 1),
    "averages and a norm": ({**EMA, "global_clipnorm": 0.5}, 3),
    "a schedule": ({"learning_rate": RATE}, 1),
    "a schedule and a norm": ({"learning_rate": RATE, "clipnorm": 0.5}, 3),
    "clipnorm": ({"clipnorm": 0.5}, 3),
    "global_clipnorm": ({"global_clipnorm": 0.5}, 3),
}
"""Options, and the launches of a step."""


@pytest.mark.parametrize("name", CASES)
def test_steps_copy_no_numbers_whether_they_are_those_of_the_last_or_others(name: str, counts: Counts) -> None:
    options, launches = CASES[name]
    found = steps(RMSprop(**options), RMSprop(**options), counts)
    assert [number for _, number in found] == [launches] * 6
    assert [uploads for uploads, _ in found[1:]] == [0] * 5


def test_fresh_gradients_are_one_copy_and_the_numbers_none(counts: Counts) -> None:
    variable, optimizer = cupy.asarray(make()), RMSprop(**EMA)
    gradients = [cupy.asarray(make(seed=seed)) for seed in range(5)]
    for gradient in gradients:
        counts.taken()
        optimizer.apply([gradient], [variable])
    assert counts.taken() == (1, 1)


def test_a_rate_that_is_assigned_goes_with_the_next_launch_and_is_not_copied(counts: Counts) -> None:
    variable, gradient, optimizer = cupy.asarray(make()), cupy.asarray(make(seed=1)), RMSprop(**EMA)
    host, twin, found = make(), RMSprop(**EMA), []
    for rate in (0.1, 0.1, 0.1, 0.2, 0.2, 0.3):
        optimizer.learning_rate = twin.learning_rate = rate
        optimizer.apply([gradient], [variable])
        found.append(counts.taken())
        twin.apply([make(seed=1)], [host])
        assert_same_bits(variable.get(), host, f"variable at {rate}")
    assert found[1:] == [(0, 1)] * 5


def test_numbers_that_the_host_cannot_judge_reach_a_graph() -> None:
    """The graph counts for itself: of the host's step, overwriting every third and every second one look alike."""
    options: dict[str, Any] = {"use_ema": True, "ema_overwrite_frequency": 5}
    variable, gradient, optimizer = cupy.asarray(make()), cupy.asarray(make(seed=1)), RMSprop(**options)
    host, twin = make(), RMSprop(**options)
    optimizer.build([variable])
    graph = capture(lambda: optimizer.apply([gradient]))
    for frequency in (3, 2):
        optimizer.ema_overwrite_frequency = twin.ema_overwrite_frequency = frequency
        for _ in range(2):
            graph.launch()
            twin.apply([make(seed=1)], [host])
    assert_same_bits(variable.get(), host, "variable")
    for ours, theirs in zip(optimizer.variables, twin.variables, strict=True):
        assert_same_bits(np.asarray(ours.numpy()), np.asarray(theirs.numpy()), ours.name)


def test_numbers_of_any_function_are_made_on_the_host(counts: Counts) -> None:
    """A GPU's own functions may differ in the last bit: what it would make of a step is not the host's."""

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {p: p - g * (1 - h.beta**h.step)}

    rule = Rule("debiased", equations, hypers={"beta": 0.9})
    program = specialize(step_of(rule), (), "float32")
    assert [kernel.name for kernel in frame.sources(program)] == ["step_0"]
    found = steps(Optimizer(rule), Optimizer(rule), counts)
    assert found[1:] == [(0, 1)] * 5
