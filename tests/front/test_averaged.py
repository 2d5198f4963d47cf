"""`with optimizer.averaged()`: the averaged weights for a while, then the bits of before."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from averaging import EMA, MAKERS, arrays, bits, each, gradients, trained
from compare import Array

from rmsprop_jit import SGD, Optimizer, OptionError, RMSprop, Sophia
from rmsprop_jit.codegen import Expr, Flag, Rule, specialize, where
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.flags import Part, part_flags
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.table import TABLE


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
    variables: list[Array] = [np.ones(4), np.ones((2, 3), np.float32)]
    hessian: list[Array] = [np.ones(4), np.ones((2, 3), np.float32)]
    optimizer = Sophia(0.1, every=2, **EMA)
    for _ in range(3):
        optimizer.apply([0.5 * one for one in hessian], variables, hessian=hessian)
    averages = [one.value for one in optimizer.variables if one.name.endswith("_average")]
    before = bits(variables)
    with optimizer.averaged():
        assert bits(variables) == bits(averages) != before
    assert bits(variables) == before


def test_without_variables_or_elements_there_is_nothing_to_do() -> None:
    cases: list[list[Array]] = [[], [np.zeros((0, 3))]]
    for variables in cases:
        optimizer = RMSprop(0.1, **EMA)
        optimizer.build(variables)
        optimizer.apply([one.copy() for one in variables])
        with optimizer.averaged():
            pass


@pytest.mark.parametrize("rule", [SWA, TABLE["schedulefreesgd"][0].rule], ids=["shape", "first"])
def test_what_is_left_of_a_step_keeps_no_slot_for_them(rule: Rule) -> None:
    own = frozenset(rule.flags)
    assert rule.slots.keys() & specialize(step_of(rule), own).slots.keys()
    parts: tuple[Part, ...] = ("idle", "micro_step")
    for part in parts:
        for flags in (own | {part}, part_flags(rule, own, part)):
            assert not rule.slots.keys() & specialize(step_of(rule), flags).slots.keys()
