"""A variable, its error and its copy change at once or not at all, whatever interrupts that and whoever calls."""

import threading
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from compare import Array, make
from gpu import cupy
from interrupts import Interrupter

from rmsprop_jit import RMSprop, Variable
from rmsprop_jit.codegen.backends import cpu

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FINE = {".*:parameter": "bfloat16+int8"}
AVERAGED: dict[str, Any] = {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.5}


def assert_shown(array: Array, copy: Array) -> None:
    assert copy.tobytes() == array.astype(BFLOAT16).tobytes()


class Halving:
    """A constraint that halves every other number, and the next time the others; `before` it returns, it calls that."""

    def __init__(self, before: Callable[[], None] | None = None) -> None:
        self.times, self.before = 0, before

    def __call__(self, array: Any) -> Any:
        made = array.copy()
        made[self.times % 2 :: 2] *= 0.5
        self.times += 1
        if self.before is not None:
            before, self.before = self.before, None
            before()
        return made


def bits(optimizer: RMSprop) -> dict[str, bytes]:
    """All of a state that its arrays are."""
    state = optimizer.state_dict(variables=True)
    return {name: np.asarray(one).tobytes() for name, one in state.items() if name not in ("options", "skipped")}


def with_copy(array: Array, **options: Any) -> tuple[RMSprop, Array]:
    optimizer, copy = RMSprop(**options), np.zeros(array.shape, BFLOAT16)
    optimizer.build({"w": array})
    optimizer.copy_to({"w": copy})
    optimizer.apply([make(array.size, 1)])
    return optimizer, copy


@pytest.mark.parametrize("is_fine", [False, True])
def test_a_constraint_that_comes_too_late_leaves_all(is_fine: bool) -> None:
    def call_beside() -> None:
        """It does what is due, and is done itself, before the constraint returns that it was due for."""
        thread = threading.Thread(target=lambda: optimizers[0].apply([make(9, 2)]))
        thread.start()
        thread.join()

    arrays = [make(9).astype(BFLOAT16 if is_fine else np.float32) for _ in range(2)]
    late, timely = Halving(call_beside), Halving()
    optimizers = [RMSprop(0.1, storage=FINE if is_fine else None, seed=1) for _ in range(2)]
    copies = [np.zeros(9, BFLOAT16) for _ in range(2)]
    for optimizer, array, copy, constraint in zip(optimizers, arrays, copies, (late, timely), strict=True):
        optimizer.build([Variable(array, name="w", constraint=constraint)])
        if not is_fine:
            optimizer.copy_to([copy])
    optimizers[0].apply([make(9, 1)])
    for seed in (1, 2):
        timely.times += seed == 1
        optimizers[1].apply([make(9, seed)])
    ours, theirs = (bits(one) for one in optimizers)
    assert ours == theirs
    if not is_fine:
        assert_shown(arrays[0], copies[0])


def stop_after(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have a signal come when the compiled call is over in which arrays are written."""
    written = getattr(cpu, name)

    def interrupted(*arguments: Any) -> None:
        written(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(cpu, name, interrupted)


def test_averages_that_are_put_are_in_the_copy_and_have_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = make(9)
    optimizer, copy = with_copy(exact, **AVERAGED)
    fine = make(9).astype(BFLOAT16)
    other = RMSprop(storage=FINE, **AVERAGED)
    other.build({"w": fine})
    for one in (optimizer, other, other):
        one.apply([make(9, 2)])
    assert np.any(other.state_dict()["w.error"])
    before = exact.copy(), fine.copy()
    stop_after(monkeypatch, "copy")
    for one in (optimizer, other):
        with pytest.raises(KeyboardInterrupt):
            one.finalize_variable_values()
    assert exact.tobytes() != before[0].tobytes()
    assert_shown(exact, copy)
    assert fine.tobytes() != before[1].tobytes()
    assert not np.any(other.state_dict()["w.error"])


def test_what_is_loaded_is_in_the_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    array = make(9)
    optimizer, copy = with_copy(array)
    saved = optimizer.state_dict(variables=True)
    optimizer.apply([make(9, 2)])
    before = array.copy()
    with monkeypatch.context() as patched:
        stop_after(patched, "write")
        with pytest.raises(KeyboardInterrupt):
            optimizer.load_state_dict(saved)
    assert array.tobytes() != before.tobytes()
    assert_shown(array, copy)
    array[...] = 1
    optimizer.load_state_dict(optimizer.state_dict())  # without variables: what they hold by now
    assert_shown(array, copy)


def test_an_interrupt_finds_copies_written_or_none() -> None:
    array = make(9)
    optimizer, copy = with_copy(array)
    with Interrupter(1_000_000) as counter:
        optimizer.copy_to([copy])
    last = 1_000_000 - counter.left
    for n in range(max(last - 700, 0), last + 7, 7):
        optimizer.copy_to(None)
        copy[...] = 0
        with Interrupter(n):
            try:
                optimizer.copy_to([copy])
            except KeyboardInterrupt:
                pass
        if is_written := copy.any():
            assert_shown(array, copy)
        optimizer.apply([make(9, n)])
        assert is_written or not copy.any(), f"not written, and not left, at bytecode {n}"


def test_a_call_that_comes_while_copies_are_written_is_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    array = make(9)
    optimizer, copy = with_copy(array)
    replaced, left = cpu.replace, [1, 2]

    def delayed_replace(*arguments: Any) -> bool:
        if left:
            optimizer.apply([make(9, left.pop())])
        return replaced(*arguments)

    monkeypatch.setattr(cpu, "replace", delayed_replace)
    optimizer.copy_to([copy])
    assert not left
    assert_shown(array, copy)


@pytest.mark.gpu
@pytest.mark.parametrize("is_fine", [False, True])
def test_on_a_gpu_a_call_that_is_left_out_leaves_all(is_fine: bool) -> None:
    own = cupy.asarray(make(9).astype(BFLOAT16 if is_fine else np.float32))
    optimizer = RMSprop(0.1, nonfinite="skip", storage=FINE if is_fine else None)
    optimizer.build([Variable(own, name="w", constraint=Halving())])
    there = cupy.asarray(np.zeros(9, BFLOAT16))
    if not is_fine:
        optimizer.copy_to([there])
    for step in range(2):
        optimizer.apply([cupy.asarray(make(9, step))])
    before = bits(optimizer)
    bad = make(9)
    bad[4] = np.nan
    optimizer.apply([cupy.asarray(bad)])
    assert bits(optimizer) == before
    assert optimizer.skipped_steps == 1
    if not is_fine:
        assert_shown(own.get(), there.get())
