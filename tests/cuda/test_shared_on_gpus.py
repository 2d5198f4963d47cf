"""Slots over all where kernels run on a GPU, or on a GPU and the host: in the simulator."""

import numpy as np
import pytest
import simulated_cupy as cupy
from coarse import NADAM
from compare import make
from gpu import capture
from simulated_gpu import LaunchFailure, failing_after
from training import fetched

from rmsprop_jit import BackendError, Optimizer, OptionError

PLACES = {"gpu": (True, True), "both": (True, False)}


@pytest.mark.parametrize("on_gpu", PLACES.values(), ids=PLACES)
def test_a_gpu_trains_as_the_host_does(on_gpu: tuple[bool, ...]) -> None:
    hosts = [make(40, 1), make(5, 2)]
    ours = [cupy.asarray(host) if there else host.copy() for host, there in zip(hosts, on_gpu, strict=True)]
    optimizer, twin = Optimizer(NADAM), Optimizer(NADAM)
    for step in range(1, 11):
        gradients = [make(40, step + 5), make(5, step + 50)]
        given = [cupy.asarray(one) if there else one for one, there in zip(gradients, on_gpu, strict=True)]
        optimizer.apply(given, ours)
        twin.apply(gradients, hosts)
        assert optimizer.state_dict()["all/product"] == twin.state_dict()["all/product"]
    for mine, theirs in zip(ours, hosts, strict=True):
        np.testing.assert_allclose(fetched(mine), theirs, rtol=1e-6)


@pytest.mark.parametrize("on_gpu", PLACES.values(), ids=PLACES)
def test_a_torn_call_leaves_it_as_the_count_does(on_gpu: tuple[bool, ...]) -> None:
    hosts = [make(40, 1), make(5, 2)]
    ours = [cupy.asarray(host) if there else host.copy() for host, there in zip(hosts, on_gpu, strict=True)]
    optimizer = Optimizer(NADAM)
    optimizer.build(ours)
    gradients = [cupy.asarray(make(40, 3)), cupy.asarray(make(5, 4)) if on_gpu[1] else make(5, 4)]
    optimizer.apply(gradients)
    state = optimizer.state_dict()
    with failing_after(0), pytest.raises(LaunchFailure):
        optimizer.apply(gradients)
    with pytest.raises(BackendError, match="torn"):
        optimizer.apply(gradients)
    optimizer.load_state_dict(state)
    assert optimizer.state_dict()["all/product"] == state["all/product"]
    optimizer.apply(gradients)
    assert optimizer.state_dict()["all/product"] < state["all/product"]


def test_a_capture_is_refused() -> None:
    optimizer, variable, gradient = Optimizer(NADAM), cupy.asarray(make()), cupy.asarray(make())
    optimizer.build([variable])
    with pytest.raises(OptionError, match=r"a slot over 'all' is computed on the host.*\['product'\]"):
        capture(lambda: optimizer.apply([gradient]))
