"""Calls captured into CUDA graphs, a graph that is launched does what as many calls would do."""

import functools
from typing import Any

import pytest
import zoo
from compare import make
from gpu import assert_as_on_host, assert_close, capture, cupy

import rmsprop_jit
from rmsprop_jit import ArrayError, OptionError, RMSprop, Variable

pytestmark = pytest.mark.gpu


def replayed(options: dict[str, Any], replays: int, calls_in_graph: int, before: int = 1) -> None:
    """Calls before, in and after a graph, against as many calls on the host."""
    variables = [make(50), make(21, 5)]
    gradients = [make(50, 1), make(21, 2)]
    host, ours = [v.copy() for v in variables], RMSprop(**options)
    device, theirs = [cupy.asarray(v) for v in variables], RMSprop(**options)
    on_gpu = [cupy.asarray(gradient) for gradient in gradients]
    theirs.build(device)
    for _ in range(before):
        theirs.apply(on_gpu)

    def work() -> None:
        for _ in range(calls_in_graph):
            theirs.apply(on_gpu)

    graph = capture(work)
    calls = before + calls_in_graph * replays
    assert theirs.state_dict()["iteration"] == before, "capturing is not doing"
    for _ in range(replays):
        graph.launch()
    for _ in range(calls):
        ours.apply(gradients, host)
    assert theirs.iterations == ours.iterations
    for a, b in zip(host, device, strict=True):
        assert_close(b.get(), a, 3e-6, 1e-6)
    theirs.apply(on_gpu)  # and on without a graph
    ours.apply(gradients, host)
    assert theirs.iterations == ours.iterations
    for mine, other in zip(theirs.variables, ours.variables, strict=True):
        assert_close(mine.numpy(), other.numpy(), 3e-6, 1e-6)


@pytest.mark.parametrize("calls_in_graph", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"centered": True, "momentum": 0.9, "weight_decay": 0.1},
        {"global_clipnorm": 0.5, "use_ema": True, "ema_overwrite_frequency": 2},
        {"use_ema": True, "ema_overwrite_frequency": 3, "clipnorm": 0.3},
    ],
    ids=lambda options: "+".join(options) or "plain",
)
def test_a_graph_counts_its_own_steps(options: dict[str, Any], calls_in_graph: int) -> None:
    replayed(options, 4, calls_in_graph)


def test_a_graph_of_a_whole_window_accumulates() -> None:
    replayed({"gradient_accumulation_steps": 3, "momentum": 0.5}, 3, 3, before=3)


def test_a_graph_follows_options_that_are_set_later() -> None:
    variable, gradient = cupy.asarray(make()), cupy.asarray(make(seed=1))
    optimizer = RMSprop(learning_rate=0.1, rho=0.9)
    optimizer.build([variable])
    graph = capture(lambda: optimizer.apply([gradient]))
    host, twin = make(), RMSprop(learning_rate=0.1, rho=0.9)
    for rate, rho in ((0.1, 0.9), (0.02, 0.9), (0.3, 0.5)):
        optimizer.learning_rate = twin.learning_rate = rate
        optimizer.rho = twin.rho = rho
        graph.launch()
        twin.apply([gradient.get()], [host])
    assert_as_on_host(variable.get(), host, "variable")


def test_a_graph_keeps_its_gradients_when_later_calls_have_others() -> None:
    variable, first, second = cupy.asarray(make()), cupy.asarray(make(seed=1)), cupy.asarray(make(seed=2))
    optimizer = RMSprop()
    optimizer.build([variable])
    graph = capture(lambda: optimizer.apply([first]))
    optimizer.apply([second])
    graph.launch()
    host, twin = make(), RMSprop()
    twin.apply([second.get()], [host])
    twin.apply([first.get()])
    assert_as_on_host(variable.get(), host, "variable")


def test_rules_that_read_the_step_are_counted_in_a_graph() -> None:
    variable, gradient = cupy.asarray(make()), cupy.asarray(make(seed=1))
    optimizer, twin, host = rmsprop_jit.Optimizer(zoo.ADAM), rmsprop_jit.Optimizer(zoo.ADAM), make()
    optimizer.build([variable])
    graph = capture(lambda: optimizer.apply([gradient]))
    for _ in range(4):
        graph.launch()
        twin.apply([gradient.get()], [host])
    assert_as_on_host(variable.get(), host, "variable")


def test_what_a_graph_would_freeze_is_refused() -> None:
    variable, gradient = cupy.asarray(make()), cupy.asarray(make(seed=1))
    with pytest.raises(OptionError, match="build"):
        capture(lambda: RMSprop().apply([gradient], [variable]))
    scheduled = RMSprop(rmsprop_jit.ExponentialDecay(0.1, 3, 0.5))
    scheduled.build([variable])
    with pytest.raises(OptionError, match="frozen in a graph"):
        capture(lambda: scheduled.apply([gradient]))
    mixed = RMSprop()
    mixed.build([variable, make()])
    with pytest.raises(ArrayError, match="all variables on one GPU"):
        capture(lambda: mixed.apply([gradient, make()]))
    scheduled.apply([gradient])
    assert scheduled.iterations == 1


def test_a_captured_optimizer_refuses_a_schedule_and_keeps_its_rate() -> None:
    variable, gradient = cupy.asarray(make()), cupy.asarray(make(seed=1))
    optimizer = RMSprop(0.5)
    optimizer.build([variable])
    capture(lambda: optimizer.apply([gradient]))
    with pytest.raises(OptionError, match="frozen in a graph"):
        optimizer.learning_rate = rmsprop_jit.ExponentialDecay(0.1, 3, 0.5)
    assert optimizer.learning_rate == 0.5


def test_a_captured_optimizer_refuses_changes_of_structure() -> None:
    variable, gradient = cupy.asarray(make()), cupy.asarray(make(seed=1))
    optimizer = RMSprop(loss_scale_factor=2.0, gradient_accumulation_steps=2)
    optimizer.build([variable])

    def window() -> None:
        for _ in range(2):
            optimizer.apply([gradient])

    capture(window)
    for name, value in (("loss_scale_factor", None), ("clipnorm", 1.0), ("gradient_accumulation_steps", 3)):
        with pytest.raises(OptionError, match="switched on or off"):
            setattr(optimizer, name, value)
    assert optimizer.loss_scale_factor == 2.0
    optimizer.loss_scale_factor = 4.0


def test_a_refused_capture_leaves_no_trace() -> None:
    variable, gradient = cupy.asarray(make()), cupy.asarray(make(seed=1))
    optimizer = RMSprop(lambda: 0.1)
    optimizer.build([variable])
    with pytest.raises(OptionError, match="frozen in a graph"):
        capture(lambda: optimizer.apply([gradient]))
    optimizer.clipnorm = 1.0
    optimizer.apply([gradient])
    assert optimizer.iterations == 1


def test_update_step_cannot_be_captured() -> None:
    variable: Any = cupy.asarray(make())
    gradient: Any = cupy.asarray(make(seed=1))
    optimizer = RMSprop()
    optimizer.build([variable])
    with pytest.raises(OptionError, match="update_step"):
        capture(lambda: optimizer.update_step(gradient, variable, 0.1))


def test_every_captured_call_follows_every_option() -> None:
    """Graphs of a whole window, one for each call: the first two only add up."""
    options: dict[str, Any] = {"gradient_accumulation_steps": 3, "loss_scale_factor": 2.0, "global_clipnorm": 0.7}
    variable, gradients = cupy.asarray(make()), [cupy.asarray(make(seed=seed)) for seed in (1, 2, 3)]
    optimizer, twin, host = RMSprop(**options), RMSprop(**options), make()
    optimizer.build([variable])
    graphs = []

    def window() -> None:
        for gradient in gradients:
            optimizer.apply([gradient])

    capture(window)  # never launched
    for gradient in gradients:
        graphs.append(capture(functools.partial(optimizer.apply, [gradient])))
        graphs[-1].launch()
        twin.apply([gradient.get()], [host])
        assert optimizer.state_dict()["iteration"] == len(graphs)
    for factor, norm, rate in ((4.0, 0.2, 0.05), (0.5, 30.0, 0.2)):
        for one in (optimizer, twin):
            one.loss_scale_factor, one.global_clipnorm, one.learning_rate = factor, norm, rate
        for graph, gradient in zip(graphs, gradients, strict=True):
            graph.launch()
            twin.apply([gradient.get()])
    assert optimizer.iterations == twin.iterations == 3
    assert_close(variable.get(), host, 3e-6, 1e-6)


def test_constraints_and_averages_are_part_of_a_graph() -> None:
    """Averages of a constrained variable come after its constraint, and are written back every second update."""
    options: dict[str, Any] = {"use_ema": True, "ema_overwrite_frequency": 2, "learning_rate": 0.1}
    ours = Variable(cupy.asarray(make()), constraint=lambda array: array * 0.5)
    host = Variable(make(), constraint=lambda array: array * 0.5)
    gradient, optimizer, twin = cupy.asarray(make(seed=1)), RMSprop(**options), RMSprop(**options)
    optimizer.build([ours])
    twin.build([host])
    graph = capture(lambda: optimizer.apply([gradient]))
    for calls in range(1, 6):
        graph.launch()
        twin.apply([gradient.get()])
        assert optimizer.iterations == calls
        assert_close(ours.numpy(), host.numpy(), 3e-6, 1e-6)
    for mine, theirs in zip(optimizer.variables, twin.variables, strict=True):
        assert_close(mine.numpy(), theirs.numpy(), 3e-6, 1e-6)


def test_a_graph_cannot_follow_what_a_variable_is_told_later() -> None:
    variable, gradient = Variable(cupy.asarray(make()), name="w"), cupy.asarray(make(seed=1))
    optimizer = RMSprop()
    optimizer.build([variable])
    capture(lambda: optimizer.apply([gradient]))
    for wrong, right in (("constraint", None), ("overwrite_with_gradient", False)):
        setattr(variable, wrong, abs if right is None else True)
        with pytest.raises(OptionError, match=r"captured into a graph, which cannot follow.*Received: a variable"):
            optimizer.apply([gradient])
        setattr(variable, wrong, right)
        optimizer.apply([gradient])
    assert optimizer.iterations == 2


def test_a_variable_that_becomes_its_gradient_does_so_in_a_graph() -> None:
    scale, kernel = Variable(cupy.asarray(make(9)), name="scale"), Variable(cupy.asarray(make()), name="w")
    scale.overwrite_with_gradient = True
    gradients = [cupy.asarray(make(9, 1)), cupy.asarray(make(seed=2))]
    optimizer = RMSprop(global_clipnorm=1.0, gradient_accumulation_steps=2)
    optimizer.build([scale, kernel])

    def window() -> None:
        for _ in range(2):
            optimizer.apply(gradients)

    graph = capture(window)
    graph.launch()
    assert_close(scale.numpy(), make(9, 1).clip(min=0), 0, 0)
    assert optimizer.iterations == 1
