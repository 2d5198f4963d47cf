"""Averaged weights on a GPU, on two, and on a GPU and the host: swapped for all variables or for none."""

from typing import Any

import numpy as np
import pytest
import simulated_cupy as cupy
from compare import Array, make
from simulated_gpu import LaunchFailure, failing_after
from training import PLACES, fetched

from rmsprop_jit import BackendError, Optimizer, OptionError, RMSprop, ScheduleFreeAdamW

MAKERS: dict[str, Any] = {
    "ema": lambda: RMSprop(0.1, use_ema=True, ema_momentum=0.5),
    "own": lambda: ScheduleFreeAdamW(0.1, warmup_steps=3),
}
each_place = pytest.mark.parametrize("on_gpu", PLACES.values(), ids=PLACES)
each = pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)


def trained(maker: Any, on_gpu: tuple[int, ...]) -> tuple[Optimizer, list[Any]]:
    hosts = [make(40, 1), make(9, 2).astype(np.float64)]
    placed = [cupy.asarray(host) if i in on_gpu else host for i, host in enumerate(hosts)]
    optimizer: Optimizer = maker()
    for step in range(2):
        gradients = [make(40, 5 + step), make(9, 9 + step).astype(np.float64)]
        optimizer.apply([cupy.asarray(g) if i in on_gpu else g for i, g in enumerate(gradients)], placed)
    return optimizer, placed


def bits(variables: list[Any]) -> list[bytes]:
    return [np.asarray(fetched(one)).tobytes() for one in variables]


def host(variables: list[Any]) -> list[Array]:
    return [np.asarray(fetched(one)) for one in variables]


@each_place
@each
def test_a_gpu_has_the_averages_of_the_host_and_then_its_own_bits(maker: Any, on_gpu: tuple[int, ...]) -> None:
    optimizer, variables = trained(maker, on_gpu)
    twin, others = trained(maker, ())
    before = bits(variables)
    with optimizer.averaged(), twin.averaged():
        assert bits(variables) != before
        for mine, theirs in zip(host(variables), host(others), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-7)
        with pytest.raises(OptionError, match="Leave the block first"):
            optimizer.apply([one * 0 for one in variables])
        with pytest.raises(OptionError, match="Leave the block first"):
            optimizer.update_step(variables[0] * 0, variables[0], 0.1)
        with pytest.raises(OptionError, match="Leave the block first"):
            optimizer.state_dict()
        with pytest.raises(OptionError, match="Leave the block first"):
            optimizer.finalize_variable_values() if optimizer.use_ema else optimizer.build(variables)
    assert bits(variables) == before
    optimizer.apply([one * 0 for one in variables])
    assert optimizer.iterations == 3


@pytest.mark.parametrize("launches", [0, 1])
@each
def test_a_launch_that_fails_on_the_way_in_leaves_all_as_it_was(maker: Any, launches: int) -> None:
    optimizer, variables = trained(maker, (0, 1))
    before, state = bits(variables), optimizer.state_dict()
    with failing_after(launches), pytest.raises(LaunchFailure), optimizer.averaged():
        raise AssertionError
    assert bits(variables) == before
    assert state.keys() == optimizer.state_dict().keys()
    with optimizer.averaged():
        assert bits(variables) != before
    assert bits(variables) == before


def test_a_torn_call_is_refused() -> None:
    optimizer, variables = trained(MAKERS["ema"], (0, 1))
    with failing_after(1), pytest.raises(LaunchFailure):
        optimizer.apply([one * 0 for one in variables])
    with pytest.raises(BackendError, match="was torn; load a state"), optimizer.averaged():
        raise AssertionError
