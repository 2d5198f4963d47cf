"""Calls that fail while they are captured, in the simulator, which can let a launch fail."""

import numpy as np
import pytest
from compare import assert_same_bits, make
from gpu import capture, cupy
from simulated_gpu import LaunchFailure, failing_after

from rmsprop_jit import RMSprop


def test_a_call_that_fails_while_it_is_captured_is_not_counted() -> None:
    variable, gradient = cupy.asarray(make()), cupy.asarray(make(seed=1))
    optimizer = RMSprop()
    optimizer.build([variable])
    for launches in range(2):
        with failing_after(launches), pytest.raises(LaunchFailure):
            capture(lambda: optimizer.apply([gradient]))
    assert optimizer.iterations == 0
    assert np.array_equal(variable.get(), make())
    graph = capture(lambda: optimizer.apply([gradient]))
    with failing_after(0), pytest.raises(LaunchFailure):
        capture(lambda: optimizer.apply([gradient]))
    graph.launch()
    host, twin = make(), RMSprop()
    twin.apply([gradient.get()], [host])
    assert optimizer.iterations == 1
    assert_same_bits(variable.get(), host, "variable")
