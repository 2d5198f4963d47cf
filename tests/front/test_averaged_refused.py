"""`with optimizer.averaged()`: what is refused inside, and what ends it; nothing is lost or half done."""

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from averaging import EMA, MAKERS, arrays, bits, each, gradients, trained
from compare import Array
from interrupts import Interrupter

from rmsprop_jit import ArrayError, Optimizer, OptionError, RMSprop, Variable

REFUSED: dict[str, Callable[[Any, Any], Any]] = {
    "apply": lambda one, v: one.apply(gradients()),
    "apply_gradients": lambda one, v: one.apply_gradients(zip(gradients(), v, strict=True)),
    "update_step": lambda one, v: one.update_step(np.ones(7, np.float32), v[0], 0.1),
    "finalize": lambda one, v: one.finalize_variable_values(),
    "finalize some": lambda one, v: one.finalize_variable_values(v[:1]),
    "build": lambda one, v: one.build(v),
    "state_dict": lambda one, v: one.state_dict(),
    "save_own_variables": lambda one, v: one.save_own_variables({}),
    "pickle": lambda one, v: pickle.dumps(one),
    "copy": lambda one, v: copy.copy(one),
    "deepcopy": lambda one, v: copy.deepcopy(one),
    "new slots": lambda one, v: setattr(one, "gradient_accumulation_steps", 3),
    "another block": lambda one, v: one.averaged().__enter__(),
}


@pytest.mark.parametrize("act", REFUSED.values(), ids=REFUSED)
def test_what_trains_or_saves_inside_is_refused_before_anything_is_written(act: Callable[[Any, Any], Any]) -> None:
    optimizer, variables = trained(MAKERS["ema"])
    before = bits(variables)
    with optimizer.averaged():
        inside = bits(variables)
        with pytest.raises(OptionError, match=r"hold their averaged weights.*Received: .*Leave the block first"):
            act(optimizer, variables)
        assert bits(variables) == inside
        assert optimizer.iterations == 3
    assert bits(variables) == before
    optimizer.apply(gradients())


def test_loading_inside_is_refused() -> None:
    optimizer, variables = trained(MAKERS["ema"])
    state, store = optimizer.state_dict(), dict[str, Any]()
    optimizer.save_own_variables(store)
    optimizer.apply(gradients())
    before = bits(variables)
    loads: list[Callable[[], object]] = [
        lambda: optimizer.load_state_dict(state),
        lambda: optimizer.load_own_variables(store),
    ]
    with optimizer.averaged():
        for load in loads:
            with pytest.raises(OptionError, match="Leave the block first"):
                load()
    assert bits(variables) == before
    assert optimizer.state_dict()["iteration"] == 4


def test_minimize_inside_is_refused() -> None:
    pytest.importorskip("autograd")
    x = Variable(10.0)
    optimizer = RMSprop(0.1, **EMA)
    optimizer.minimize(lambda: (x**2) / 2.0, [x])
    with optimizer.averaged(), pytest.raises(OptionError, match="Leave the block first"):
        optimizer.minimize(lambda: (x**2) / 2.0, [x])


def test_numbers_can_be_set_inside() -> None:
    optimizer, _ = trained(MAKERS["ema"])
    with optimizer.averaged():
        optimizer.learning_rate = 0.5
        assert optimizer.get_config()["learning_rate"] == 0.5
    assert optimizer.learning_rate == 0.5


def test_what_has_no_averaged_weights_is_refused_with_the_remedy() -> None:
    optimizer, variables = trained(lambda: RMSprop(0.1))
    before = bits(variables)
    with (
        pytest.raises(
            OptionError, match=r"no averaged weights\. Received: rule 'rmsprop', use_ema=False\. Set use_ema"
        ),
        optimizer.averaged(),
    ):
        raise AssertionError
    assert bits(variables) == before
    optimizer.apply(gradients())
    with pytest.raises(ArrayError, match="must already be built"):
        RMSprop(**EMA).averaged()


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt, GeneratorExit])
@each
def test_whatever_ends_the_block_the_bits_come_back(
    make: Callable[..., Optimizer], problem: type[BaseException]
) -> None:
    optimizer, variables = trained(make)
    before = bits(variables)

    def end() -> None:
        variables[0][:] = 9
        raise problem

    with pytest.raises(problem), optimizer.averaged():
        end()
    assert bits(variables) == before
    optimizer.apply(gradients())


def test_a_variable_that_lies_elsewhere_is_refused_and_the_others_are_restored() -> None:
    given = [Variable(one, name=f"v{i}") for i, one in enumerate(arrays())]
    optimizer = RMSprop(0.1, **EMA)
    for _ in range(2):
        optimizer.apply(gradients(), given)
    variables = [one.value for one in given]
    before = bits(variables)
    variables[1].shape = (6,)
    with pytest.raises(ArrayError, match="has other memory than when"), optimizer.averaged():
        raise AssertionError
    variables[1].shape = (2, 3)
    assert bits(variables) == before
    with pytest.raises(ArrayError, match="has other memory than when"), optimizer.averaged():
        variables[1].shape = (6,)
    assert bits(variables)[::2] == before[::2]
    variables[1].shape = (2, 3)
    optimizer.apply(gradients(), given)


class Trouble(Exception):
    """What a constraint of these tests raises."""


def test_constraints_that_are_due_come_first() -> None:
    failing = [True]

    def halved(array: Array) -> Array:
        if failing[0]:
            raise Trouble
        return array * np.float32(0.5)

    one = Variable(np.ones(3, np.float32), name="bound", constraint=halved)
    optimizer = RMSprop(0.1, **EMA)
    with pytest.raises(Trouble):
        optimizer.apply([np.ones(3, np.float32)], [one])
    before = one.value.copy()
    with pytest.raises(Trouble), optimizer.averaged():
        raise AssertionError
    assert np.array_equal(one.value, before)
    failing[0] = False
    with optimizer.averaged():
        assert np.array_equal(one.value, before / 2)
    assert np.array_equal(one.value, before / 2)


def test_calls_of_other_threads_are_refused_or_come_before_or_after() -> None:
    """No update is lost, and none is made of averages."""
    optimizer, variables = trained(MAKERS["ema"], 1)
    done, refused, stop = [0], [0], threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                optimizer.apply(gradients())
                done[0] += 1
            except OptionError:
                refused[0] += 1

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(30):
        with optimizer.averaged():
            inside, calls = bits(variables), optimizer.iterations
            assert bits(variables) == inside
            assert optimizer.iterations == calls
    stop.set()
    thread.join()
    assert optimizer.iterations == 1 + done[0]
    _, others = trained(MAKERS["ema"], optimizer.iterations)
    assert bits(variables) == bits(others)


def test_an_interrupt_anywhere_leaves_the_bits_of_before() -> None:
    optimizer, variables = trained(MAKERS["ema"])
    with optimizer.averaged():
        pass  # compiles
    before = bits(variables)
    for n in range(0, 100_000, 97):
        interrupter = Interrupter(n)
        with interrupter:
            try:
                with optimizer.averaged():
                    pass
            except KeyboardInterrupt:
                pass
        assert bits(variables) == before, n
        assert optimizer.state_dict()["iteration"] == 3, n
        if not interrupter.raised:
            break
    else:
        raise AssertionError("a block of more than 100,000 bytecodes")
    optimizer.apply(gradients())
