"""What does not go with groups, nests, stateless calls and loss scales is refused in words, and nothing has changed."""

import math
from typing import Any

import numpy as np
import pytest
from compare import Array

from rmsprop_jit import SGD, Adam, ArrayError, LossScaleOptimizer, Optimizer, OptionError


def built(**options: Any) -> tuple[SGD, dict[str, Array]]:
    variables = {"a": np.ones(2), "b": np.ones(3)}
    optimizer = SGD(0.5, **options)
    optimizer.build(variables)
    return optimizer, variables


def bits(optimizer: Optimizer) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in optimizer.state_dict().items()}


@pytest.mark.parametrize(
    "saved", [{"a": {"learning_rate": 0.1}}, {"a": {"learning_rate": 0.1}, ".*": {"learning_rate": 0.2}}, None]
)
@pytest.mark.parametrize("own", [{"b": {"learning_rate": 0.1}}, [{"params": ["b"], "learning_rate": 0.1}], None])
def test_a_state_in_the_middle_of_a_window_meets_other_groups(saved: Any, own: Any) -> None:
    theirs, values = built(groups=saved, gradient_accumulation_steps=2)
    gradients = {"a": np.ones(2), "b": np.ones(3)}
    theirs.apply(gradients)
    state = theirs.state_dict(variables=True)
    ours, other = built(groups=own, gradient_accumulation_steps=2)
    before = bits(ours)
    if saved is not own:
        with pytest.raises(OptionError, match=r"saved with other options\. Received: groups"):
            ours.load_state_dict(state)
        assert bits(ours) == before
    ours.load_state_dict(state, options="load")
    theirs.apply(gradients)
    ours.apply(gradients)
    assert all(values[name].tobytes() == other[name].tobytes() for name in values)
    assert bits(ours) == bits(theirs)


@pytest.mark.parametrize("params", [None, 3, 0.5])
def test_what_holds_no_variables_is_no_group(params: Any) -> None:
    optimizer = SGD(0.5)
    with pytest.raises(OptionError, match=r"'params' are variables, or their names\. Received"):
        optimizer.build([{"params": params, "learning_rate": 0.1}])
    with pytest.raises(OptionError, match=r"'params' are variables, or their names\. Received"):
        SGD(0.5, groups=[{"params": params}])
    assert not optimizer.built


def test_groups_of_another_rule_are_checked_as_any_others() -> None:
    theirs, _ = built(groups={"a": {"momentum": 0.5, "learning_rate": 0.25}})
    for of in (lambda: Adam(0.5, groups=theirs.groups), lambda: setattr(Adam(0.5), "groups", theirs.groups)):
        with pytest.raises(OptionError, match=r"`momentum` is no option\. Received: groups\['a'\]"):
            of()
    ours, _ = built(groups=theirs.groups)
    ours.groups["a"]["momentum"] = 0.25
    assert theirs.groups["a"]["momentum"] == 0.5  # each has its own


@pytest.mark.parametrize("wrong", [None, 3, (np.ones(2) for _ in range(2))])
def test_gradients_come_in_a_list_or_a_dict(wrong: Any) -> None:
    optimizer, variables = built()
    before = bits(optimizer)
    with pytest.raises(ArrayError, match=r"gradients come in a list, or in a dict by name\. Received"):
        optimizer.apply(wrong)
    with pytest.raises(ArrayError, match=r"gradients come in a list, or in a dict by name\. Received"):
        optimizer.stateless_apply(optimizer.variables, wrong, variables)
    assert bits(optimizer) == before


def test_a_nest_that_holds_itself_has_no_end() -> None:
    nest: dict[str, Any] = {"a": np.ones(2), "inside": {"list": [np.ones(2)]}}
    nest["inside"]["list"].append(nest)
    optimizer = SGD(0.5)
    with pytest.raises(ArrayError, match=r"holds itself\. Received: it again as 'inside/list/1'"):
        optimizer.build(nest)
    shared = [np.ones(2)]
    with pytest.raises(ArrayError, match="twice"):  # which is not to hold itself
        optimizer.build({"one": shared, "two": shared})
    assert not optimizer.built


def test_options_assigned_to_a_loss_scale_optimizer_are_those_of_the_optimizer_inside() -> None:
    inside, variables = built()
    optimizer = LossScaleOptimizer(inside, initial_scale=4.0)
    optimizer.clipnorm = 1.0
    optimizer.groups = {"a": {"learning_rate": 0.25}}
    assert inside.clipnorm == optimizer.clipnorm == 1.0
    assert inside.groups == {"a": {"learning_rate": 0.25}}
    optimizer.apply({"a": np.array([12.0, 16.0]), "b": np.zeros(3)})  # 20 long, so 0.15 and 0.2 go
    np.testing.assert_allclose(variables["a"], [0.85, 0.8])
    for name, value in (("momentum", "x"), ("nonfinite", "raise"), ("loss_scale_factor", 2.0)):
        with pytest.raises(OptionError, match=name):
            setattr(optimizer, name, value)
    with pytest.raises(OptionError, match="a scale must be"):
        optimizer.initial_scale = -1.0
    with pytest.raises(OptionError, match="dynamic_growth_steps"):
        optimizer.dynamic_growth_steps = 0
    for name in ("nothing", "dynamic_scale", "iterations"):
        with pytest.raises(AttributeError, match=name):
            setattr(optimizer, name, 3)
    assert (optimizer.dynamic_scale, optimizer.dynamic_growth_steps) == (4.0, 2000)


def test_the_scale_goes_on_where_the_optimizer_inside_was_told_to_let_inf_pass() -> None:
    inside, variables = built()
    optimizer = LossScaleOptimizer(inside, initial_scale=4.0)
    inside.nonfinite = "propagate"
    optimizer.apply({"a": np.full(2, math.inf), "b": np.ones(3)})
    assert (optimizer.dynamic_scale, optimizer.skipped_steps, inside.nonfinite) == (2.0, 1, "skip")
    assert variables["b"].tobytes() == np.ones(3).tobytes()


@pytest.mark.parametrize("inner", [None, {"class_name": "SGD"}, {"class_name": "SGD", "config": 3}])
def test_a_config_without_the_optimizer_inside_makes_none(inner: Any) -> None:
    with pytest.raises(OptionError, match=r"one of the optimizer inside\. Received"):
        LossScaleOptimizer.from_config({"initial_scale": 2.0, "inner_optimizer": inner})
    with pytest.raises(OptionError, match=r"one of the optimizer inside\. Received"):
        LossScaleOptimizer.from_config({})
