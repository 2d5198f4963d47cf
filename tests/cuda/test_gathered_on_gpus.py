"""Slots over all that are given what a step reduces, where that is done on a GPU: no number comes to the host."""

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest
import simulated_cupy as cupy
from compare import Array, assert_same_bits, make
from gathering import GATHERED, MEASURED
from gpu import capture
from gpu_counts import counted
from simulated_gpu import LaunchFailure, failing_after

from rmsprop_jit import ArrayError, BackendError, Optimizer, Prodigy
from rmsprop_jit.codegen import Expr, Rule, Slot, new, sqrt, sum_of_squares
from rmsprop_jit.codegen.names import Names


def total(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {s.total: h.rho * s.total + sum_of_squares(g, over="all") / h.step, p: p - g / sqrt(new(s.total))}


TOTAL = Rule("total", total, slots={"total": Slot(0.0, over="all")}, hypers={"rho": 0.9})


def hosts_of() -> list[Array]:
    return [make(1100, 1), make(5, 2).astype(np.float64), make(0, 3), make(40, 4)]


def gradients_of(step: int) -> list[Array]:
    return [make(one.size, 10 + step).astype(one.dtype) for one in hosts_of()]


def test_a_gpu_trains_as_the_host_does() -> None:
    """Tables of two types make one number, of which every one of them reads the old."""
    hosts, ours = hosts_of(), [cupy.asarray(one) for one in hosts_of()]
    optimizer, twin = Optimizer(MEASURED, 0.05), Optimizer(MEASURED, 0.05)
    for step in range(4):
        optimizer.apply([cupy.asarray(one) for one in gradients_of(step)], ours)
        twin.apply(gradients_of(step), hosts)
        mine, theirs = optimizer.state_dict(), twin.state_dict()
        for name in (*GATHERED, "known"):
            np.testing.assert_allclose(mine[f"all/{name}"], theirs[f"all/{name}"], rtol=1e-6, err_msg=name)
    for one, other in zip(ours, hosts, strict=True):
        np.testing.assert_allclose(one.get(), other, rtol=1e-5, atol=1e-6)
    twin.load_state_dict(optimizer.state_dict())
    assert float(twin.state_dict()["all/d"]) == float(optimizer.state_dict()["all/d"])


def test_a_step_copies_nothing_and_launches_one_more() -> None:
    variable, gradient = cupy.asarray(make(40, 1)), cupy.asarray(make(40, 2))
    rule = Rule(
        "steady",
        lambda p, g, s, h, on: {s.total: s.total + sum_of_squares(g, over="all"), p: p - g / sqrt(new(s.total))},
        slots=TOTAL.slots,
    )
    optimizer = Optimizer(rule)
    with counted() as counts:
        found = []
        for _ in range(3):
            optimizer.apply([gradient], [variable])
            found.append(counts.taken())
    assert [launches for _, launches in found] == [4, 4, 4]  # two loops, the numbers of the second, and the total
    assert [uploads for uploads, _ in found[1:]] == [0, 0]


def test_what_is_said_of_the_launches_of_a_step() -> None:
    """The first loop reads the old number, which each step makes anew."""
    text = Prodigy().explain("launches")
    launches = ["uniforms_0", "step_0", "uniforms_1", "step_1", "gathers_2"]
    assert re.findall(r"^\d\. (\w+)$", text, re.MULTILINE) == launches
    assert "prodigy, float32, d in float64, d_numerator in float64: 5 launches in a step" in text
    assert "for        d, d_numerator from s.d, r0, s.d_numerator, r1\n   blocks     one a step" in text


def test_a_graph_goes_on_with_them() -> None:
    hosts = [make(40, 1), make(5, 2)]
    ours, gradients = [cupy.asarray(one) for one in hosts], [make(40, 3), make(5, 4)]
    optimizer, twin = Optimizer(TOTAL), Optimizer(TOTAL)
    optimizer.build(ours)
    on_gpu = [cupy.asarray(one) for one in gradients]
    optimizer.apply(on_gpu)
    graph = capture(lambda: optimizer.apply(on_gpu))
    for _ in range(3):
        graph.launch()
    for _ in range(4):
        twin.apply(gradients, hosts)
    optimizer.rho = twin.rho = 0.5
    graph.launch()
    optimizer.apply(on_gpu)
    for _ in range(2):
        twin.apply(gradients, hosts)
    assert optimizer.iterations == twin.iterations == 6
    np.testing.assert_allclose(optimizer.state_dict()["all/total"], twin.state_dict()["all/total"], rtol=1e-6)
    for one, other in zip(ours, hosts, strict=True):
        np.testing.assert_allclose(one.get(), other, rtol=1e-6, atol=1e-6)


def test_a_graph_of_a_whole_window_makes_one_number() -> None:
    host, ours = make(40, 1), cupy.asarray(make(40, 1))
    gradients = [make(40, 3), make(40, 4)]
    optimizer, twin = (Optimizer(TOTAL, gradient_accumulation_steps=2) for _ in range(2))
    optimizer.build([ours])
    on_gpu = [cupy.asarray(one) for one in gradients]

    def window() -> None:
        for one in on_gpu:
            optimizer.apply([one])

    graph = capture(window)
    for _ in range(2):
        graph.launch()
    for one in gradients * 2:
        twin.apply([one], [host])
    np.testing.assert_allclose(optimizer.state_dict()["all/total"], twin.state_dict()["all/total"], rtol=1e-6)
    np.testing.assert_allclose(ours.get(), host, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_goes_on_with_a_number_of_its_own(way: Any) -> None:
    ours, gradient = cupy.asarray(make(40, 1)), cupy.asarray(make(40, 3))
    optimizer = Optimizer(TOTAL)
    optimizer.apply([gradient], [ours])
    again, other = way(optimizer), cupy.asarray(ours.get())
    before = optimizer.state_dict()["all/total"]
    again.apply([gradient], [other])
    assert optimizer.state_dict()["all/total"] == before < again.state_dict()["all/total"]
    optimizer.apply([gradient], [ours])
    assert optimizer.state_dict()["all/total"] == again.state_dict()["all/total"]
    assert_same_bits(ours.get(), other.get(), "variable")


def test_a_torn_call_is_told_and_a_state_mends_it() -> None:
    ours, gradients = [cupy.asarray(make(40, 1))], [cupy.asarray(make(40, 3))]
    optimizer = Optimizer(TOTAL)
    optimizer.apply(gradients, ours)
    state, before = optimizer.state_dict(), ours[0].get()
    with failing_after(3), pytest.raises(LaunchFailure):  # all but the last launch, which makes the number
        optimizer.apply(gradients)
    with pytest.raises(BackendError, match="torn"):
        optimizer.apply(gradients)
    ours[0].set(before)
    optimizer.load_state_dict(state)
    optimizer.apply(gradients)
    host, twin = make(40, 1), Optimizer(TOTAL)
    for _ in range(2):
        twin.apply([make(40, 3)], [host])
    np.testing.assert_allclose(optimizer.state_dict()["all/total"], twin.state_dict()["all/total"], rtol=1e-6)


def test_variables_in_several_places_are_refused_before_anything_is_made() -> None:
    variables = [cupy.asarray(make(4)), make(4)]
    optimizer = Prodigy()
    with pytest.raises(ArrayError, match=r"needs all variables in one place.*'d'.*cpu, cuda:0.*an optimizer for each"):
        optimizer.build(variables)
    assert not optimizer.built
    alone = [make(4)]
    optimizer.apply([make(4, 1)], alone)
    assert not np.array_equal(alone[0], make(4))


def test_update_step_leaves_them() -> None:
    variable = cupy.asarray(make(40, 1))
    optimizer = Optimizer(TOTAL)
    optimizer.apply([cupy.asarray(make(40, 2))], [variable])
    before, kept = optimizer.state_dict()["all/total"], variable.get()
    optimizer.update_step(cupy.asarray(make(40, 3)), variable, 0.1)
    assert_same_bits(np.atleast_1d(optimizer.state_dict()["all/total"]), np.atleast_1d(before), "total")
    assert not np.array_equal(variable.get(), kept)
