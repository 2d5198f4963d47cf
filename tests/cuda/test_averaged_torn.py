"""Averaged weights on a GPU whose launches fail: all variables hold them, or none."""

import pytest
import simulated_cupy as cupy
from compare import make
from simulated_gpu import LaunchFailure, failing_after
from training import fetched

from rmsprop_jit import BackendError, RMSprop


def trained() -> tuple[RMSprop, list[cupy.ndarray]]:
    variables = [cupy.asarray(make(40, 1)), cupy.asarray(make(9, 2).astype("float64"))]
    optimizer = RMSprop(0.1, use_ema=True, ema_momentum=0.5)
    for _ in range(2):
        optimizer.apply([one * 0.5 for one in variables], variables)
    return optimizer, variables


def bits(variables: list[cupy.ndarray]) -> list[bytes]:
    return [fetched(one).tobytes() for one in variables]


@pytest.mark.parametrize("launches", [0, 1])
def test_a_launch_that_fails_on_the_way_in_leaves_all_as_it_was(launches: int) -> None:
    optimizer, variables = trained()
    before = bits(variables)
    with failing_after(launches), pytest.raises(LaunchFailure), optimizer.averaged():
        raise AssertionError
    assert bits(variables) == before
    assert optimizer.state_dict()["iteration"] == 2
    with optimizer.averaged():
        assert bits(variables) != before
    assert bits(variables) == before


def test_a_torn_call_is_refused() -> None:
    optimizer, variables = trained()
    with failing_after(1), pytest.raises(LaunchFailure):
        optimizer.apply([one * 0 for one in variables])
    with pytest.raises(BackendError, match="was torn; load a state"), optimizer.averaged():
        raise AssertionError
