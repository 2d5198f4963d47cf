"""What replaces options, variables or state has happened or has not, whatever interrupts it."""

import copy
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from interrupts import Interrupter
from small_training import Training, assigning, build

import rmsprop_jit

EVERY = int(os.environ.get("RMSPROP_JIT_INTERRUPTS_EVERY", "97"))
"""One in so many bytecodes is interrupted, and each of the last ones; 1 takes minutes."""

LAST = 120
"""So many bytecodes before the end are all interrupted: there the new is taken over."""

MANY = 10**9


def saved(**options: Any) -> dict[str, Any]:
    """A state of other contents."""
    training = Training(options, 5)
    return training.optimizer.state_dict()


def store(**options: Any) -> dict[str, Any]:
    training, kept = Training(options, 5), dict[str, Any]()
    training.optimizer.save_own_variables(kept)
    return kept


def loading(state: dict[str, Any], mode: str = "check") -> Callable[[Training], object]:
    return lambda training: training.optimizer.load_state_dict(state, options=mode)


def storing(state: dict[str, Any]) -> Callable[[Training], None]:
    return lambda training: training.optimizer.load_own_variables(state)


class Case:
    """A change, and what it is made to; `ready` is done before the calls that follow it, whether it happened or not."""

    def __init__(
        self,
        change: Callable[[Training], object],
        options: dict[str, Any] | None = None,
        made: Callable[[dict[str, Any]], Training] = Training,
        ready: Callable[[Training], None] = lambda training: None,
    ) -> None:
        self.change, self.options, self.made, self.ready = change, options or {}, made, ready

    def new(self) -> Training:
        return self.made(self.options)

    def rest(self, training: Training) -> tuple[Any, ...]:
        """What becomes of a training in the calls after the change."""
        self.ready(training)
        training.step(5)
        return training.seen()


def unbuilt(options: dict[str, Any]) -> Training:
    return Training(options, built=False)


def restored(options: dict[str, Any]) -> Training:
    training = Training(options)
    training.optimizer = copy.deepcopy(training.optimizer)
    return training


WINDOW = {"gradient_accumulation_steps": 2, "momentum": 0.5}
ALL = {"centered": True, "momentum": 0.5, "use_ema": True, "global_clipnorm": 1.0, "gradient_accumulation_steps": 2}
SCHEDULE = rmsprop_jit.ExponentialDecay(0.1, 10, 0.5)
CASES: dict[str, Callable[[], Case]] = {
    "number": lambda: Case(assigning(rho=0.5)),
    "number-in-a-window": lambda: Case(assigning(gradient_accumulation_steps=4), WINDOW),
    "rate": lambda: Case(assigning(learning_rate=0.5), ALL),
    "schedule": lambda: Case(assigning(learning_rate=SCHEDULE)),
    "threads": lambda: Case(assigning(threads=1)),
    "momentum-on": lambda: Case(assigning(momentum=0.9)),
    "centered-off": lambda: Case(assigning(centered=False), ALL),
    "average-on": lambda: Case(assigning(use_ema=True), WINDOW),
    "accumulation-on": lambda: Case(assigning(gradient_accumulation_steps=4)),
    "accumulation-off-in-a-window": lambda: Case(assigning(gradient_accumulation_steps=None), WINDOW),
    "storage": lambda: Case(assigning(storage="bfloat16")),
    "exclusion": lambda: Case(
        lambda training: training.optimizer.exclude_from_weight_decay([training.variables["a"]], ["b"]),
        {"weight_decay": 0.1},
    ),
    "averages": lambda: Case(
        lambda training: training.optimizer.finalize_variable_values(), {"use_ema": True, "ema_momentum": 0.5}
    ),
    "build": lambda: Case(build, ALL, unbuilt, build),
    "build-restored": lambda: Case(build, ALL, restored, build),
    "load": lambda: Case(loading(saved(**ALL)), ALL),
    "load-another-rate": lambda: Case(loading(saved(**ALL, learning_rate=0.5)), ALL),
    "load-other-options": lambda: Case(loading(saved(**ALL, learning_rate=0.5), "load"), {"momentum": 0.9}),
    "load-fewer-options": lambda: Case(loading(saved(), "load"), WINDOW),
    "store": lambda: Case(storing(store(**ALL)), ALL),
    "store-with-another-rate": lambda: Case(storing(store(**WINDOW, learning_rate=0.5)), WINDOW),
}


def places(count: int) -> Iterator[int]:
    yield from range(0, max(count - LAST, 0), EVERY)
    yield from range(max(count - LAST, 0), count)


def interrupted(case: Case, training: Training, n: int) -> int:
    """The change, interrupted at its nth bytecode or where a signal is noticed next; how many there were until then."""
    interrupter = Interrupter(n)
    with interrupter:
        try:
            case.change(training)
        except KeyboardInterrupt:
            pass
    return n - interrupter.left


def on_another_thread(training: Training) -> None:
    """Assign what is there: that takes what an assignment takes, and no lock is left held."""

    def assign() -> None:
        training.optimizer.threads = training.optimizer.threads

    thread = threading.Thread(target=assign, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "a lock is held"


@pytest.mark.parametrize("name", CASES)
def test_an_interrupt_finds_a_change_made_or_not_begun(name: str) -> None:
    case = CASES[name]()
    before, after = case.new(), case.new()
    case.change(after)
    known = {"before": before.seen(), "after": after.seen()}
    assert known["before"] != known["after"] or name in ("build-restored",)
    later = {"before": case.rest(before), "after": case.rest(after)}
    whole = interrupted(case, case.new(), MANY)  # what compiles has been compiled
    assert whole < MANY
    found, reached = set(), 0
    for n in places(whole):
        if n < reached:  # the last interrupt was where this would be
            continue
        training = case.new()
        reached = interrupted(case, training, n)
        seen = training.seen()
        which = [one for one in known if known[one] == seen]
        assert which, f"half a change, interrupted at bytecode {n} of {whole}"
        on_another_thread(training)
        assert case.rest(training) in [later[one] for one in which], f"interrupted at bytecode {n} of {whole}"
        found.update(which)
    assert "before" in found


def test_what_is_switched_off_in_a_window_is_empty_when_it_is_switched_on_again() -> None:
    training, twin = Training(WINDOW, 3), Training(WINDOW, 3)
    training.optimizer.gradient_accumulation_steps = None
    assert not training.optimizer.state_dict()["window"].any()
    training.optimizer.load_state_dict(training.optimizer.state_dict())
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        training.optimizer.apply({"a": training.gradients["a"], "b": None})
    assert training.variables["b"].tobytes() == twin.variables["b"].tobytes()
    training.optimizer.gradient_accumulation_steps = 3
    assert not training.optimizer.state_dict()["window"].any()
    assert not training.optimizer.state_dict()["a_gradient_accumulator"].any()


@pytest.mark.parametrize("value", [{"momentum": 0.5}, {"centered": True}, {"use_ema": True}], ids=str)
def test_no_slots_are_made_for_a_variable_that_is_no_longer_as_it_was_built(value: dict[str, Any]) -> None:
    training = Training({}, 3)
    training.variables["a"].resize((50,), refcheck=False)
    training.gradients["a"].resize((50,), refcheck=False)
    for _ in range(2):
        with pytest.raises(rmsprop_jit.ArrayError, match="'a' has other memory than when"):
            assigning(**value)(training)
        with pytest.raises(rmsprop_jit.ArrayError, match="'a' has other memory than when"):
            training.step(1)
    assert not any(training.optimizer.get_config()[name] for name in value)
