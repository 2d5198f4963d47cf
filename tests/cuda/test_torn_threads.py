"""Threads beside a call that is under way, or that did not come to its end, on a GPU, and on a GPU and the host."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from simulated_gpu import LaunchFailure, before_launches, failing_after
from training import PLACES, Training

from rmsprop_jit import BackendError


@pytest.fixture(params=list(PLACES.values()), ids=list(PLACES))
def training(request: pytest.FixtureRequest) -> Training:
    return Training(request.param)


class InTheMiddle:
    """A call on another thread that waits before its second launch, and goes on at the end of the `with` block."""

    def __init__(self, training: Training, seed: int) -> None:
        self._reached, self._go_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(training, seed))
        self._launches = 0

    def _run(self, training: Training, seed: int) -> None:
        with before_launches(self._wait):
            training.step(seed)

    def _wait(self) -> None:
        self._launches += 1
        if self._launches == 2 and threading.current_thread() is self._thread:
            self._reached.set()
            assert self._go_on.wait(60)

    def __enter__(self) -> None:
        self._thread.start()
        assert self._reached.wait(60)

    def __exit__(self, *problem: object) -> None:
        self._go_on.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


def test_a_call_beside_one_that_is_under_way_is_refused_and_harms_neither(training: Training) -> None:
    training.step(1)
    saved, gradients = training.saved(), training.gradients(3)
    with InTheMiddle(training, 2):
        works: list[Callable[[], object]] = [
            lambda: training.optimizer.apply(gradients),
            lambda: training.optimizer.load_state_dict(saved[1]),
        ]
        for work in works:
            with pytest.raises(BackendError, match=r"call 2 of this optimizer is under way\. .*one thread"):
                work()
    assert training.optimizer.iterations == 2
    training.step(3)
    twin = Training(training.on_gpu)
    for seed in (1, 2, 3):
        twin.step(seed)
    training.assert_like(twin)


def test_a_state_that_is_read_beside_a_call_is_of_before_or_after(training: Training) -> None:
    training.step(1)
    read: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: read.append(training.saved()[1]))
    with InTheMiddle(training, 2):
        reader.start()
        reader.join(0.05)
        assert reader.is_alive(), "it waits for the call"
    reader.join(60)
    for name, value in training.optimizer.state_dict().items():
        assert np.array_equal(read[0][name], value), name
    assert read[0]["iteration"] == 2


def test_a_thread_that_left_a_call_torn_is_not_waited_for(training: Training) -> None:
    """It may live on, in a pool, and do other things."""
    training.step(1)
    failed, end = threading.Event(), threading.Event()

    def work() -> None:
        with pytest.raises(LaunchFailure):
            training.step(2)
        failed.set()
        end.wait(60)

    thread = threading.Thread(target=work)
    with failing_after(1):
        thread.start()
        assert failed.wait(60)
    try:
        with pytest.raises(BackendError, match="step 2 was torn"):
            training.step(2)
        with pytest.raises(BackendError, match="step 2 was torn"):
            training.optimizer.state_dict()
    finally:
        end.set()
        thread.join(60)
