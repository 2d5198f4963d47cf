"""`with optimizer.averaged()`: the averaged weights for a while, then the bits of before, and nothing between."""

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compare import Array
from interrupts import Interrupter

from rmsprop_jit import SGD, ArrayError, Optimizer, OptionError, RMSprop, ScheduleFreeAdamW, Sophia, Variable
from rmsprop_jit.codegen import Expr, Flag, Rule, where
from rmsprop_jit.codegen.names import Names

EMA: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5}
MAKERS: dict[str, Callable[..., Optimizer]] = {
    "ema": lambda **more: RMSprop(0.1, **EMA, **more),
    "own": lambda **more: ScheduleFreeAdamW(0.1, **more),
}
each = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def arrays() -> list[Array]:
    """Of both dtypes, with what a copy by arithmetic would lose."""
    odd = np.array([np.nan, -0.0, 1.5, np.inf], np.float32)
    odd.view(np.uint32)[0] |= 0x1234
    return [np.linspace(-1, 1, 7, dtype=np.float32), np.linspace(1, 2, 6).reshape(2, 3), odd, np.array(3, np.float32)]


def gradients() -> list[Array]:
    return [np.full_like(one, 0.5) for one in arrays()]


def trained(make: Callable[..., Optimizer], steps: int = 3, **more: Any) -> tuple[Optimizer, list[Array]]:
    variables, optimizer = arrays(), make(**more)
    optimizer.build(variables)
    for _ in range(steps):
        optimizer.apply(gradients())
    return optimizer, variables


def bits(variables: list[Array]) -> list[bytes]:
    return [one.tobytes() for one in variables]


@each
def test_the_variables_hold_their_averages_inside_and_the_same_bits_after(make: Callable[..., Optimizer]) -> None:
    optimizer, variables = trained(make)
    before, state = bits(variables), optimizer.state_dict()
    with optimizer.averaged():
        inside = [one.copy() for one in variables]
        assert not any(new == old for new, old in zip(bits(variables), before, strict=True))
    assert bits(variables) == before
    for name, value in optimizer.state_dict().items():
        assert value.tobytes() == state[name].tobytes(), name
    twin, others = trained(make)
    optimizer.apply(gradients())
    twin.apply(gradients())
    assert bits(variables) == bits(others), "training goes on as if there had been no block"
    with twin.averaged():
        assert bits(others) != bits(inside)


def test_with_use_ema_they_are_the_running_averages() -> None:
    optimizer, variables = trained(MAKERS["ema"])
    averages = [one.value for one in optimizer.variables if one.name.endswith("_average")]
    with optimizer.averaged():
        assert bits(variables) == bits(averages)


def test_a_rule_s_own_come_before_running_averages() -> None:
    optimizer, variables = trained(MAKERS["own"], **EMA)
    twin, others = trained(MAKERS["own"])
    with optimizer.averaged(), twin.averaged():
        assert bits(variables) == bits(others)


@each
def test_before_the_first_update_they_stay_as_they_are(make: Callable[..., Optimizer]) -> None:
    optimizer, variables = trained(make, 0)
    variables[0][:] = 7
    before = bits(variables)
    with optimizer.averaged():
        assert bits(variables) == before


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@each
def test_a_variable_without_an_update_stays_as_it_is(make: Callable[..., Optimizer]) -> None:
    variables, optimizer = arrays(), make()
    optimizer.build(variables)
    variables[1][:] = 7
    for _ in range(2):
        optimizer.apply([None if i == 1 else one for i, one in enumerate(gradients())])
    with optimizer.averaged():
        assert variables[1].tolist() == [[7] * 3] * 2
        assert bits(variables)[0] != bits(arrays())[0]


@each
def test_in_a_window_of_an_accumulation_the_window_goes_on(make: Callable[..., Optimizer]) -> None:
    optimizer, variables = trained(make, 5, gradient_accumulation_steps=2)
    twin, others = trained(make, 5, gradient_accumulation_steps=2)
    with optimizer.averaged():
        assert bits(variables) != bits(others)
    optimizer.apply(gradients())
    twin.apply(gradients())
    assert bits(variables) == bits(others)


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
    loads: list[Callable[[], None]] = [
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


def swa(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """The mean of the weights, which no step reads (Izmailov et al. 2018)."""
    step = p - h.learning_rate * g
    return {s.mean: s.mean + (step - s.mean) / h.step, p: step}


def mean(p: Expr, s: Names, on: Names) -> dict[Expr, Expr]:
    """It is used only where the flags say so."""
    return {p: where(on.first, p, where(on.swa & on.matrix, s.mean, p))}


SWA = Rule(
    "swa",
    swa,
    slots={"mean": 0.0},
    flags={"swa": True, "matrix": Flag(of=lambda shape: len(shape) > 1)},
    averaged=mean,
)


def test_a_rule_of_one_s_own_says_what_its_averaged_weights_are() -> None:
    """Its flags decide, those of shapes and of first updates, too; the slot is there for them alone."""
    optimizer, variables = trained(lambda: Optimizer(SWA, 0.1))
    assert [one.name for one in optimizer.variables if "mean" in one.name] == ["variable_1_mean"]
    before = bits(variables)
    with optimizer.averaged():
        np.testing.assert_allclose(variables[1], arrays()[1] - 0.1 * 0.5 * 2)
        assert bits(variables)[0] == before[0]
    assert bits(variables) == before
    plain, _ = trained(lambda: Optimizer(SWA, 0.1, swa=False))
    assert not [one.name for one in plain.variables if "mean" in one.name]
    with pytest.raises(OptionError, match="no averaged weights"), plain.averaged():
        raise AssertionError


def test_pickled_copies_have_it_too() -> None:
    optimizer, variables = trained(MAKERS["own"])
    again = pickle.loads(pickle.dumps(optimizer))
    others = [one.copy() for one in variables]
    again.build(others)
    with optimizer.averaged(), again.averaged():
        assert bits(variables) == bits(others)


def test_plain_sgd_with_an_average_needs_no_rule_of_its_own() -> None:
    optimizer, variables = trained(lambda: SGD(0.1, **EMA))
    with optimizer.averaged():
        assert not np.array_equal(variables[1], arrays()[1])


def test_a_rule_that_is_brought_more_than_gradients_has_them_too() -> None:
    variables, hessian = [np.ones(4), np.ones((2, 3), np.float32)], [np.ones(4), np.ones((2, 3), np.float32)]
    optimizer = Sophia(0.1, every=2, **EMA)
    for _ in range(3):
        optimizer.apply([0.5 * one for one in hessian], variables, hessian=hessian)
    averages = [one.value for one in optimizer.variables if one.name.endswith("_average")]
    before = bits(variables)
    with optimizer.averaged():
        assert bits(variables) == bits(averages) != before
    assert bits(variables) == before


def test_without_variables_or_elements_there_is_nothing_to_do() -> None:
    for variables in ([], [np.zeros((0, 3))]):
        optimizer = RMSprop(0.1, **EMA)
        optimizer.build(variables)
        optimizer.apply([one.copy() for one in variables])
        with optimizer.averaged():
            pass
