"""What the host works out for many updates at once, where a GPU leaves out what is not finite and counts the rest."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gpu import assert_close, blocks_of, cupy
from skipping import BAD, EVERYWHERE

import rmsprop_jit
from rmsprop_jit import AdamW, Optimizer, OptionError, combinators
from rmsprop_jit.codegen import Flag, Rule, RuleError, where
from rmsprop_jit.codegen.backends.cuda import device
from rmsprop_jit.codegen.backends.cuda.clock import Clock

pytestmark = pytest.mark.gpu

SHAPES: list[Any] = [5, (1, 2)]

SEVEN = Rule(  # as many kinds of steps as there are remainders, each with a step of its own
    "seven",
    lambda p, g, h, on: {p: p - h.learning_rate * where(on.odd, g, where(on.third, 2 * g, where(on.fifth, 3 * g, -g)))},
    flags={
        "odd": Flag(when=lambda h: h.step % 2 == 1),
        "third": Flag(when=lambda h: h.step % 3 == 0),
        "fifth": Flag(when=lambda h: h.step % 5 == 0),
        "rate": Flag(when=lambda h: h.learning_rate > 0.01),
    },
)
DECAY = rmsprop_jit.ExponentialDecay(0.1, 3, 0.7)
GROUPS = {
    "0": {"learning_rate": rmsprop_jit.CosineDecay(0.1, 20)},
    "1": {"learning_rate": 0.03, "weight_decay": 0.0},
}
MADE: dict[str, Any] = {
    "a schedule of a group": lambda **more: AdamW(0.1, groups=GROUPS, weight_decay=0.1, **more),
    "schedules of both": lambda **more: AdamW(DECAY, groups=GROUPS, **more),
    "RAdam": lambda **more: rmsprop_jit.RAdam(0.1, **more),
    "RAdam, scheduled": lambda **more: rmsprop_jit.RAdam(DECAY, groups=GROUPS, **more),
    "AdaGC": lambda **more: rmsprop_jit.AdaGC(0.1, **more),
    "Nadam": lambda **more: rmsprop_jit.Nadam(DECAY, **more),
    "NosAdam": lambda **more: rmsprop_jit.NosAdam(0.1, **more),
    "ScheduleFreeAdamW": lambda **more: rmsprop_jit.ScheduleFreeAdamW(0.1, warmup_steps=4, **more),
    "Adagrad": lambda **more: rmsprop_jit.Adagrad(0.1, **more),
    "ADOPT": lambda **more: rmsprop_jit.ADOPT(DECAY, **more),
    "lookahead": lambda **more: Optimizer(combinators.lookahead(rmsprop_jit.Adam, 3), 0.1, **more),
    "many kinds": lambda **more: Optimizer(SEVEN, DECAY, **more),
}


@pytest.fixture(autouse=True)
def small_blocks() -> Iterator[None]:
    """The simulator has a thread for each of a GPU's."""
    with blocks_of(8):
        yield


def named(arrays: list[Any], on_gpu: bool = True) -> dict[str, Any]:
    return {str(i): cupy.asarray(array) if on_gpu else array for i, array in enumerate(arrays)}


class Trial:
    """An optimizer on a GPU that is brought what is bad, too, and one in host memory that is not."""

    def __init__(self, make: Any, patched: pytest.MonkeyPatch) -> None:
        self.rng = np.random.default_rng(3)
        values = [self.rng.normal(size=shape).astype(np.float32) for shape in SHAPES]
        self.variables = [named(values), named([v.copy() for v in values], False)]
        self.optimizers = [make(nonfinite="skip") for _ in self.variables]
        for optimizer, variables in zip(self.optimizers, self.variables, strict=True):
            optimizer.build(variables)
        self.waits, self._fetch = 0, device.fetch
        patched.setattr(device, "fetch", self._fetched)

    def _fetched(self, array: Any) -> Any:
        self.waits += 1
        return self._fetch(array)

    def gradients(self) -> list[Any]:
        return [self.rng.normal(size=shape).astype(np.float32) for shape in SHAPES]

    def bad(self, which: int) -> list[Any]:
        found = self.gradients()
        found[which % 2].flat[-1] = BAD[which % 3]
        return found

    def apply(self, gradients: list[Any]) -> bool:
        """A call of the one that is looked at; whether it waited."""
        before = self.waits
        self.optimizers[0].apply(named(gradients))
        return self.waits > before

    def other(self, gradients: list[Any]) -> None:
        self.optimizers[1].apply(named(gradients, False))

    def bits(self) -> list[bytes]:
        """All of state but how many calls were skipped."""
        state = self.optimizers[0].state_dict(variables=True)
        return [np.asarray(value).tobytes() for name, value in state.items() if name != "skipped"]

    def assert_same(self) -> None:
        mine, here = (one.state_dict(variables=True) for one in self.optimizers)
        assert int(mine.pop("skipped")) > 0
        assert mine.keys() == {*here} - {"skipped"}
        for name, value in mine.items():
            if np.asarray(value).dtype == np.float32:
                assert_close(value, here[name], 1e-5, 1e-5)
            elif np.asarray(value).dtype.kind != "U":
                assert np.array_equal(value, here[name]), name


SOME = [("schedules of both", 2), ("Nadam", None), ("ADOPT", None)]
TRIED = [(name, steps) for name in MADE for steps in (None, 2)] if EVERYWHERE else SOME


@pytest.mark.parametrize(("name", "steps"), TRIED)
def test_no_call_waits_but_now_and_then(name: str, steps: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """At first after 8 updates, then after 16: whichever calls are skipped, each update is that of its number."""
    trial = Trial(lambda **more: MADE[name](gradient_accumulation_steps=steps, **more), monkeypatch)
    calls, waited = 10 * (steps or 1), []
    for i in range(calls):
        good = trial.gradients()
        if i % 3 == 2:
            waited.append(trial.apply(trial.bad(i)))
        waited.append(trial.apply(good))
        trial.other(good)
    firsts = steps or 1  # updates of new variables are made by the host, where a rule asks for them
    assert sum(waited[firsts + 1 :]) <= 2 + (name == "many kinds"), waited
    assert (trial.optimizers[0].iterations, trial.optimizers[0].skipped_steps) == (10, calls // 3)
    trial.assert_same()


def test_what_the_host_keeps_is_what_the_gpu_has_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product over all updates: read, saved, loaded and changed between calls of which some are skipped."""
    trial = Trial(MADE["Nadam"], monkeypatch)
    for i in range(4):
        before = trial.bits()
        trial.apply(trial.bad(i))
        assert trial.bits() == before
        good = trial.gradients()
        trial.apply(good)
        trial.other(good)
        kept = trial.optimizers[0].state_dict()["all/u_product"]
        assert kept == trial.optimizers[1].state_dict()["all/u_product"] != 1
        for optimizer in trial.optimizers:
            optimizer.beta_1 = 0.9 - i / 100
    state = trial.optimizers[0].state_dict(variables=True)
    trial.apply(trial.gradients())
    trial.optimizers[0].load_state_dict(state)
    good = trial.gradients()
    trial.apply(good)
    trial.other(good)
    trial.assert_same()


def test_a_kind_of_step_that_is_not_known_yet_waits_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """More kinds than the clock has room for: those that fit are worked out, and the others when it is their turn."""
    monkeypatch.setattr(Clock, "MOST_KINDS", 2)
    trial = Trial(MADE["many kinds"], monkeypatch)
    for i in range(5):
        good = trial.gradients()
        trial.apply(trial.bad(i))
        trial.apply(good)
        trial.other(good)
    trial.assert_same()


def test_what_a_function_raises_of_a_later_step_is_raised_then(monkeypatch: pytest.MonkeyPatch) -> None:
    def due(h: Any) -> bool:
        if h.step > 3:
            raise ValueError("no step behind the third")
        return bool(h.step % 2)

    rule = Rule("ends", lambda p, g, on: {p: p - where(on.due, g, -g)}, flags={"due": Flag(when=due)})
    trial = Trial(lambda **more: Optimizer(rule, 0.1, **more), monkeypatch)
    for i in range(3):
        trial.apply(trial.bad(i))
        trial.apply(trial.gradients())
    with pytest.raises(RuleError, match="no step behind the third"):
        trial.apply(trial.gradients())
    assert (trial.optimizers[0].iterations, trial.optimizers[0].skipped_steps) == (3, 3)


def test_a_function_in_place_of_a_groups_rate_is_refused() -> None:
    optimizer = AdamW(0.1, groups={"0": {"learning_rate": lambda: 0.1}}, nonfinite="skip")
    with pytest.raises(OptionError, match=r"Received: learning_rate=<function .*Pass a LearningRateSchedule"):
        optimizer.build(named([np.ones(3, np.float32)]))
