"""Slots of one number a tensor on a GPU, on a GPU and the host, and in a graph: in the simulator."""

from typing import Any

import numpy as np
import pytest
from coarse import NOVOGRAD
from compare import make
from gpu import capture, cupy
from training import fetched

from rmsprop_jit import Optimizer


def placed(on_gpu: tuple[bool, bool], seed: int) -> list[Any]:
    """Two arrays, each where it belongs."""
    hosts = [make(40, seed), make(5, seed + 1)]
    return [cupy.asarray(host) if there else host for host, there in zip(hosts, on_gpu, strict=True)]


def assert_alike(optimizer: Optimizer, variables: list[Any], twin: Optimizer, hosts: list[Any]) -> None:
    for i, (mine, theirs) in enumerate(zip(variables, hosts, strict=True)):
        np.testing.assert_allclose(fetched(mine), theirs, rtol=3e-6, atol=1e-7)
        own, other = (one.state_dict()[f"variable_{i}_v"] for one in (optimizer, twin))
        np.testing.assert_allclose(own, other, rtol=1e-6)


@pytest.mark.parametrize("on_gpu", [(True, True), (True, False)], ids=["gpu", "gpu and host"])
def test_a_gpu_trains_as_the_host_does(on_gpu: tuple[bool, bool]) -> None:
    variables, hosts = placed(on_gpu, 1), placed((False, False), 1)
    optimizer, twin = Optimizer(NOVOGRAD), Optimizer(NOVOGRAD)
    for step in range(1, 11):
        optimizer.apply(placed(on_gpu, 10 * step), variables)
        twin.apply(placed((False, False), 10 * step), hosts)
    assert_alike(optimizer, variables, twin, hosts)
    assert next(one for one in optimizer.variables if one.name == "variable_0_v").shape == ()


def test_a_graph_reads_what_its_last_launch_has_put() -> None:
    variables, hosts = placed((True, True), 1), placed((False, False), 1)
    gradients, theirs = placed((True, True), 7), placed((False, False), 7)
    optimizer, twin = Optimizer(NOVOGRAD), Optimizer(NOVOGRAD)
    optimizer.build(variables)
    graph = capture(lambda: optimizer.apply(gradients))
    for _ in range(4):
        graph.launch()
        twin.apply(theirs, hosts)
    assert_alike(optimizer, variables, twin, hosts)


def test_states_move_between_places() -> None:
    variables, hosts = placed((True, True), 1), placed((False, False), 1)
    optimizer, twin = Optimizer(NOVOGRAD), Optimizer(NOVOGRAD)
    optimizer.apply(placed((True, True), 7), variables)
    twin.apply(placed((False, False), 7), hosts)
    twin.load_state_dict(optimizer.state_dict())
    optimizer.load_state_dict(twin.state_dict())
    for mine, theirs in zip(variables, hosts, strict=True):
        theirs[...] = fetched(mine)
    optimizer.apply(placed((True, True), 8), variables)
    twin.apply(placed((False, False), 8), hosts)
    assert_alike(optimizer, variables, twin, hosts)
