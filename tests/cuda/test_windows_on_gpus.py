"""Windows of gradient accumulation in which a GPU leaves out what is not finite: it knows which step is due."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gpu import assert_close, blocks_of, capture, cupy
from skipping import BAD, EVERYWHERE, OPTION_SETS, Run

from rmsprop_jit import LossScaleOptimizer, OptionError, RMSprop
from rmsprop_jit.codegen.backends.cuda import device

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def small_blocks() -> Iterator[None]:
    """The simulator has a thread for each of a GPU's."""
    with blocks_of(8):
        yield


def run_of(steps: int, **options: Any) -> Run:
    return Run(lambda: RMSprop(0.1, nonfinite="skip", gradient_accumulation_steps=steps, **options))


def refuse_to_wait(patched: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the host waits")

    patched.setattr(device, "fetch", refuse)
    patched.setattr(device, "wait_for", refuse)


@pytest.mark.parametrize("options", OPTION_SETS if EVERYWHERE else OPTION_SETS[:2], ids=str)
@pytest.mark.parametrize("steps", [2, 3])
def test_no_call_waits(steps: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each window is over so many good gradients, wherever bad ones come."""
    run = run_of(steps, **options)
    good = [run.gradients() for _ in range(2 * steps + 1)]
    order = [gradients for i, one in enumerate(good) for gradients in [*bad_ones(one, i % 3), one]]
    arrays = [[cupy.asarray(one) for one in gradients] for gradients in order]
    run.optimizer.apply(arrays[0])  # which makes the kernels and the clock
    with monkeypatch.context() as patched:
        refuse_to_wait(patched)
        for gradients in arrays[1:]:
            run.optimizer.apply(gradients)
    assert (run.optimizer.iterations, run.optimizer.skipped_steps) == (2, len(order) - len(good))
    for gradients in good:
        run.twin.apply([cupy.asarray(one) for one in gradients])
    run.assert_same()


def bad_ones(good: list[Any], count: int) -> list[list[Any]]:
    """So many calls in which one gradient is not finite."""
    found = [[one.copy() for one in good] for _ in range(count)]
    for i, gradients in enumerate(found):
        gradients[i].flat[-1] = BAD[i]
    return found


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_other_variables_may_have_gradients_in_other_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host asks when they change, goes on by itself until what is open is closed, and then leaves it again."""
    run = run_of(2)
    kinds = [(0, 1, 2), (0, 1, 2), (0, 1), (0, 1), (0, 1), (1, 2), (0, 2), (1, 2), (1, 2), (0, 1, 2), (0, 1, 2)]
    for i, given in enumerate(kinds):
        gradients = [one if place in given else None for place, one in enumerate(run.gradients())]
        bad = [None if one is None else np.full_like(one, BAD[i % 3]) for one in gradients]
        run.optimizer.apply([None if one is None else cupy.asarray(one) for one in bad])
        for optimizer in (run.optimizer, run.twin):
            optimizer.apply([None if one is None else cupy.asarray(one) for one in gradients])
    assert run.optimizer.skipped_steps == len(kinds)
    run.assert_same()
    run.both(run.gradients())
    with monkeypatch.context() as patched:
        refuse_to_wait(patched)
        run.optimizer.apply([cupy.asarray(one) for one in run.gradients()])


def test_a_window_goes_on_in_another_optimizer() -> None:
    run = run_of(3)
    run.skips(0, 0, math.inf)
    run.both(run.gradients())
    other = RMSprop(0.1, nonfinite="skip", gradient_accumulation_steps=3)
    other.build(run.variables)
    other.load_state_dict(run.optimizer.state_dict())
    run.optimizer = other
    for i in range(4):
        run.skips(i % 3, 0, BAD[i % 3])
        run.both(run.gradients())
    run.assert_same()


def test_a_graph_of_one_call_goes_through_windows() -> None:
    """Launched with what is good and what is not: the GPU knows which of them opens, and which closes, a window."""
    run = run_of(3, global_clipnorm=1.0)
    first = run.gradients()
    run.both(first)
    held = [cupy.asarray(one.copy()) for one in first]
    graph = capture(lambda: run.optimizer.apply(held))
    for i in range(8):
        good = run.gradients()
        for gradients in [*bad_ones(good, i % 2), good]:
            for one, value in zip(held, gradients, strict=True):
                one.set(value)
            graph.launch()
        run.twin.apply([cupy.asarray(one) for one in good])
    assert (run.optimizer.iterations, run.optimizer.skipped_steps) == (3, 4)
    for mine, theirs in zip(run.variables, run.others, strict=True):
        assert_close(mine.get(), theirs.get(), 3e-6, 1e-6)
    warned = pytest.warns(UserWarning, match="do not exist")
    with warned, pytest.raises(OptionError, match="Received: a call with gradients for others"):
        run.optimizer.apply([held[0], None, None])


def test_a_loss_scale_goes_around_a_window() -> None:
    optimizers = [
        LossScaleOptimizer(RMSprop(0.1, gradient_accumulation_steps=2), 8.0, dynamic_growth_steps=2) for _ in range(2)
    ]
    start = np.linspace(-1, 1, 30).astype(np.float32)
    variables: list[Any] = [start.copy(), cupy.asarray(start)]
    for value in (1.0, math.nan, 2.0, math.inf, 3.0, 4.0, 5.0):
        gradient = np.full(30, value, np.float32)
        optimizers[0].apply([gradient], [variables[0]])
        optimizers[1].apply([cupy.asarray(gradient)], [variables[1]])
        assert optimizers[0].dynamic_scale == optimizers[1].dynamic_scale
    assert (optimizers[1].iterations, optimizers[1].skipped_steps) == (2, 2)
    assert_close(variables[1].get(), variables[0], 3e-6, 1e-6)


def test_what_skips_no_more_waits_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(lambda: RMSprop(0.1, nonfinite="skip"))
    run.skips(0, 0, math.nan)
    run.both(run.gradients())
    for one in (run.optimizer, run.twin):
        one.nonfinite = "propagate"
    run.both(run.gradients())
    with monkeypatch.context() as patched:
        refuse_to_wait(patched)
        run.both(run.gradients())
    run.assert_same()
