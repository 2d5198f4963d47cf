"""Values known before this project: from Keras's own tests, and exact float32 values of Keras's NumPy backend."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rmsprop_jit
from rmsprop_jit import ArrayError, OptionError, RMSprop, Variable
from rmsprop_jit.arrays.homes import Array

F32 = np.float32
PLAIN: dict[str, Any] = {"rho": 1.0, "epsilon": 1.0}
"""With these the mean square stays 0 and the step is learning_rate * gradient, so that gradients can be seen."""


def f32(*values: float) -> Array:
    return np.array(values, F32)


def slot(optimizer: RMSprop, name: str) -> Array:
    return next(one.value for one in optimizer.variables if one.name == name)


def assert_bits(actual: Any, expected: list[Any] | float) -> None:
    """The very float32 values; nine digits tell them apart."""
    np.testing.assert_array_equal(actual, np.array(expected, F32))


def test_single_step() -> None:
    v = f32(1, 2, 3, 4)
    optimizer = RMSprop(learning_rate=0.5)
    optimizer.apply([f32(1, 6, 7, 2)], [v])
    np.testing.assert_allclose(v, [-0.5811, 0.4189, 1.4189, 2.4189], atol=1e-4)
    assert_bits(v, [-0.581138134, 0.418861151, 1.41886127, 2.41886139])
    np.testing.assert_allclose(slot(optimizer, "variable_0_velocity"), [0.1, 3.6, 4.9, 0.4], rtol=2e-7)


def test_golden_centered() -> None:
    v, gradient = np.ones(10, F32), np.arange(0.1, 1.1, 0.1).astype(F32)
    optimizer = RMSprop(centered=True)
    seen = []
    for g in (np.full(10, 0.01, F32), gradient, gradient, gradient, gradient):
        optimizer.apply([g], [v])
        seen.append(v.copy())
    np.testing.assert_allclose([one.mean() for one in seen], [0.9967, 0.9933, 0.9908, 0.9885, 0.9864], atol=5e-4)
    assert_bits([one[0] for one in seen], [0.996685028, 0.993333578, 0.990765035, 0.988496363, 0.986372769])
    assert_bits([one[9] for one in seen], [0.996685028, 0.993348539, 0.990796983, 0.988544941, 0.986437619])


def test_documented_example() -> None:
    pytest.importorskip("autograd")
    variable = Variable(10.0)
    optimizer = RMSprop(learning_rate=0.1)
    optimizer.minimize(lambda: (variable**2) / 2.0, [variable])
    assert variable.dtype == F32
    assert_bits(variable.numpy(), 9.683772)


def test_documented_example_by_apply() -> None:
    v = f32(10)
    RMSprop(learning_rate=0.1).apply([f32(10)], [v])
    assert_bits(v, [9.683772])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weight_decay_through_three_optimizers(dtype: type[np.floating[Any]]) -> None:
    kept, excluded, by_array = (Variable(np.array([2.0], dtype), name=name) for name in ("weight", "exclude", "other"))
    for _ in range(3):
        optimizer = RMSprop(learning_rate=1.0, weight_decay=0.004)
        optimizer.exclude_from_weight_decay(var_names=["exclude"])
        optimizer.exclude_from_weight_decay(var_list=[by_array])
        optimizer.apply([np.zeros(1, dtype)] * 3, [kept, excluded, by_array])
    assert float(kept.value[0]) == pytest.approx(2 * 0.996**3, abs=1e-6)
    assert float(kept.value[0]) == pytest.approx(1.9760959, abs=1e-6)
    assert excluded.value[0] == by_array.value[0] == 2.0


def test_weight_decay_of_one_step() -> None:
    v = f32(2)
    RMSprop(learning_rate=1.0, weight_decay=0.004).apply([f32(0)], [v])
    assert_bits(v, [1.99199998])


def seen_gradients(*gradients: list[Any] | Array, **options: Any) -> list[Array]:
    variables = [np.zeros(len(g), F32) for g in gradients]
    RMSprop(1.0, **PLAIN, **options).apply([f32(*g) for g in gradients], variables)
    return [-v for v in variables]


def test_clipnorm() -> None:
    (alone,) = seen_gradients([100, 100], clipnorm=1.0)
    np.testing.assert_allclose(alone, [0.70710678, 0.70710678], rtol=1e-6)
    first, second = seen_gradients([3, 4], [30, 40], clipnorm=5.0)
    assert_bits(first, [3, 4])
    np.testing.assert_allclose(second, [3, 4], rtol=1e-6)


def test_clipvalue() -> None:
    (seen,) = seen_gradients([100, 100], clipvalue=1.0)
    np.testing.assert_array_equal(seen, [1, 1])
    (seen,) = seen_gradients([-100, 0.5], clipvalue=1.0)
    np.testing.assert_array_equal(seen, [-1, 0.5])


def test_global_clipnorm() -> None:
    gradient = np.array([50.0, 100.0])
    (alone,) = seen_gradients(gradient, global_clipnorm=1.0)
    np.testing.assert_allclose(alone, gradient / np.linalg.norm(gradient), rtol=1e-6)
    first, second = seen_gradients([3, 4], [30, 40], global_clipnorm=5.0)
    np.testing.assert_allclose(first, [0.29851115, 0.39801484], rtol=1e-6)
    np.testing.assert_allclose(second, [2.9851112, 3.9801483], rtol=1e-6)


@pytest.mark.parametrize("option", ["clipnorm", "global_clipnorm", "clipvalue"])
def test_clipping_zero_gives_zero(option: str) -> None:
    (seen,) = seen_gradients([0, 0], **{option: 1.0})
    np.testing.assert_array_equal(seen, [0, 0])


def test_clipping_inf() -> None:
    (seen,) = seen_gradients([np.inf, 1], clipnorm=1.0)
    np.testing.assert_array_equal(seen, [np.nan, 0])
    (seen,) = seen_gradients([np.inf, -np.inf, np.nan], clipvalue=2.0)
    np.testing.assert_array_equal(seen, [2, -2, np.nan])
    first, second = seen_gradients([np.inf, 1], [1], global_clipnorm=1.0)
    assert np.isnan([*first, *second]).all()


def test_two_clip_options() -> None:
    with pytest.raises(OptionError, match="Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set"):
        RMSprop(clipnorm=1.0, global_clipnorm=1.0)


def test_ema() -> None:
    optimizer, v = RMSprop(0.1, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=3), f32(1)
    seen = []
    for _ in range(3):
        optimizer.apply([f32(1)], [v])
        seen.append(v[0])
    assert_bits(seen, [0.683772385, 0.45435673, 0.620973945])
    assert slot(optimizer, "variable_0_average")[0] == v[0]


def test_ema_of_plain_gradient_steps() -> None:
    options: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3}
    optimizer, v = RMSprop(1.0, **PLAIN, **options), np.array([[3, 4], [5, 6]], F32)
    averages = []
    for expected in ([[2, 3], [4, 5]], [[1, 2], [3, 4]], [[1.71, 2.71], [3.71, 4.71]]):
        optimizer.apply([np.ones((2, 2), F32)], [v])
        averages.append(slot(optimizer, "variable_0_average").copy())
        np.testing.assert_allclose(v, expected, rtol=1e-6)
    np.testing.assert_allclose(averages[0], [[2, 3], [4, 5]])
    np.testing.assert_allclose(averages[1], [[1.9, 2.9], [3.9, 4.9]], rtol=1e-6)
    np.testing.assert_allclose(averages[2], v, rtol=0)


def test_ema_as_at_the_end_of_training() -> None:
    """A kernel of 1 fitted for two epochs to x = 1, y = 0: gradients of the squared error, then the average."""
    optimizer, v = RMSprop(0.1, **PLAIN, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=None), f32(1)
    for _ in range(2):
        optimizer.apply([f32(2 * v[0] * 0.5)], [v])
    optimizer.finalize_variable_values()
    assert v[0] == pytest.approx(0.9 * 0.9 + 0.1 * 0.81, rel=1e-6)
    assert v[0] == pytest.approx(0.891, rel=1e-6)


def test_accumulation() -> None:
    optimizer, v = RMSprop(1.0, **PLAIN, gradient_accumulation_steps=3), f32(5)
    optimizer.build([v])
    seen = []
    for _ in range(4):
        calls = optimizer.apply_gradients([(f32(1), v)])
        accumulated = slot(optimizer, "variable_0_gradient_accumulator")[0]
        seen.append((float(v[0]), float(accumulated), calls, optimizer.iterations))
    assert seen == [(5, 1, 1, 0), (5, 2, 2, 0), (4, 0, 3, 1), (4, 1, 4, 1)]


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "centered": True}])
def test_accumulation_with_weight_decay_equals_the_mean_gradient(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    one, other = (np.ones((2, 2), F32) for _ in range(2))
    accumulates = RMSprop(0.1, weight_decay=0.05, gradient_accumulation_steps=3, **options)
    direct = RMSprop(0.1, weight_decay=0.05, **options)
    for _ in range(8):
        gradients = rng.normal(size=(3, 2, 2)).astype(F32)
        for gradient in gradients:
            accumulates.apply([gradient], [one])
        direct.apply([gradients.mean(axis=0)], [other])
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_static_loss_scaling() -> None:
    optimizer, v = RMSprop(1.0, **PLAIN, loss_scale_factor=1024.0), f32(1, 2, 3, 4)
    optimizer.apply([f32(1, 6, 7, 2) * 1024], [v])
    assert v.tolist() == [0, -4, -4, 2]
    assert optimizer.scale_loss(1.0) == 1024.0
    assert RMSprop().scale_loss(3.0) == 3.0


def test_scaled_loss_gives_the_same_steps() -> None:
    seen = []
    for scale in (None, 8.0):
        optimizer, v = RMSprop(0.1, loss_scale_factor=scale), f32(1)
        for _ in range(3):
            optimizer.apply([f32(scale or 1)], [v])
            seen.append(v[0])
    assert seen[:3] == seen[3:]
    np.testing.assert_allclose(seen[:3], [0.68377, 0.45436, 0.26226], atol=1e-5)


def test_one_step_of_the_defaults() -> None:
    optimizer, v = RMSprop(), f32(1)
    optimizer.apply([f32(1)], [v])
    assert_bits(v, [0.99683774])
    np.testing.assert_allclose(slot(optimizer, "variable_0_velocity"), [0.1], rtol=2e-7)
    assert optimizer.iterations == 1


def test_iterations() -> None:
    optimizer, v = RMSprop(), f32(1)
    seen = [optimizer.iterations]
    for _ in range(2):
        optimizer.apply([f32(1)], [v])
        seen.append(optimizer.iterations)
    assert seen == [0, 1, 2]


def test_no_gradients() -> None:
    a, b = f32(1), f32(1)
    optimizer = RMSprop(0.1)
    with pytest.raises(ArrayError, match="No gradients provided for any variable"):
        optimizer.apply([None], [a])
    with pytest.warns(UserWarning, match="Gradients do not exist for variables"):
        optimizer.apply([None, f32(1)], [a, b])
    assert a[0] == 1
    assert b[0] < 1


def test_missing_gradients_are_named_in_order() -> None:
    variables = [Variable(f32(1), name=name) for name in ("aa", "bb", "cc")]
    expected = r"Gradients do not exist for variables \['aa', 'cc'\] when minimizing the loss"
    with pytest.warns(UserWarning, match=expected):
        RMSprop().apply([None, f32(1), None], variables)


def test_constraint() -> None:
    v = Variable(f32(0.1, 1, 10), constraint=lambda array: np.maximum(array, 0))
    RMSprop(1.0, **PLAIN).apply([f32(1, 2, 3)], [v])
    assert v.value.tolist() == [0, 0, 7]
    assert v.value.min() == 0


@pytest.mark.parametrize("rate", [lambda: 0.1, lambda step: 0.1])
def test_callable_learning_rate(rate: Callable[..., float]) -> None:
    v = f32(10)
    optimizer = RMSprop(learning_rate=rate)
    optimizer.apply([f32(10)], [v])
    assert_bits(v, [9.683772])
    assert optimizer.learning_rate == 0.1
    assert len(optimizer.variables) == 2


def test_callables_see_the_number_of_calls() -> None:
    seen: list[int] = []

    def rate(step: int) -> float:
        seen.append(step)
        return 0.1

    optimizer, v = RMSprop(rate), f32(1)
    for _ in range(3):
        optimizer.apply([f32(1)], [v])
    assert seen == [0, 1, 2], "asked once for each update"


def test_from_a_learning_rate_to_a_schedule() -> None:
    optimizer = RMSprop(learning_rate=0.1)
    assert len(optimizer.variables) == 2
    optimizer.learning_rate = rmsprop_jit.PolynomialDecay(0.1, decay_steps=4)
    assert len(optimizer.variables) == 1
    optimizer.learning_rate = 0.2
    assert len(optimizer.variables) == 2
    assert optimizer.learning_rate == 0.2


def test_schedules_see_the_raw_number_of_calls() -> None:
    schedule = rmsprop_jit.PiecewiseConstantDecay([0, 1, 2], [1.0, 2.0, 3.0, 4.0])
    optimizer = RMSprop(schedule, rho=0.0, epsilon=0.0, gradient_accumulation_steps=2)
    v, seen = f32(0), []
    for _ in range(4):
        optimizer.apply([f32(1)], [v])
        seen.append(float(v[0]))
    assert seen == [0, -2, -2, -6]


def test_the_learning_rate_read_after_a_call_is_the_next_ones() -> None:
    optimizer, v = RMSprop(rmsprop_jit.PiecewiseConstantDecay([0], [1.0, 2.0]), **PLAIN), f32(0)
    assert optimizer.learning_rate == 1.0
    optimizer.apply([f32(1)], [v])
    assert optimizer.learning_rate == 2.0
    assert v[0] == -1


@pytest.mark.parametrize(("name", "expected"), [({}, "rmsprop"), ({"name": "mine"}, "mine")])
def test_names(name: dict[str, Any], expected: str) -> None:
    optimizer = RMSprop(**name)
    optimizer.build({"enc/d/kernel": f32(1)})
    assert optimizer.name == expected
    paths = [f"{expected}/{slot}" for slot in ("iteration", "learning_rate", "enc_d_kernel_velocity")]
    assert [one.path for one in optimizer.variables] == paths
    assert RMSprop.from_config(optimizer.get_config()).name == expected


def test_signature_is_that_of_keras() -> None:
    rmsprop = RMSprop(0.01, 0.8, 0.5, 1e-6, True, 0.1, None, 2.0, None, True, 0.7, 50, "mine")
    assert rmsprop.get_config() == {
        "name": "mine",
        "learning_rate": 0.01,
        "weight_decay": 0.1,
        "clipnorm": None,
        "global_clipnorm": None,
        "clipvalue": 2.0,
        "use_ema": True,
        "ema_momentum": 0.7,
        "ema_overwrite_frequency": 50,
        "loss_scale_factor": None,
        "gradient_accumulation_steps": None,
        "rho": 0.8,
        "momentum": 0.5,
        "epsilon": 1e-6,
        "centered": True,
    }
    assert list(rmsprop.get_config())[:4] == ["name", "learning_rate", "weight_decay", "clipnorm"]
    defaults = RMSprop().get_config()
    assert (defaults["learning_rate"], defaults["rho"], defaults["epsilon"]) == (0.001, 0.9, 1e-7)
    assert (defaults["ema_momentum"], defaults["ema_overwrite_frequency"], defaults["name"]) == (0.99, 100, "rmsprop")


# Everything together, in float64, by Keras's arithmetic. Keras takes averages on every call, and this project on update
# calls only. It makes no difference in these six calls: after the first update, and after each overwriting (t = 3), the
# variable equals its average, so that blending them between updates changes nothing. The call t = 6 would be the first
# to differ.

COMBINED = {
    1: {
        "v0": [0.777059204, -1.79649363],
        "average": [0.777059204, -1.79649363],
        "velocity": [0.194594595, 0.00540540541],
        "momentum": [0.221165796, -0.199956372],
        "average_gradient": [0.197278785, -0.0328797975],
    },
    3: {
        "v0": [0.715455976, -1.73069474],
        "average": [0.715455976, -1.73069474],
        "velocity": [0.333051241, 0.0269487587],
        "momentum": [0.245383311, -0.2608152],
        "average_gradient": [0.34617141, -0.0935711174],
    },
    5: {
        "v0": [0.506825573, -1.50074568],
        "average": [0.663298375, -1.67320747],
        "velocity": [0.437768427, 0.0502315733],
        "momentum": [0.208004379, -0.228434706],
        "average_gradient": [0.462046519, -0.150583463],
    },
}


def combined(calls: int) -> tuple[RMSprop, Array, Array]:
    optimizer = RMSprop(
        rmsprop_jit.PolynomialDecay(0.1, 8, 0.01),
        rho=0.8,
        momentum=0.5,
        epsilon=1e-3,
        centered=True,
        weight_decay=0.02,
        global_clipnorm=1.0,
        use_ema=True,
        ema_momentum=0.75,
        ema_overwrite_frequency=2,
        loss_scale_factor=4.0,
        gradient_accumulation_steps=2,
    )
    v0, v1 = np.array([1.0, -2.0]), np.array([0.5])
    optimizer.build([v0, v1])
    optimizer.exclude_from_weight_decay(var_list=[v1])
    for t in range(calls):
        optimizer.apply([np.array([4.0 * (t + 1), -2.0 * t]), np.array([4.0 * (-1) ** t])])
    return optimizer, v0, v1


@pytest.mark.parametrize("t", COMBINED)
def test_combined_after_update(t: int) -> None:
    optimizer, v0, v1 = combined(t + 1)
    for name, values in COMBINED[t].items():
        actual = v0 if name == "v0" else slot(optimizer, f"variable_0_{name}")
        np.testing.assert_allclose(actual, values, rtol=1e-8, err_msg=name)
    assert v1[0] == 0.5, "its gradients cancel, and it does not decay"
    assert optimizer.iterations == (t + 1) // 2


@pytest.mark.parametrize(("calls", "accumulated"), [(1, [1, 0]), (3, [3, -1]), (5, [5, -2])])
def test_combined_between_updates(calls: int, accumulated: list[int]) -> None:
    optimizer, v0, v1 = combined(calls)
    _, before, _ = combined(calls - 1)
    np.testing.assert_array_equal(v0, before)
    np.testing.assert_array_equal(slot(optimizer, "variable_0_gradient_accumulator"), accumulated)
    assert v1[0] == 0.5


def test_combined_learning_rates_of_the_updates() -> None:
    schedule = rmsprop_jit.PolynomialDecay(0.1, 8, 0.01)
    assert [schedule(t) for t in (1, 3, 5)] == pytest.approx([0.08875, 0.06625, 0.04375], rel=1e-14)


def test_combined_finalized() -> None:
    optimizer, v0, v1 = combined(6)
    optimizer.finalize_variable_values([v0, v1])
    np.testing.assert_allclose(v0, [0.663298375, -1.67320747], rtol=1e-8)
    assert v1[0] == 0.5


def test_combined_seventh_call_leaves_the_average() -> None:
    before, after = (slot(combined(calls)[0], "variable_0_average") for calls in (6, 7))
    np.testing.assert_array_equal(before, after)
