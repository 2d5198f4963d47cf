"""State and graphs: what a graph did is saved and copied, and what is loaded is where a graph goes on."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compare import make
from gpu import assert_as_on_host, capture, cupy

import rmsprop_jit
from rmsprop_jit import ArrayError, RMSprop
from rmsprop_jit.codegen import Rule

pytestmark = pytest.mark.gpu


def test_saving_between_launches_keeps_what_was_added_up() -> None:
    variable, gradient = cupy.asarray(make()), cupy.asarray(make(seed=1))
    optimizer = RMSprop(gradient_accumulation_steps=2)
    optimizer.build([variable])
    graphs = [capture(lambda: optimizer.apply([gradient])) for _ in range(2)]
    graphs[0].launch()
    state = optimizer.state_dict()
    assert state["iteration"] == 1
    assert state["window"].all()
    assert np.array_equal(state["variable_0_gradient_accumulator"], make(seed=1))
    twin = copy.deepcopy(optimizer)
    (added,) = (slot for slot in twin.variables if slot.name.endswith("gradient_accumulator"))
    assert np.array_equal(added.numpy(), make(seed=1))
    with pytest.raises(ArrayError):
        optimizer.load_state_dict({**state, "surplus": np.zeros(3)})
    assert optimizer.state_dict()["variable_0_gradient_accumulator"].any()


def test_a_graph_follows_a_rate_that_is_loaded() -> None:
    variable, gradient = cupy.asarray(make()), cupy.asarray(make(seed=1))
    optimizer = RMSprop(0.1)
    stored: dict[str, Any] = {}
    optimizer.build([variable])
    optimizer.save_own_variables(stored)
    stored["1"] = np.float64(1e-6)
    graph = capture(lambda: optimizer.apply([gradient]))
    optimizer.load_own_variables(stored)
    graph.launch()
    assert np.max(np.abs(variable.get() - make())) < 1e-5


@pytest.mark.parametrize(
    "twin_of", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("launches", [1, 2])
def test_a_copy_of_an_optimizer_with_a_graph_has_what_the_graph_did(
    twin_of: Callable[[RMSprop], RMSprop], launches: int
) -> None:
    """It counts for itself from then on; graphs go on with the original."""
    options: dict[str, Any] = {"gradient_accumulation_steps": 3, "momentum": 0.9}
    variable, gradient = cupy.asarray(make()), cupy.asarray(make(seed=1))
    optimizer, twin_on_host, host = RMSprop(**options), RMSprop(**options), make()
    optimizer.build([variable])
    for _ in range(launches):
        capture(lambda: optimizer.apply([gradient])).launch()
    twin = twin_of(optimizer)  # nothing has asked the clock since
    capture(lambda: optimizer.apply([gradient])).launch()
    again = cupy.asarray(make())
    twin.build([again])
    for _ in range(3 - launches):
        twin.apply([gradient])
    for _ in range(3):
        twin_on_host.apply([gradient.get()], [host])
    assert twin.iterations == 1
    assert_as_on_host(again.get(), host, "variable")
    assert optimizer.state_dict()["iteration"] == launches + 1
    twin.clipnorm = 1.0  # no graph of its own


def test_a_state_that_is_loaded_sets_the_clock() -> None:
    """Of a rule that has no slots, too; what a graph does next is the update after those that were loaded."""
    rule = Rule("decaying", lambda p, g, s, h, on: {p: p - h.learning_rate / h.step * g})
    variable, gradient = cupy.asarray(make()), cupy.asarray(make(seed=1))
    optimizer, twin, host = rmsprop_jit.Optimizer(rule), rmsprop_jit.Optimizer(rule), make()
    optimizer.build([variable])
    twin.build([host])
    graph = capture(lambda: optimizer.apply([gradient]))
    graph.launch()
    twin.apply([gradient.get()])
    for calls in (7, 0, 3):
        state = {**twin.state_dict(), "iteration": np.array(calls)}
        for one in (optimizer, twin):
            one.load_state_dict(state)
        assert optimizer.iterations == calls
        graph.launch()
        twin.apply([gradient.get()])
        assert optimizer.iterations == calls + 1
        assert_as_on_host(variable.get(), host, "variable")


def test_a_variable_that_never_adds_up_has_no_window_after_a_graph() -> None:
    rule = Rule("shrinking", lambda p, g, s, h, on: {p: p * 0.5})
    variable, gradient = cupy.asarray(make()), cupy.asarray(make(seed=1))
    optimizer = rmsprop_jit.Optimizer(rule, gradient_accumulation_steps=2)
    optimizer.build([variable])
    graph = capture(lambda: optimizer.apply([gradient]))
    graph.launch()
    state = optimizer.state_dict()
    assert state["iteration"] == 1
    assert not state["window"].any()
    optimizer.load_state_dict(state)
    optimizer.apply([gradient])
    np.testing.assert_array_equal(variable.get(), make() * np.float32(0.5))
