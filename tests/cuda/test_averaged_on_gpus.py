"""Averaged weights on a GPU, on two, and on a GPU and the host: swapped for all variables or for none."""

from typing import Any

import numpy as np
import pytest
from compare import Array, make
from gpu import capture, cupy
from training import PLACES, fetched

from rmsprop_jit import Optimizer, OptionError, RMSprop, ScheduleFreeAdamW

pytestmark = pytest.mark.gpu

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


def test_an_optimizer_with_calls_in_a_graph_is_refused_and_so_is_a_capture_inside() -> None:
    """A graph is launched without asking."""
    optimizer, variables = trained(MAKERS["ema"], (0, 1))
    gradients = [one * 0 for one in variables]
    with optimizer.averaged(), pytest.raises(OptionError, match="Leave the block first"):
        capture(lambda: optimizer.apply(gradients))
    graph = capture(lambda: optimizer.apply(gradients))
    before = bits(variables)
    with pytest.raises(OptionError, match=r"captured into a CUDA graph\. Load its state_dict"), optimizer.averaged():
        raise AssertionError
    assert bits(variables) == before
    graph.launch()
    assert optimizer.iterations == 3
