"""Calls that a GPU skips and counts by itself, in graphs and outside of them."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from compare import make
from gpu import assert_close, blocks_of, capture, cupy
from skipping import BAD, EVERYWHERE, OPTION_SETS, SHAPES, Run

import rmsprop_jit
from rmsprop_jit import BackendError, OptionError, RMSprop
from rmsprop_jit.codegen.backends.cuda import device
from rmsprop_jit.codegen.backends.cuda.clock import Clock

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def small_blocks() -> Iterator[None]:
    """The simulator has a thread for each of a GPU's."""
    with blocks_of(8):
        yield


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ({"nonfinite": "raise"}, "nonfinite='raise'"),
        ({"nonfinite": "raise", "gradient_accumulation_steps": 2}, "nonfinite='raise'"),
    ],
    ids=["raise", "accumulation"],
)
def test_a_graph_cannot_wait_for_the_host(options: dict[str, Any], received: str) -> None:
    optimizer = RMSprop(0.1, **options)
    variable = cupy.asarray(np.ones(3, np.float32))
    optimizer.build([variable])
    with pytest.raises(OptionError, match=f"Received: {received}"):
        capture(lambda: optimizer.apply([variable]))


@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 2}], ids=str)
def test_a_graph_says_all_that_would_have_to_ask_the_host(options: dict[str, Any]) -> None:
    optimizer = RMSprop(0.1, nonfinite="skip", **options)
    variable = rmsprop_jit.Variable(cupy.asarray(np.ones(3, np.float32)), constraint=lambda array: None)
    optimizer.build([variable])
    with pytest.raises(OptionError, match=r"Received: nonfinite='skip' and constraints\. Capture"):
        capture(lambda: optimizer.apply([variable.value]))


IN_GRAPHS: list[Any] = [
    ("RMSprop", {}),
    ("RMSprop", {"global_clipnorm": 1.0}),
    ("Adam", {"use_ema": True}),
    ("Prodigy", {}),
]


@pytest.mark.parametrize(("name", "options"), IN_GRAPHS, ids=str)
def test_a_graph_skips_without_the_host(name: str, options: dict[str, Any]) -> None:
    """What a launch finds in the gradients' memory decides; numbers that follow from the step do so, too."""
    run = Run(lambda: getattr(rmsprop_jit, name)(nonfinite="skip", **options), ("float64", "float32", "float32"))
    first = run.gradients()
    run.both(first)
    held = [cupy.asarray(one.copy()) for one in first]
    graph = capture(lambda: run.optimizer.apply(held))
    for i in range(3):
        good = run.gradients()
        bad = [one.copy() for one in good]
        bad[i % 3].flat[0] = BAD[i % 3]
        for gradients in (bad, good):
            for one, value in zip(held, gradients, strict=True):
                one.set(value)
            before = run.bits() if gradients is bad else []
            graph.launch()
            assert gradients is good or run.bits() == before
        run.twin.apply([cupy.asarray(one) for one in good])
        assert (run.optimizer.iterations, run.optimizer.skipped_steps) == (i + 2, i + 1)
    assert run.twin.iterations == 4
    for mine, theirs in zip(run.variables, run.others, strict=True):
        assert_close(mine.get(), theirs.get(), 3e-6, 1e-6)
    other = getattr(rmsprop_jit, name)(nonfinite="skip", **options)
    other.build([v.copy() for v in run.variables])
    other.load_state_dict(run.optimizer.state_dict())
    assert (other.iterations, other.skipped_steps) == (4, 3)
    run.optimizer.load_state_dict(run.twin.state_dict())
    graph.launch()
    assert (run.optimizer.iterations, run.optimizer.skipped_steps) == (5, 0)


@pytest.mark.parametrize("options", OPTION_SETS if EVERYWHERE else OPTION_SETS[:2], ids=str)
def test_a_call_that_may_be_skipped_waits_for_nobody(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(lambda: RMSprop(0.1, nonfinite="skip", **options))
    good = [run.gradients() for _ in range(4)]
    bad = [one.copy() for one in good[0]]
    bad[1].flat[104] = math.nan
    order = [good[0], bad, good[1], bad, bad, good[2], good[3]]
    arrays = [[cupy.asarray(one) for one in gradients] for gradients in order]
    run.optimizer.apply(arrays[0])  # which makes the kernels and the clock

    def refuse(*_: object) -> None:
        raise AssertionError("the host waits")

    with monkeypatch.context() as patched:
        patched.setattr(device, "fetch", refuse)
        patched.setattr(device, "wait_for", refuse)
        for gradients in arrays[1:]:
            run.optimizer.apply(gradients)
    assert (run.optimizer.iterations, run.optimizer.skipped_steps) == (4, 3)
    for gradients in good:
        run.twin.apply([cupy.asarray(one) for one in gradients])
    run.assert_same()
    host = RMSprop(0.1, nonfinite="skip", **options)  # and in host memory
    variables = [make(shape, i) for i, shape in enumerate(SHAPES)]
    host.build(variables)
    for gradients in order:
        host.apply(gradients)
    assert (host.iterations, host.skipped_steps) == (4, 3)
    for mine, theirs in zip(run.variables, variables, strict=True):
        assert_close(mine.get(), theirs, 3e-6, 1e-6)


def test_a_schedule_takes_turns_with_a_number() -> None:
    """The rate of each good call is that of its number, whatever was skipped."""
    rates: list[Any] = [rmsprop_jit.ExponentialDecay(0.1, 1, 0.5), 0.05, rmsprop_jit.CosineDecay(0.02, 9)]
    run = Run(lambda: RMSprop(rates[0], nonfinite="skip"))
    for i, rate in enumerate([*rates, 0.05]):
        run.optimizer.learning_rate = run.twin.learning_rate = rate
        run.both(run.gradients())
        run.skips(i % 3, 0, BAD[i % 3])
        run.both(run.gradients())
        assert (run.optimizer.iterations, run.optimizer.skipped_steps) == (2 * i + 2, i + 1)
    run.assert_same()


def test_a_loss_scale_goes_around_a_schedule() -> None:
    optimizers = [rmsprop_jit.LossScaleOptimizer(RMSprop(rmsprop_jit.CosineDecay(0.1, 9)), 8.0) for _ in range(2)]
    variables: list[Any] = [make(30, 0), cupy.asarray(make(30, 0))]
    for value in (1.0, math.nan, 2.0, math.inf, 3.0):
        gradient = np.full(30, value, np.float32)
        optimizers[0].apply([gradient], [variables[0]])
        optimizers[1].apply([cupy.asarray(gradient)], [variables[1]])
        assert optimizers[0].dynamic_scale == optimizers[1].dynamic_scale
    assert (optimizers[1].iterations, optimizers[1].skipped_steps) == (3, 2)
    assert_close(variables[1].get(), variables[0], 3e-6, 1e-6)


def test_options_are_changed_between_calls_that_the_gpu_counts() -> None:
    run = Run(lambda: RMSprop(0.1, nonfinite="skip"))
    run.skips(0, 0, math.nan)
    run.both(run.gradients())
    for name, value in (
        ("rho", 0.5),
        ("momentum", 0.9),
        ("gradient_accumulation_steps", 2),
        ("nonfinite", "propagate"),
    ):
        for one in (run.optimizer, run.twin):
            setattr(one, name, value)
        for _ in range(2):
            run.both(run.gradients())
        if name != "nonfinite":
            run.skips(2, 0, math.inf)
    run.assert_same()


def test_a_call_that_the_gpu_counts_can_be_torn(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(lambda: RMSprop(0.1, nonfinite="skip"))
    run.both(run.gradients())
    kept = run.optimizer.state_dict(variables=True)
    with monkeypatch.context() as patched:
        patched.setattr(Clock, "tick", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no GPU any more")))
        with pytest.raises(RuntimeError, match="no GPU"):
            run.optimizer.apply([cupy.asarray(one) for one in run.gradients()])
    with pytest.raises(BackendError, match="was torn; load a state"):
        run.optimizer.apply([cupy.asarray(one) for one in run.gradients()])
    run.optimizer.load_state_dict(kept)
    run.skips(0, 0, math.nan)
    run.both(run.gradients())
    run.assert_same()
