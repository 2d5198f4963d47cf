"""Constraints where a GPU leaves out what is not finite: what they return counts where the call was done."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gpu import assert_close, blocks_of, cupy
from halving import Halving, Trouble
from skipping import BAD, EVERYWHERE

from rmsprop_jit import RMSprop, Variable
from rmsprop_jit.codegen.backends.cuda import device

pytestmark = pytest.mark.gpu

OPTIONS: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2, "nonfinite": "skip"}
STEPS = [None, 2, 3] if EVERYWHERE else [2]
SIZE = 11


@pytest.fixture(autouse=True)
def small_blocks() -> Iterator[None]:
    """The simulator has a thread for each of a GPU's."""
    with blocks_of(8):
        yield


class Trial:
    """An optimizer on a GPU that is brought what is bad, too, and one in host memory that is not."""

    def __init__(self, **options: Any) -> None:
        self.rng, self.constraint = np.random.default_rng(1), Halving()
        starts = [self.rng.normal(size=SIZE).astype(np.float32) for _ in range(2)]
        self.arrays = [cupy.asarray(starts[0]), cupy.asarray(starts[1])]
        self.here = [one.copy() for one in starts]
        self.optimizers = [RMSprop(0.1, **OPTIONS, **options) for _ in range(2)]
        self.bound = Variable(self.arrays[0], name="bound", constraint=self.constraint)
        self.other = Variable(self.here[0], name="bound", constraint=Halving())
        self.optimizers[0].build([self.bound, Variable(self.arrays[1], name="free")])
        self.optimizers[1].build([self.other, Variable(self.here[1], name="free")])

    def gradients(self) -> list[Any]:
        return [self.rng.normal(size=SIZE).astype(np.float32) for _ in range(2)]

    def apply(self, gradients: list[Any]) -> None:
        self.optimizers[0].apply([cupy.asarray(one) for one in gradients])

    def skips(self, i: int) -> None:
        gradients = self.gradients()
        gradients[i % 2].flat[i] = BAD[i % 3]
        self.apply(gradients)

    def bits(self) -> list[bytes]:
        """All of state but how many calls were skipped."""
        state = self.optimizers[0].state_dict(variables=True)
        return [np.asarray(value).tobytes() for name, value in state.items() if name != "skipped"]

    def assert_same(self, skipped: int) -> None:
        mine, here = (one.state_dict(variables=True) for one in self.optimizers)
        assert int(mine.pop("skipped", 0)) == skipped
        for name, value in mine.items():
            if np.asarray(value).dtype == np.float32:
                assert_close(value, here[name], 1e-5, 1e-6)
        assert mine["iteration"] == here["iteration"]


@pytest.mark.parametrize("steps", STEPS)
def test_no_call_waits(steps: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(gradient_accumulation_steps=steps)

    def refuse(*_: object) -> None:
        raise AssertionError("the host waits")

    first = trial.gradients()
    trial.apply(first)  # which makes the kernels and the clock
    trial.optimizers[1].apply(first)
    with monkeypatch.context() as patched:
        patched.setattr(device, "fetch", refuse)
        patched.setattr(device, "wait_for", refuse)
        for i in range(2 * (steps or 1)):
            trial.skips(i)
            good = trial.gradients()
            trial.apply(good)
            trial.optimizers[1].apply(good)
    trial.assert_same(2 * (steps or 1))


@pytest.mark.parametrize("steps", [None, 2])
def test_a_skipped_call_changes_no_bit(steps: int | None) -> None:
    trial = Trial(gradient_accumulation_steps=steps)
    for i in range(4):
        before = trial.bits()
        trial.skips(i)
        assert trial.bits() == before
        good = trial.gradients()
        trial.apply(good)
        trial.optimizers[1].apply(good)
    trial.assert_same(4)


@pytest.mark.parametrize("is_skipped", [False, True], ids=["done", "skipped"])
def test_a_constraint_that_raised_is_due_and_the_next_call_applies_it_first(is_skipped: bool) -> None:
    trial = Trial()
    for i in range(2):
        before, good = trial.bits(), [trial.gradients() for _ in range(2)]
        trial.constraint.failures = 1
        with pytest.raises(Trouble) as caught:
            trial.skips(i) if is_skipped else trial.apply(good[0])
        assert "'bound'" in caught.value.__notes__[0]
        assert not is_skipped or trial.bits() == before
        if is_skipped:
            trial.apply(good[0])
        trial.apply(good[1])
        for gradients in good:
            trial.optimizers[1].apply(gradients)
        assert trial.optimizers[0].iterations == 2 * i + 2
    trial.assert_same(2 * is_skipped)


def test_a_constraint_is_set_and_taken_away_between_calls() -> None:
    trial = Trial()
    for turn in range(4):
        for own in (trial.bound, trial.other):
            own.constraint = Halving() if turn % 2 else None
        trial.skips(turn)
        good = trial.gradients()
        trial.apply(good)
        trial.optimizers[1].apply(good)
    trial.assert_same(4)
