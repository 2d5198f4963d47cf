"""LossScaleOptimizer: Keras's, on top of calls that are skipped. Keras 3.15's numbers are from its numpy backend."""

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import Array

import rmsprop_jit
from rmsprop_jit import ArrayError, LossScaleOptimizer, OptionError, RMSprop, Variable


def made(scale: float = 8.0, growth: int = 2, **options: Any) -> tuple[LossScaleOptimizer, Array]:
    """An optimizer that is built, and its variable."""
    variable = np.ones(3, np.float32)
    optimizer = LossScaleOptimizer(RMSprop(0.1, **options), initial_scale=scale, dynamic_growth_steps=growth)
    optimizer.build([variable])
    return optimizer, variable


def gradient(value: float) -> list[Array]:
    return [np.full(3, value, np.float32)]


def test_a_run_is_keras_s() -> None:
    """(gradient, iterations, scale, counter, variable) after each call."""
    optimizer, variable = made()
    for value, iterations, scale, steps, expected in (
        (1.0, 1, 8.0, 1, 0.68378234),
        (math.inf, 1, 4.0, 0, 0.68378234),
        (2.0, 2, 4.0, 1, 0.37609062),
        (3.0, 3, 8.0, 0, 0.1109516),
        (4.0, 4, 8.0, 1, -0.04957701),
    ):
        optimizer.apply(gradient(value))
        assert (optimizer.iterations, optimizer.dynamic_scale, optimizer.step_counter) == (iterations, scale, steps)
        np.testing.assert_allclose(variable, np.float32(expected), rtol=2e-6)
    assert optimizer.skipped_steps == 1


def test_it_is_the_inner_optimizer_on_gradients_without_the_scale_bit_for_bit() -> None:
    rng = np.random.default_rng(5)
    optimizer, variable = made(1024.0, 3, momentum=0.9, global_clipnorm=1.0)
    plain, other = RMSprop(0.1, momentum=0.9, global_clipnorm=1.0), np.ones(3, np.float32)
    for i in range(20):
        loss = rng.normal(size=3).astype(np.float32)
        scaled = optimizer.scale_loss(loss).astype(np.float32)
        if i % 6 == 4:
            optimizer.apply([np.array([scaled[0], math.nan, 1.0], np.float32)])
        optimizer.apply([scaled])
        plain.apply([loss], [other])
        assert variable.tobytes() == other.tobytes()
    assert (optimizer.iterations, optimizer.skipped_steps) == (20, 3)


def test_the_scale_is_halved_by_each_bad_call_and_doubled_after_so_many_good_ones() -> None:
    optimizer, variable = made(4.0, 3)
    before = variable.tobytes()
    for scale in (2.0, 1.0, 0.5):
        optimizer.apply(gradient(math.nan))
        assert optimizer.dynamic_scale == scale
    assert variable.tobytes() == before
    seen = []
    for _ in range(7):
        optimizer.apply(gradient(1.0))
        seen.append(optimizer.dynamic_scale)
    assert seen == [0.5, 0.5, 1.0, 1.0, 1.0, 2.0, 2.0]
    optimizer.apply(gradient(-math.inf))  # a bad one begins the count anew
    optimizer.apply(gradient(1.0))
    optimizer.apply(gradient(1.0))
    assert (optimizer.dynamic_scale, optimizer.step_counter) == (1.0, 2)


def test_a_scale_stays_a_normal_number_of_float32() -> None:
    optimizer, _ = made(2.0**126, 1)
    for _ in range(4):
        optimizer.apply(gradient(1.0))
    assert optimizer.dynamic_scale == 2.0**127
    small, _ = made(2.0**-125)
    for _ in range(4):
        small.apply(gradient(math.nan))
    assert small.dynamic_scale == 2.0**-126


def test_a_good_call_makes_no_scale_smaller() -> None:
    for scale in (1.5 * 2.0**126, 1.5 * 2.0**127, float(np.finfo(np.float32).max)):
        optimizer, _ = made(scale, 1)
        optimizer.apply(gradient(0.0))
        doubled = np.float64(scale) * 2
        assert optimizer.dynamic_scale == (doubled if doubled <= np.finfo(np.float32).max else scale)
    with pytest.raises(OptionError, match=r"a number from 1.17549e-38 to 3.40282e\+38. Received: 3.5e\+38"):
        made(3.5e38)


def test_losses_are_scaled_before_it_is_built_too() -> None:
    optimizer = LossScaleOptimizer(RMSprop(), initial_scale=16.0)
    assert optimizer.scale_loss(3.0) == 48.0
    assert LossScaleOptimizer(RMSprop()).scale_loss(1.0) == 2.0**15


def test_under_accumulation_every_good_call_counts() -> None:
    optimizer, variable = made(8.0, 2, gradient_accumulation_steps=2)
    optimizer.apply(gradient(8.0))
    optimizer.apply(gradient(math.inf))
    assert (variable == 1).all()
    optimizer.apply(gradient(4.0))  # of the halved scale: both are 1 without it
    assert optimizer.iterations == 1
    expected = np.ones(3, np.float32)
    RMSprop(0.1).apply([np.ones(3, np.float32)], [expected])
    assert variable.tobytes() == expected.tobytes()
    optimizer.apply(gradient(4.0))
    assert (optimizer.dynamic_scale, optimizer.step_counter) == (8.0, 0)


def test_a_signal_between_a_call_and_its_scale_is_made_up_for() -> None:
    optimizer, _ = made(8.0, 2)
    optimizer.inner_optimizer.apply(gradient(math.nan))  # as if what follows had not come
    assert (optimizer.dynamic_scale, optimizer.inner_optimizer.loss_scale_factor) == (4.0, 4.0)
    optimizer.inner_optimizer.apply(gradient(1.0))
    optimizer.apply(gradient(1.0))
    assert (optimizer.dynamic_scale, optimizer.step_counter) == (8.0, 0)


def test_minimize_differentiates_the_scaled_loss() -> None:
    pytest.importorskip("autograd")
    ours, theirs = Variable(10.0), Variable(10.0)
    optimizer = LossScaleOptimizer(RMSprop(0.1), initial_scale=256.0)
    loss = optimizer.minimize(lambda: (ours**2) / 2.0, [ours])
    assert loss == RMSprop(0.1).minimize(lambda: (theirs**2) / 2.0, [theirs])
    assert float(ours) == float(theirs)


# Attributes, configs, states.


def test_rates_and_all_else_are_those_of_the_optimizer_inside() -> None:
    optimizer, _ = made()
    optimizer.learning_rate = 0.25
    assert optimizer.learning_rate == optimizer.inner_optimizer.learning_rate == 0.25
    assert optimizer.rho == 0.9
    assert optimizer.built
    assert "guard" in optimizer.explain("rule")
    with pytest.raises(AttributeError, match="nothing"):
        optimizer.nothing  # noqa: B018
    assert repr(optimizer).startswith("<LossScaleOptimizer(<RMSprop(")


def test_a_config_is_keras_s_and_makes_another() -> None:
    optimizer = LossScaleOptimizer(RMSprop(0.5, rho=0.8), 4.0, 10, name="mine")
    config = optimizer.get_config()
    assert list(config) == ["name", "inner_optimizer", "initial_scale", "dynamic_growth_steps"]
    assert config["inner_optimizer"]["class_name"] == "RMSprop"
    assert config["inner_optimizer"]["config"]["loss_scale_factor"] is None
    again = LossScaleOptimizer.from_config(config)
    assert again.get_config() == config
    assert (again.name, again.rho, again.dynamic_growth_steps) == ("mine", 0.8, 10)
    theirs = {
        **config,
        "inner_optimizer": {
            "module": "keras.optimizers",
            "class_name": "RMSprop",
            "config": {"learning_rate": 0.1, "rho": 0.7},
        },
    }
    assert LossScaleOptimizer.from_config(theirs).rho == 0.7
    with pytest.raises(OptionError, match="class_name='Nothing'"):
        LossScaleOptimizer.from_config({**config, "inner_optimizer": {"class_name": "Nothing", "config": {}}})


def test_arguments_of_the_optimizer_inside_are_refused_here() -> None:
    for wrong in ({"clipnorm": 1.0}, {"weight_decay": 0.1}, {"dynamic": False}, {"anything": 1}):
        with pytest.raises(OptionError, match="optimizer inside"):
            LossScaleOptimizer(RMSprop(), **wrong)
    LossScaleOptimizer(RMSprop(), dynamic=True, clipnorm=None, ema_momentum=0.99)  # as in old configs
    for scale in (0.0, -1.0, math.inf, math.nan, "large", 1e-40):
        with pytest.raises(OptionError, match="a scale must be"):
            LossScaleOptimizer(RMSprop(), initial_scale=scale)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="dynamic_growth_steps"):
        LossScaleOptimizer(RMSprop(), dynamic_growth_steps=0)
    with pytest.raises(OptionError, match="inner_optimizer"):
        LossScaleOptimizer("rmsprop")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="stateless_apply"):
        LossScaleOptimizer(RMSprop()).stateless_apply([], [], [])


def trained() -> tuple[LossScaleOptimizer, Array]:
    optimizer, variable = made()
    for value in (1.0, math.inf, 2.0):
        optimizer.apply(gradient(value))
    return optimizer, variable


def test_a_state_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    optimizer, variable = trained()
    optimizer.save(tmp_path / "state.safetensors")
    others = []
    for how in ("dict", "file"):
        other, own = made()
        own[:] = variable
        if how == "dict":
            other.load_state_dict(optimizer.state_dict())
        else:
            other.load(tmp_path / "state.safetensors")
        others.append((other, own))
    for copied in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        own = variable.copy()
        copied.build([own])
        others.append((copied, own))
    for value in (3.0, math.nan, 1.0, 1.0):
        optimizer.apply(gradient(value))
        for other, own in others:
            other.apply(gradient(value))
            assert own.tobytes() == variable.tobytes()
            assert other.dynamic_scale == optimizer.dynamic_scale
            assert other.skipped_steps == optimizer.skipped_steps


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    optimizer, _ = trained()
    state = optimizer.state_dict()
    other, _ = made()
    for wrong, kind in (
        ({name: value for name, value in state.items() if name != "loss_scale"}, ArrayError),
        ({**state, "loss_scale": np.array(-1.0)}, OptionError),
        ({**state, "loss_scale_steps": np.array(0.5)}, ArrayError),
        ({**state, "iteration": np.array(-3)}, ArrayError),
    ):
        with pytest.raises(kind):
            other.load_state_dict(wrong)
        assert (other.dynamic_scale, other.step_counter, other.iterations) == (8.0, 0, 0)
        assert other.inner_optimizer.loss_scale_factor == 8.0


def test_a_store_is_in_keras_s_order() -> None:
    optimizer, variable = trained()
    store: dict[str, Any] = {}
    optimizer.save_own_variables(store)
    assert [variable.path.split("/")[-1] for variable in optimizer.variables[:6]] == [
        *("iteration", "learning_rate", "step_counter", "dynamic_scale", "iteration", "learning_rate")
    ]
    assert [float(store[str(i)]) for i in range(6)] == [0, 0, 1, 4, 2, 0.1]
    theirs = {
        "0": np.int32(0),
        "1": np.float32(0.0),
        "2": np.int32(1),
        "3": np.float32(4.0),
        "4": np.int32(2),
        "5": np.float64(0.1),
        "6": store["6"],
    }
    other, own = made()
    own[:] = variable
    other.load_own_variables(theirs)
    for value in (3.0, 4.0):
        optimizer.apply(gradient(value))
        other.apply(gradient(value))
    assert own.tobytes() == variable.tobytes()
    assert other.dynamic_scale == optimizer.dynamic_scale == 8.0
    with pytest.raises(ArrayError, match="keys '0', '1'"):
        other.load_own_variables({"0": 1})
    assert rmsprop_jit.LossScaleOptimizer is LossScaleOptimizer
