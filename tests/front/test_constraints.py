"""Constraints: the caller's own function comes after counting, and nothing that it does is half done or silent."""

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rmsprop_jit import RMSprop, Variable
from rmsprop_jit.errors import ArrayError, BackendError

Array = npt.NDArray[Any]


class Trouble(Exception):
    """What a constraint of these tests raises."""


class Halving:
    """A constraint that halves, and fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.calls = failures, 0

    def __call__(self, array: Array) -> Array:
        self.calls += 1
        if self.failures:
            self.failures -= 1
            array[...] = 99
            raise Trouble
        return array * np.float32(0.5)


def new(constraint: Callable[[Array], Any] | None, **options: Any) -> tuple[RMSprop, list[Any]]:
    """An optimizer over a constrained variable and one without a constraint."""
    variables = [
        Variable(np.linspace(-1, 1, 7, dtype=np.float32), name="bound", constraint=constraint),
        Variable(np.linspace(1, 2, 5, dtype=np.float32), name="free"),
    ]
    optimizer = RMSprop(0.1, **options)
    optimizer.build(variables)
    return optimizer, variables


GRADIENTS = [np.linspace(1, 2, 7, dtype=np.float32), np.linspace(-1, 1, 5, dtype=np.float32)]

OPTIONS: list[dict[str, Any]] = [
    {},
    {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3},
    {"gradient_accumulation_steps": 2, "momentum": 0.5, "use_ema": True},
]


def everything(optimizer: RMSprop, variables: list[Any]) -> list[bytes]:
    """State and variables, to the bit; reading the state does what is due. The options name the constraint."""
    state = {name: value for name, value in optimizer.state_dict().items() if name != "options"}
    return [np.asarray(value).tobytes() for value in state.values()] + [v.numpy().tobytes() for v in variables]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("failures", [1, 3])
def test_a_constraint_that_raised_is_due_and_the_next_call_applies_it_first(
    options: dict[str, Any], failures: int
) -> None:
    failing = Halving()
    ours, theirs = new(failing, **options), new(Halving(), **options)
    for update in range(1, 5):
        for _ in range(options.get("gradient_accumulation_steps", 1) - 1):
            ours[0].apply(GRADIENTS)
        failing.failures = failures
        for _ in range(failures):
            with pytest.raises(Trouble) as caught:
                ours[0].apply(GRADIENTS)
            assert "'bound'" in caught.value.__notes__[0]
            assert ours[0].iterations == update
            assert not (ours[1][0].numpy() == 99).any(), "what a constraint did before it failed is kept"
        while theirs[0].iterations < update:
            theirs[0].apply(GRADIENTS)
        assert everything(*ours) == everything(*theirs)


def test_after_a_failed_constraint_state_is_read_with_it_applied_if_it_can_be() -> None:
    ours, theirs = new(Halving(1), use_ema=True), new(Halving(), use_ema=True)
    with pytest.raises(Trouble):
        ours[0].apply(GRADIENTS)
    theirs[0].apply(GRADIENTS)
    assert everything(*ours) == everything(*theirs)


def pickled(pair: Any) -> Any:
    return pickle.loads(pickle.dumps(pair))


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_what_is_due_is_done_before_an_optimizer_is_copied(copied: Callable[[Any], Any]) -> None:
    ours, theirs = new(Halving(1), use_ema=True), new(Halving(), use_ema=True)
    with pytest.raises(Trouble):
        ours[0].apply(GRADIENTS)
    theirs[0].apply(GRADIENTS)
    twin, variables = copied(ours)
    twin.build(variables)
    for optimizer in (twin, theirs[0]):
        optimizer.apply(GRADIENTS)
    assert everything(twin, variables) == everything(*theirs)


def test_other_calls_do_what_is_due_first() -> None:
    def finalize(optimizer: RMSprop, variables: list[Any]) -> None:
        optimizer.finalize_variable_values()

    def alone(optimizer: RMSprop, variables: list[Any]) -> None:
        optimizer.update_step(GRADIENTS[0], variables[0], 0.1)

    def change(optimizer: RMSprop, variables: list[Any]) -> None:
        optimizer.momentum = 0.5

    for work in (finalize, alone, change):
        ours, theirs = new(Halving(1), use_ema=True), new(Halving(), use_ema=True)
        with pytest.raises(Trouble):
            ours[0].apply(GRADIENTS)
        theirs[0].apply(GRADIENTS)
        for optimizer, variables in (ours, theirs):
            work(optimizer, variables)
        assert everything(*ours) == everything(*theirs)


def test_a_loaded_state_has_nothing_due() -> None:
    constraint = Halving()
    optimizer, _ = new(constraint)
    saved = optimizer.state_dict()
    constraint.failures = 100
    with pytest.raises(Trouble):
        optimizer.apply(GRADIENTS)
    optimizer.load_state_dict(saved)
    constraint.failures = constraint.calls = 0
    optimizer.apply(GRADIENTS)
    assert constraint.calls == 1
    assert optimizer.iterations == 1


def test_threads_apply_each_constraint_once_per_call() -> None:
    ours, theirs = new(Halving(), use_ema=True), new(Halving(), use_ema=True)
    problems: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(40):
                ours[0].apply(GRADIENTS)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for _ in range(200):
        theirs[0].apply(GRADIENTS)
    assert not problems
    assert everything(*ours) == everything(*theirs)


def test_a_constraint_may_read_the_state_but_not_make_calls() -> None:
    read: list[int] = []

    def curious(array: Array) -> Array:
        read.append(int(optimizer.state_dict()["iteration"]) + optimizer.iterations)
        return array * np.float32(0.5)

    def greedy(array: Array) -> Array:
        other.apply(GRADIENTS)
        return array

    optimizer, variables = new(curious, use_ema=True)
    twin = new(Halving(), use_ema=True)
    optimizer.apply(GRADIENTS)
    twin[0].apply(GRADIENTS)
    assert read == [2]
    assert everything(optimizer, variables) == everything(*twin)
    other, _ = new(greedy)
    with pytest.raises(BackendError, match="a constraint called the optimizer"):
        other.apply(GRADIENTS)
    assert other.iterations == 1


# What a constraint may return.


def clipped_in_place(array: Array) -> None:
    np.clip(array, -0.5, 0.5, out=array)


def test_a_constraint_may_work_in_place_and_return_nothing() -> None:
    ours, theirs = new(clipped_in_place), new(lambda array: np.clip(array, -0.5, 0.5))
    for _ in range(3):
        for optimizer, _variables in (ours, theirs):
            optimizer.apply(GRADIENTS)
        assert everything(*ours) == everything(*theirs)


def test_one_that_works_in_place_may_have_nothing_to_change() -> None:
    optimizer, variables = new(lambda array: np.clip(array, -100, 100, out=array) is None or None)
    optimizer.apply(GRADIENTS)
    assert np.isfinite(variables[0].numpy()).all()


MISFITS: dict[str, tuple[Callable[[Array], Any], str]] = {
    "nothing": (lambda array: None, "returns nothing and changes nothing"),
    "a forgotten return": (lambda array: np.clip(array, 0, 1) is None or None, "returns nothing and changes nothing"),
    "a number": (lambda array: 0.5, r"shape=\(\)"),
    "one row": (lambda array: array[None], r"shape=\(1, 7\)"),
    "too few": (lambda array: array[:3], r"shape=\(3,\)"),
    "complex": (lambda array: array * 1j, "complex64"),
    "truths": (lambda array: array > 0, "bool"),
    "text": (lambda array: "text", "dtype=<U4"),
    "objects": (lambda array: array.astype(object), "object"),
    "too large": (lambda array: array.astype(np.float64) * 1e300, "float32 cannot hold"),
    "masked": (lambda array: np.ma.masked_less(array, 0), "mask"),
}


@pytest.mark.parametrize("what", MISFITS)
def test_what_does_not_fit_is_refused_before_it_is_written(what: str) -> None:
    constraint, message = MISFITS[what]
    ours, theirs = new(constraint), new(None)
    with pytest.raises(ArrayError, match=message) as caught:
        ours[0].apply(GRADIENTS)
    assert "'bound'" in str(caught.value)
    theirs[0].apply(GRADIENTS)
    assert everything(*ours) == everything(*theirs)


@pytest.mark.parametrize("dtype", ["float64", "int32", "float16"])
def test_real_numbers_of_other_dtypes_are_rounded(dtype: str) -> None:
    optimizer, variables = new(lambda array: np.round(array * 4).astype(dtype))
    optimizer.apply(GRADIENTS)
    assert variables[0].dtype == np.float32
    assert (variables[0].numpy() == np.round(variables[0].numpy())).all()


def test_a_constraint_that_returns_the_variable_itself_or_a_list_will_do() -> None:
    array = np.linspace(-1, 1, 4, dtype=np.float32)
    itself = Variable(array, constraint=lambda _: array)
    listed = Variable(np.ones(2, np.float32), constraint=lambda _: [0.5, 0.25])
    single = Variable(-1.0, constraint=lambda value: np.maximum(value, 0))
    optimizer = RMSprop(0.1)
    optimizer.build([itself, listed, single])
    optimizer.apply([np.ones(4, np.float32), np.ones(2, np.float32), np.ones((), np.float32)])
    assert listed.numpy().tolist() == [0.5, 0.25]
    assert float(single) == 0
    assert array[0] < -1
