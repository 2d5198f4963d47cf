"""How often a step on a GPU copies something there, and how many kernels it starts."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import simulated_cupy as cupy
import simulated_gpu
from compare import assert_same_bits, make
from gpu import capture

from rmsprop_jit import Optimizer, PiecewiseConstantDecay, RMSprop
from rmsprop_jit.codegen import Expr, Rule
from rmsprop_jit.codegen.backends.cuda import uploads
from rmsprop_jit.codegen.names import Names


class Counts:
    """Copies and launches since the last look."""

    def __init__(self) -> None:
        self.uploads = self.launches = 0

    def taken(self) -> tuple[int, int]:
        """Both, which then begin at 0 again."""
        found = self.uploads, self.launches
        self.uploads = self.launches = 0
        return found

    def launch(self) -> None:
        """Count a launch."""
        self.launches += 1


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counts]:
    """What is counted during a test."""
    counted, copy = Counts(), uploads.UPLOADS.copy

    def copied(target: Any, values: Any) -> None:
        counted.uploads += 1
        copy(target, values)

    monkeypatch.setattr(uploads.UPLOADS, "copy", copied)
    with simulated_gpu.before_launches(counted.launch):
        yield counted


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

CASES: dict[str, tuple[dict[str, Any], int, list[int]]] = {
    "plain": ({}, 1, []),
    "averages": (EMA, 1, [1]),
    "averages that overwrite": ({**EMA, "ema_overwrite_frequency": 3}, 1, [1, 2, 3, 5]),
    "averages and a norm": ({**EMA, "global_clipnorm": 0.5}, 4, [1]),
    "a schedule": ({"learning_rate": PiecewiseConstantDecay([2, 4], [0.1, 0.05, 0.01])}, 1, [3, 5]),
    "clipnorm": ({"clipnorm": 0.5}, 4, []),
    "global_clipnorm": ({"global_clipnorm": 0.5}, 4, []),
}
"""Options, the launches of a step, and the steps (counted from 0) that have other numbers than the one before."""


@pytest.mark.parametrize("name", CASES)
def test_only_steps_with_other_numbers_than_the_last_copy_them(name: str, counts: Counts) -> None:
    options, launches, changes = CASES[name]
    found = steps(RMSprop(**options), RMSprop(**options), counts)
    makes_anew = launches == 1  # where a norm is taken, its kernel makes the numbers in every step
    for step, seen in enumerate(found):
        if step > 0:
            assert seen == ((1, launches + makes_anew) if step in changes else (0, launches)), (step, found)


def test_fresh_gradients_are_one_copy_and_the_numbers_none(counts: Counts) -> None:
    variable, optimizer = cupy.asarray(make()), RMSprop(**EMA)
    gradients = [cupy.asarray(make(seed=seed)) for seed in range(5)]
    for gradient in gradients:
        counts.taken()
        optimizer.apply([gradient], [variable])
    assert counts.taken() == (1, 1)


def test_a_rate_that_is_assigned_is_sent_and_the_same_one_again_is_not(counts: Counts) -> None:
    variable, gradient, optimizer = cupy.asarray(make()), cupy.asarray(make(seed=1)), RMSprop(**EMA)
    found = []
    for rate in (0.1, 0.1, 0.1, 0.2, 0.2, 0.3):
        optimizer.learning_rate = rate
        optimizer.apply([gradient], [variable])
        found.append(counts.taken()[0])
    assert found[2:] == [0, 1, 0, 1]


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


def test_what_a_gpu_computes_in_its_own_way_is_sent_with_every_step(counts: Counts) -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {p: p - g * (1 - h.beta**h.step)}

    rule = Rule("debiased", equations, hypers={"beta": 1e-300})
    found = steps(Optimizer(rule), Optimizer(rule), counts)
    assert [uploads for uploads, _ in found[1:]] == [1] * 5
