"""Where Keras loses data, contradicts its documentation or fails late: what happens here instead, row by row."""

import copy
import math
import os
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "numpy"

import keras
import numpy as np
import pytest

import rmsprop_jit
from rmsprop_jit import ArrayError, OptionError, RMSprop, Variable
from rmsprop_jit.arrays.homes import Array
from rmsprop_jit.options import LearningRate

F32 = np.float32
Float = type[np.float32] | type[np.float64]
Keras = Any
"""Keras's optimizers and variables have no types."""

PLAIN: dict[str, Any] = {"rho": 1.0, "epsilon": 1.0}
"""With these the mean square stays 0 and the step is learning_rate * gradient, so that gradients can be seen."""


def f32(*values: float) -> Array:
    return np.array(values, F32)


def slots(optimizer: RMSprop) -> dict[str, Array]:
    return {one.name: one.value for one in optimizer.variables}


def to_keras(options: Mapping[str, Any], variables: list[Array]) -> tuple[Keras, list[Keras]]:
    """Keras's optimizer of the same options, built on copies of the variables."""
    tracked = [keras.Variable(v.copy(), dtype="float32", name=f"variable_{i}") for i, v in enumerate(variables)]
    optimizer = keras.optimizers.RMSprop(name="rmsprop", **{"ema_overwrite_frequency": None, **options})
    optimizer.build(tracked)
    return optimizer, tracked


def keras_store(optimizer: Keras) -> dict[str, Any]:
    """What Keras's optimizer saves."""
    store: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Keras's variables, about NumPy's `copy=`
        optimizer.save_own_variables(store)
    return store


def seen_gradient(gradients: Sequence[Any], dtype: Float = F32, **options: Any) -> list[Array]:
    """The gradients after clipping."""
    variables = [np.zeros(len(g), dtype) for g in gradients]
    RMSprop(1.0, **PLAIN, **options).apply([np.array(g, dtype) for g in gradients], variables)
    return [-v for v in variables]


# EMA and overwrite under accumulation


def test_averages_under_accumulation_are_taken_at_updates_only() -> None:
    optimizer, v = RMSprop(0.1, use_ema=True, ema_momentum=0.5, gradient_accumulation_steps=2), f32(1)
    seen = []
    for _ in range(6):
        optimizer.apply([f32(1)], [v])
        seen.append((float(v[0]), float(slots(optimizer)["variable_0_average"][0])))
    one, two, three = 0.683772385, 0.45435673, 0.26226208
    averages = [1.0, one, one, (one + two) / 2, (one + two) / 2, ((one + two) / 2 + three) / 2]
    np.testing.assert_allclose([value for value, _ in seen], [1, one, one, two, two, three], rtol=1e-6)
    np.testing.assert_allclose([average for _, average in seen], averages, rtol=1e-6)


def test_overwriting_under_accumulation_happens_at_updates_only() -> None:
    options: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}
    optimizer, v = RMSprop(0.1, **options, gradient_accumulation_steps=2), f32(1)
    for call in range(1, 13):
        before = v.copy()
        optimizer.apply([f32(1)], [v])
        average = slots(optimizer)["variable_0_average"]
        if call % 2:
            assert v == before, "a call without an update leaves the variable"
        assert (v == average).all() == (call % 4 in (0, 1) or call < 4), call


# EMA slot before the first update; finalize before any step


def test_the_average_begins_as_the_variable() -> None:
    optimizer, v = RMSprop(use_ema=True), f32(1, -2)
    optimizer.build([v])
    assert slots(optimizer)["variable_0_average"].tolist() == [1, -2]


@pytest.mark.parametrize("steps", [None, 3])
def test_finalize_before_any_step_changes_nothing(steps: int | None) -> None:
    optimizer, v = RMSprop(use_ema=True, gradient_accumulation_steps=steps), f32(1, -2)
    optimizer.build([v])
    optimizer.finalize_variable_values()
    assert v.tolist() == [1, -2]


def test_finalize_before_any_step_keeps_values_loaded_after_build() -> None:
    optimizer, v = RMSprop(use_ema=True), f32(0, 0)
    optimizer.build([v])
    v[:] = 5, 6
    optimizer.finalize_variable_values([v])
    assert v.tolist() == [5, 6]


def test_averages_switched_on_later_begin_as_the_variable() -> None:
    optimizer, v = RMSprop(0.1, ema_momentum=0.5), f32(1)
    optimizer.apply([f32(1)], [v])
    optimizer.use_ema = True
    assert slots(optimizer)["variable_0_average"] == v
    before = float(v[0])
    optimizer.apply([f32(1)])
    assert slots(optimizer)["variable_0_average"][0] == pytest.approx((before + float(v[0])) / 2, rel=1e-6)


# EMA and constraints


def test_the_average_is_taken_after_the_constraint() -> None:
    v = Variable(f32(0.1), constraint=lambda array: np.maximum(array, 0))
    optimizer = RMSprop(0.5, use_ema=True, ema_momentum=0.5)
    optimizer.apply([f32(1)], [v])
    assert v.value[0] == 0
    assert slots(optimizer)["variable_average"][0] == 0
    optimizer.finalize_variable_values()
    assert v.value[0] == 0


def test_averages_stay_in_a_convex_set() -> None:
    def in_the_unit_ball(array: Array) -> Array:
        return array / max(1.0, float(np.sqrt(np.sum(np.square(array, dtype=np.float64)))))

    rng = np.random.default_rng(0)
    v = Variable(np.zeros(8), constraint=in_the_unit_ball)
    optimizer = RMSprop(0.3, use_ema=True, ema_momentum=0.7, ema_overwrite_frequency=3)
    for _ in range(20):
        optimizer.apply([rng.normal(size=8)], [v])
        assert np.linalg.norm(slots(optimizer)["variable_average"]) <= 1 + 1e-12
        assert np.linalg.norm(v.value) <= 1 + 1e-12


def test_constraints_are_not_applied_between_updates() -> None:
    v = Variable(f32(-1), constraint=lambda array: np.maximum(array, 0))
    optimizer = RMSprop(0.5, gradient_accumulation_steps=2)
    optimizer.apply([f32(1)], [v])
    assert v.value[0] == -1
    optimizer.apply([f32(1)], [v])
    assert v.value[0] == 0


# gradient None at the update call


@pytest.mark.parametrize("options", [{}, {"use_ema": True}, {"clipnorm": 1e3}, {"weight_decay": 0.0}])
def test_what_was_accumulated_is_kept_when_the_gradient_is_missing_at_the_update(options: dict[str, Any]) -> None:
    optimizer, a, b = RMSprop(0.1, gradient_accumulation_steps=2, **options), f32(1), f32(1)
    optimizer.apply([f32(1), f32(2)], [a, b])
    with pytest.warns(UserWarning, match="variable_1"):
        optimizer.apply([f32(1), None], [a, b])
    assert b[0] == pytest.approx(0.683772385, rel=1e-6)  # the mean of 2 and nothing is 1
    assert a[0] == b[0]
    assert slots(optimizer)["variable_1_velocity"][0] == pytest.approx(0.1, rel=1e-6)
    optimizer.apply([f32(0), f32(5)])
    assert slots(optimizer)["variable_1_gradient_accumulator"][0] == 5, "nothing is left of the last window"


def test_a_variable_without_any_gradient_in_the_window_stays() -> None:
    optimizer, a, b = RMSprop(0.1, momentum=0.5, weight_decay=0.1, gradient_accumulation_steps=2), f32(1), f32(1)
    optimizer.build([a, b])
    for _ in range(2):
        with pytest.warns(UserWarning, match="variable_1"):
            optimizer.apply([f32(1), None])
    assert a[0] < 1
    assert b[0] == 1
    assert slots(optimizer)["variable_1_velocity"][0] == 0


# centered with steady gradients


def steady(steps: int = 600, size: int = 2000) -> tuple[Array, Array, int]:
    gradient = np.random.default_rng(0).uniform(0.5, 2, size).astype(F32)
    return np.zeros(size, F32), gradient, steps


def test_centered_with_steady_gradients_has_no_nan() -> None:
    v, gradient, steps = steady()
    optimizer = RMSprop(0.001, centered=True)
    for _ in range(steps):
        optimizer.apply([gradient], [v])
    assert np.isfinite(v).all()
    assert np.isfinite(slots(optimizer)["variable_0_velocity"]).all()


def test_centered_in_keras_has_nan() -> None:
    v, gradient, steps = steady()
    theirs, tracked = to_keras({"learning_rate": 0.001, "centered": True}, [v])
    with np.errstate(all="ignore"):
        for _ in range(steps):
            theirs.apply([gradient], tracked)
    assert np.isnan(np.asarray(tracked[0].value)).mean() > 0.02


def test_the_clamp_changes_no_bit_of_a_variance_that_is_not_negative() -> None:
    rng, v = np.random.default_rng(1), np.zeros(500, F32)
    ours = RMSprop(0.01, centered=True)
    theirs, tracked = to_keras({"learning_rate": 0.01, "centered": True}, [v])
    for _ in range(50):
        gradient = rng.normal(size=500).astype(F32)
        ours.apply([gradient], [v])
        theirs.apply([gradient], tracked)
    assert v.tobytes() == np.asarray(tracked[0].value).tobytes()


# norms of huge gradients


def test_clipnorm_of_huge_gradients() -> None:
    (seen,) = seen_gradient([[3e20, 4e20]], clipnorm=1.0)
    np.testing.assert_allclose(seen, [0.6, 0.8], rtol=1e-6)


def test_global_clipnorm_of_huge_gradients() -> None:
    first, second = seen_gradient([[3e20, 0.0], [4e20]], global_clipnorm=1.0)
    np.testing.assert_allclose(first, [0.6, 0.0], rtol=1e-6)
    np.testing.assert_allclose(second, [0.8], rtol=1e-6)


def test_clipnorm_of_tiny_gradients() -> None:
    (seen,) = seen_gradient([[3e-23, 4e-23]], clipnorm=5e-24)
    np.testing.assert_allclose(seen, [3e-24, 4e-24], rtol=1e-6)


def test_keras_loses_huge_gradients() -> None:
    theirs, tracked = to_keras({"learning_rate": 1.0, "clipnorm": 1.0, **PLAIN}, [np.zeros(2, F32)])
    with np.errstate(all="ignore"):
        theirs.apply([f32(3e20, 4e20)], tracked)
    assert np.asarray(tracked[0].value).tolist() == [0, 0]


def test_norms_do_not_depend_on_where_arrays_lie() -> None:
    rng = np.random.default_rng(0)
    gradient = rng.normal(size=100_003).astype(F32)
    room = np.empty(100_100, F32)
    results = set()
    for offset in (0, 1, 3, 7, 16):
        there = room[offset : offset + gradient.size]
        there[:] = gradient
        v = np.zeros(gradient.size, F32)
        RMSprop(1.0, clipnorm=0.1, **PLAIN).apply([there], [v])
        results.add(v.tobytes())
    assert len(results) == 1


# clipnorm below the threshold


@pytest.mark.parametrize("option", ["clipnorm", "global_clipnorm", "clipvalue"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gradient_below_the_threshold_is_untouched(option: str, dtype: Float) -> None:
    gradient: Array = np.random.default_rng(0).normal(size=200).astype(dtype)
    (seen,) = seen_gradient([gradient], dtype, **{option: 30.0})
    assert seen.tobytes() == gradient.tobytes()
    assert ((gradient * dtype(30)) / dtype(30) != gradient).any(), "multiplying and dividing would not do"


# learning rate on float64 variables


@pytest.mark.parametrize("rate", [0.1, lambda: 0.1, rmsprop_jit.PolynomialDecay(0.1, 10, 0.1)])
def test_the_rate_of_float64_variables_is_not_rounded(rate: LearningRate) -> None:
    v = np.zeros(1)
    RMSprop(rate, **PLAIN).apply([np.ones(1)], [v])
    assert -v[0] == pytest.approx(0.1, rel=1e-15)
    assert -v[0] != float(F32(0.1))


def test_the_rate_reads_back_as_it_was_given() -> None:
    optimizer = RMSprop(0.1)
    assert optimizer.learning_rate == 0.1
    assert optimizer.get_config()["learning_rate"] == 0.1
    optimizer.learning_rate = 0.3
    assert optimizer.learning_rate == 0.3
    assert float(optimizer.variables[1].value) == 0.3


# integer learning rate; numpy scalars


@pytest.mark.parametrize("rate", [1, np.int64(1), np.float32(1), np.float64(1), np.float16(1), np.array(1.0)])
def test_any_number_is_a_learning_rate(rate: Any) -> None:
    v = f32(3)
    optimizer = RMSprop(rate, **PLAIN)
    optimizer.apply([f32(1)], [v])
    assert v[0] == 2
    assert type(optimizer.learning_rate) is float
    optimizer.learning_rate = rate
    assert optimizer.learning_rate == 1.0


def test_numpy_scalars_are_numbers_in_every_option() -> None:
    options: dict[str, Any] = {
        "rho": np.float32(0.5),
        "momentum": np.float64(0.5),
        "epsilon": np.float32(0.25),
        "centered": np.True_,
        "weight_decay": np.float32(0.5),
        "clipnorm": np.int64(2),
        "ema_overwrite_frequency": np.int32(7),
        "gradient_accumulation_steps": np.uint8(3),
        "loss_scale_factor": np.int16(8),
    }
    optimizer = RMSprop(**options)
    for name, value in options.items():
        assert getattr(optimizer, name) == value
        assert type(getattr(optimizer, name)) in (float, int, bool)


# rho, momentum, epsilon, weight_decay out of range; clipnorm=0


@pytest.mark.parametrize(
    ("name", "value"),
    [("rho", 1.5), ("momentum", -0.1), ("epsilon", -1e-9), ("weight_decay", math.nan), ("rho", "0.9"), ("clipnorm", 0)],
)
def test_values_without_meaning_are_refused_when_made_and_when_assigned(name: str, value: Any) -> None:
    optimizer = RMSprop()
    before = optimizer.get_config()
    with pytest.raises(OptionError, match=name):
        RMSprop(**{name: value})
    with pytest.raises(OptionError, match=name):
        setattr(optimizer, name, value)
    assert optimizer.get_config() == before


@pytest.mark.parametrize(("name", "low", "high"), [("rho", 0, 1), ("momentum", 0, 1), ("ema_momentum", 0, 1)])
def test_the_ends_of_a_range_are_in_it(name: str, low: int, high: int) -> None:
    for end in (low, high):
        options: dict[str, Any] = {name: end}
        assert getattr(RMSprop(**options), name) == end


@pytest.mark.parametrize("option", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_none_switches_clipping_off(option: str) -> None:
    clipping: dict[str, Any] = {option: 1.0}
    optimizer, v = RMSprop(1.0, **PLAIN, **clipping), f32(0)
    optimizer.apply([f32(8)], [v])
    assert v[0] == -1
    setattr(optimizer, option, None)
    optimizer.apply([f32(8)])
    assert v[0] == -9


# two clip options set by attribute; a feature switched on after build


def test_two_clip_options_cannot_be_set_by_attribute() -> None:
    optimizer = RMSprop(clipnorm=1.0)
    with pytest.raises(OptionError, match="Only one of"):
        optimizer.global_clipnorm = 2.0
    assert (optimizer.clipnorm, optimizer.global_clipnorm) == (1.0, None)
    optimizer.clipnorm = None
    optimizer.global_clipnorm = 2.0
    assert optimizer.global_clipnorm == 2.0


FEATURES: dict[str, Any] = {
    "momentum": 0.9,
    "centered": True,
    "weight_decay": 0.1,
    "clipnorm": 0.5,
    "clipvalue": 0.1,
    "global_clipnorm": 0.5,
    "loss_scale_factor": 8.0,
    "use_ema": True,
}
NEW_SLOTS = {"momentum": "momentum", "centered": "average_gradient", "use_ema": "average"}


@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_switched_on_after_build_acts_from_then_on(feature: str) -> None:
    """As an optimizer that always had it and comes to this state by loading it."""
    rng, off = np.random.default_rng(0), {"use_ema": False, "centered": False, "momentum": 0.0}.get(feature)
    variables: list[Array] = [rng.normal(size=5).astype(F32), rng.normal(size=(2, 3))]
    ours = RMSprop(0.1)
    ours.build(variables)
    ours.apply([np.ones_like(v) for v in variables])
    setattr(ours, feature, FEATURES[feature])

    others = [v.copy() for v in variables]
    always = RMSprop(0.1, **{feature: FEATURES[feature]})
    always.build(others)
    always.load_state_dict({**always.state_dict(), **_common(ours, always)})
    for _ in range(3):
        gradients = [rng.normal(size=v.shape).astype(v.dtype) for v in variables]
        ours.apply(gradients)
        always.apply(gradients)
        assert [v.tobytes() for v in variables] == [v.tobytes() for v in others]
    assert {**ours.get_config(), feature: off} == RMSprop(0.1).get_config()
    assert any(name.endswith(NEW_SLOTS.get(feature, "velocity")) for name in slots(ours))

    setattr(ours, feature, off)
    assert slots(ours).keys() == {"iteration", "learning_rate", "variable_0_velocity", "variable_1_velocity"}
    ours.apply(gradients)


def _common(one: RMSprop, other: RMSprop) -> dict[str, Array]:
    kept = one.state_dict()
    return {name: kept[name] for name in kept.keys() & other.state_dict().keys()}


def test_accumulation_switched_on_after_build() -> None:
    optimizer, v = RMSprop(1.0, **PLAIN), f32(0)
    optimizer.apply([f32(1)], [v])
    optimizer.apply([f32(1)], [v])
    optimizer.gradient_accumulation_steps = 2
    optimizer.apply([f32(4)])
    assert v[0] == -2
    optimizer.apply([f32(8)])
    assert v[0] == -8
    optimizer.gradient_accumulation_steps = None
    optimizer.apply([f32(1)])
    assert v[0] == -9


def test_numbers_take_effect_at_once() -> None:
    optimizer, v = RMSprop(1.0, **PLAIN), f32(0)
    for rate in (1.0, 2.0, 0.5):
        optimizer.learning_rate = rate
        optimizer.apply([f32(1)], [v])
    assert v[0] == -3.5


# length or shape mismatch, unknown or duplicated variable, overlapping memory


def test_mismatches_are_errors_before_anything_is_written() -> None:
    a, b = f32(1, 2), f32(3, 4)
    optimizer = RMSprop(0.1)
    optimizer.build([a, b])
    one = f32(1, 1)
    for gradients, variables in [
        ([one], [a, b]),
        ([one, one], [a]),
        ([one, f32(1)], [a, b]),
        ([one, one], [a, a]),
        ([one, one], [a, b.copy()]),
        ([one, a], [a, b]),
    ]:
        with pytest.raises(ArrayError):
            optimizer.apply(gradients, variables)
    with pytest.raises(ArrayError, match="share memory"):
        RMSprop().build([a, a[1:]])
    assert (a.tolist(), b.tolist(), optimizer.iterations) == ([1, 2], [3, 4], 0)


# minimize(loss, var_list) of the documentation


def test_minimize_works() -> None:
    pytest.importorskip("autograd")
    variable = Variable(10.0)
    RMSprop(learning_rate=0.1).minimize(lambda: (variable**2) / 2.0, [variable])
    assert float(variable) == pytest.approx(9.683772, rel=1e-6)


# pickle, copy.deepcopy

EVERYTHING: dict[str, Any] = {
    "learning_rate": rmsprop_jit.CosineDecay(0.1, 20),
    "momentum": 0.5,
    "centered": True,
    "weight_decay": 0.3,
    "clipnorm": 2.0,
    "use_ema": True,
    "ema_momentum": 0.9,
    "ema_overwrite_frequency": 3,
    "loss_scale_factor": 2.0,
    "gradient_accumulation_steps": 2,
}
Copy = Callable[[Any], Any]
"""From an optimizer, or a tuple with one, to a copy."""


def pickled_by(protocol: int) -> Copy:
    return lambda thing: pickle.loads(pickle.dumps(thing, protocol=protocol))


COPIES: dict[str, Copy] = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "deepcopy": copy.deepcopy,
    **{f"protocol-{i}": pickled_by(i) for i in (2, 4, 5)},
}
copying = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
calls_before = pytest.mark.parametrize("calls", [0, 3, 4])


def named_variables() -> dict[str, Array]:
    rng = np.random.default_rng(3)
    return {"kernel": rng.normal(size=(4, 3)).astype(F32), "bias": rng.normal(size=3)}


def gradients_for(variables: Mapping[str, Array], call: int) -> dict[str, Array]:
    rng = np.random.default_rng(100 + call)
    return {name: np.asarray(rng.normal(size=v.shape), v.dtype) for name, v in variables.items()}


def run(optimizer: RMSprop, variables: Mapping[str, Array], calls: range) -> None:
    for call in calls:
        optimizer.apply(gradients_for(variables, call))


def everything(optimizer: RMSprop, variables: dict[str, Array]) -> dict[str, bytes]:
    state = {name: value.tobytes() for name, value in optimizer.state_dict().items()}
    return state | {f"variable {name}": np.asarray(value).tobytes() for name, value in variables.items()}


@copying
@calls_before
def test_a_copy_built_on_new_arrays_goes_on_as_the_original(copied: Copy, calls: int) -> None:
    ours, variables = RMSprop(**EVERYTHING), named_variables()
    ours.exclude_from_weight_decay(var_names=["bias"])
    ours.build(variables)
    run(ours, variables, range(calls))
    theirs, others = copied(ours), {name: value.copy() for name, value in variables.items()}
    theirs.build(others)
    assert everything(theirs, others) == everything(ours, variables)
    assert theirs.get_config() == ours.get_config()
    run(ours, variables, range(calls, calls + 5))
    run(theirs, others, range(calls, calls + 5))
    assert everything(theirs, others) == everything(ours, variables)
    assert theirs.iterations == ours.iterations == (calls + 5) // 2


@copying
def test_a_copy_has_memory_of_its_own(copied: Copy) -> None:
    ours, variables = RMSprop(0.1, momentum=0.5), named_variables()
    ours.build(variables)
    run(ours, variables, range(2))
    before = everything(ours, variables)
    theirs, others = copied((ours, variables))
    run(theirs, others, range(2, 4))
    assert everything(ours, variables) == before
    assert theirs.iterations == 4


@copying
@pytest.mark.parametrize("rebuilt", [False, True])
def test_arrays_excluded_from_weight_decay_stay_excluded_in_a_copy(copied: Copy, rebuilt: bool) -> None:
    ours, variables = RMSprop(1.0, weight_decay=0.5, **PLAIN), {"a": f32(8), "b": f32(8)}
    ours.build(variables)
    ours.exclude_from_weight_decay(var_list=[variables["b"]])
    theirs, others = copied((ours, variables))
    if rebuilt:
        theirs, others = copied(ours), {name: value.copy() for name, value in variables.items()}
        theirs.build(others)
    for optimizer, arrays in ((theirs, others), (ours, variables)):
        optimizer.apply({"a": f32(1), "b": f32(1)})
        assert (arrays["a"][0], arrays["b"][0]) == (3, 7)


@copying
def test_an_optimizer_and_its_variables_copied_together_stay_together(copied: Copy) -> None:
    v = Variable(f32(1.0), name="v")
    ours = RMSprop(0.1)
    ours.apply([f32(1)], [v])
    theirs, w = copied((ours, v))
    theirs.apply([f32(1)], [w])
    assert w.value[0] == pytest.approx(0.45435673, rel=1e-6)
    assert v.value[0] == pytest.approx(0.683772385, rel=1e-6)


@copying
def test_an_unbuilt_optimizer_is_copied_too(copied: Copy) -> None:
    theirs, v = copied(RMSprop(0.1, momentum=0.5)), f32(1)
    theirs.apply([f32(1)], [v])
    assert v[0] == pytest.approx(0.683772385, rel=1e-6)


@copying
def test_a_copy_refuses_variables_of_other_shapes_and_keeps_its_state(copied: Copy) -> None:
    ours, variables = RMSprop(0.1), named_variables()
    ours.build(variables)
    run(ours, variables, range(2))
    theirs = copied(ours)
    for wrong in ({"kernel": f32(1)}, [*variables.values()], {"kernel": variables["kernel"], "bias": np.zeros(4)}):
        with pytest.raises(ArrayError, match="kernel"):
            theirs.build(wrong)
    others = {name: value.copy() for name, value in variables.items()}
    theirs.build(others)
    assert everything(theirs, others) == everything(ours, variables)


# saving

SAVED: dict[str, dict[str, Any]] = {
    "plain": {"learning_rate": 0.1},
    "momentum": {"learning_rate": 0.1, "momentum": 0.9},
    "centered": {"learning_rate": 0.1, "momentum": 0.9, "centered": True},
    "average": {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.5, "centered": True},
    "accumulation": {"learning_rate": 0.1, "gradient_accumulation_steps": 3, "momentum": 0.5, "weight_decay": 0.1},
    "callable": {"learning_rate": lambda: 0.1, "momentum": 0.5},
}
saving = pytest.mark.parametrize("options", SAVED.values(), ids=SAVED)
in_a_window = pytest.mark.parametrize("calls", [0, 2, 3, 4])


def two_variables() -> list[Array]:
    rng = np.random.default_rng(5)
    return [rng.normal(size=(2, 3)).astype(F32), rng.normal(size=4).astype(F32)]


def two_gradients(call: int) -> list[Array]:
    rng = np.random.default_rng(50 + call)
    return [rng.normal(size=(2, 3)).astype(F32), rng.normal(size=4).astype(F32)]


def same_as_keras(ours: RMSprop, variables: list[Array], theirs: Keras, tracked: list[Keras]) -> None:
    assert [v.tobytes() for v in variables] == [np.asarray(v.value).tobytes() for v in tracked]
    mine: dict[str, Array] = {}
    other = keras_store(theirs)
    ours.save_own_variables(mine)
    assert mine.keys() == other.keys()
    for key in mine:
        np.testing.assert_array_equal(np.asarray(mine[key], F32), np.asarray(other[key], F32))
    assert ours.iterations == int(np.asarray(theirs.iterations))


@saving
@in_a_window
def test_state_moves_to_keras(options: dict[str, Any], calls: int) -> None:
    options = {"ema_overwrite_frequency": None, **options}
    store: dict[str, Any] = {}
    ours, variables = RMSprop(**options), two_variables()
    ours.build(variables)
    for call in range(calls):
        ours.apply(two_gradients(call))
    theirs, tracked = to_keras(options, variables)
    ours.save_own_variables(store)
    theirs.load_own_variables(store)
    same_as_keras(ours, variables, theirs, tracked)
    for call in range(calls, calls + 4):
        ours.apply(two_gradients(call))
        theirs.apply(two_gradients(call), tracked)
        same_as_keras(ours, variables, theirs, tracked)


@saving
@in_a_window
def test_state_moves_from_keras(options: dict[str, Any], calls: int) -> None:
    options = {"ema_overwrite_frequency": None, **options}
    theirs, tracked = to_keras(options, two_variables())
    for call in range(calls):
        theirs.apply(two_gradients(call), tracked)
    variables = [np.array(v.value) for v in tracked]
    ours = RMSprop(**options)
    ours.build(variables)
    ours.load_own_variables(keras_store(theirs))
    if calls:  # before the first step Keras's average is 0 and does not matter
        same_as_keras(ours, variables, theirs, tracked)
    for call in range(calls, calls + 4):
        ours.apply(two_gradients(call))
        theirs.apply(two_gradients(call), tracked)
        same_as_keras(ours, variables, theirs, tracked)


def test_a_store_has_keras_order_and_numbers() -> None:
    options: dict[str, Any] = {"momentum": 0.5, "centered": True, "use_ema": True, "gradient_accumulation_steps": 2}
    store: dict[str, Any] = {}
    ours, variables = RMSprop(**options), two_variables()
    ours.build(variables)
    theirs, _ = to_keras(options, variables)
    ours.save_own_variables(store)
    assert list(store) == [str(i) for i in range(12)]
    assert [one.path for one in ours.variables] == [one.path for one in theirs.variables]


def test_loading_takes_the_saved_learning_rate() -> None:
    store: dict[str, Any] = {}
    first, second = RMSprop(0.1), RMSprop(0.7)
    for optimizer in (first, second):
        optimizer.build([f32(1)])
    first.save_own_variables(store)
    second.load_own_variables(store)
    assert second.learning_rate == 0.1


@pytest.mark.parametrize("calls", [0, 3, 4])
def test_a_state_dict_goes_round(calls: int) -> None:
    ours, variables = RMSprop(**EVERYTHING), named_variables()
    ours.build(variables)
    run(ours, variables, range(calls))
    state = ours.state_dict()
    others = {name: value.copy() for name, value in variables.items()}
    theirs = RMSprop(**EVERYTHING)
    theirs.build(others)
    theirs.load_state_dict(state)
    assert everything(theirs, others) == everything(ours, variables)
    run(ours, variables, range(calls, calls + 4))
    assert state["iteration"] == calls, "a state dict is a copy"
    run(theirs, others, range(calls, calls + 4))
    assert everything(theirs, others) == everything(ours, variables)


def test_a_state_dict_is_by_name() -> None:
    variables = named_variables()
    swapped = {name: variables[name].copy() for name in ("bias", "kernel")}
    ours, theirs = RMSprop(0.1, momentum=0.5), RMSprop(0.1, momentum=0.5)
    ours.build(variables)
    theirs.build(swapped)
    run(ours, variables, range(3))
    theirs.load_state_dict(ours.state_dict())
    assert slots(theirs)["kernel_momentum"].tobytes() == slots(ours)["kernel_momentum"].tobytes()
    assert slots(theirs)["bias_velocity"].tobytes() == slots(ours)["bias_velocity"].tobytes()


def test_a_state_dict_goes_through_npz(tmp_path: Path) -> None:
    ours, variables = RMSprop(**EVERYTHING), named_variables()
    ours.build(variables)
    run(ours, variables, range(3))
    saved: dict[str, Any] = ours.state_dict()
    np.savez(tmp_path / "state.npz", **saved)
    before = everything(ours, variables)
    kept = {name: value.copy() for name, value in variables.items()}
    run(ours, variables, range(3, 5))
    with np.load(tmp_path / "state.npz", allow_pickle=False) as state:
        ours.load_state_dict(state)
    for name, value in kept.items():
        variables[name][...] = value
    assert everything(ours, variables) == before


# Reading the state changes nothing, not even what the next call overwrites: another thread may be in that call.


def saved_by_number(optimizer: RMSprop) -> dict[str, Array]:
    store: dict[str, Array] = {}
    optimizer.save_own_variables(store)
    return dict(zip([one.name for one in optimizer.variables], store.values(), strict=True))


Read = Callable[[RMSprop], dict[str, Array]]
READS: dict[str, Read] = {
    "state_dict": lambda optimizer: optimizer.state_dict(),
    "variables": slots,
    "save_own_variables": saved_by_number,
    "pickle": lambda optimizer: slots(pickle.loads(pickle.dumps(optimizer))),
    "deepcopy": lambda optimizer: slots(copy.deepcopy(optimizer)),
}
reading = pytest.mark.parametrize("read", READS.values(), ids=READS)
ACCUMULATORS = ("kernel_gradient_accumulator", "bias_gradient_accumulator")


def with_leftovers() -> tuple[RMSprop, dict[str, Array], dict[str, Array]]:
    """An optimizer just after an update, its variables, and its slots themselves, seen while gradients were added."""
    optimizer, variables = RMSprop(**EVERYTHING), named_variables()
    optimizer.build(variables)
    run(optimizer, variables, range(3))
    own = slots(optimizer)
    run(optimizer, variables, range(3, 4))
    assert all(own[name].all() for name in ACCUMULATORS), "what was added up is still there"
    return optimizer, variables, own


@reading
def test_reading_the_state_writes_nothing(read: Read) -> None:
    optimizer, variables, own = with_leftovers()
    before = [array.tobytes() for array in (*own.values(), *variables.values())]
    read(optimizer)
    assert [array.tobytes() for array in (*own.values(), *variables.values())] == before
    run(optimizer, variables, range(4, 5))
    before = [array.tobytes() for array in (*own.values(), *variables.values())]
    read(optimizer)
    assert [array.tobytes() for array in (*own.values(), *variables.values())] == before


@reading
def test_a_reader_sees_zeros_in_place_of_leftovers(read: Read) -> None:
    optimizer, _, own = with_leftovers()
    found = read(optimizer)
    for name in ACCUMULATORS:
        assert not found[name].any()
        assert (found[name].shape, found[name].dtype) == (own[name].shape, own[name].dtype)
        found[name][...] = 7
    assert not any((own[name] == 7).any() for name in ACCUMULATORS)
    assert not any(read(optimizer)[name].any() for name in ACCUMULATORS)


@reading
def test_a_reader_sees_what_one_variable_has_added_up_and_another_has_not(read: Read) -> None:
    optimizer, variables, own = with_leftovers()
    gradient = gradients_for(variables, 4)["bias"]
    optimizer.apply([gradient], [variables["bias"]])
    found = read(optimizer)
    assert not found["kernel_gradient_accumulator"].any()
    assert found["bias_gradient_accumulator"].all()
    assert found["bias_gradient_accumulator"].tobytes() == own["bias_gradient_accumulator"].tobytes()


def test_all_variables_but_leftovers_share_memory() -> None:
    optimizer, variables, own = with_leftovers()
    for one in optimizer.variables[1:]:  # this optimizer's rate is a schedule, not a variable
        assert np.shares_memory(one.value, own[one.name]) == (one.name not in ACCUMULATORS), one.name
    run(optimizer, variables, range(4, 5))
    assert all(np.shares_memory(one.value, own[one.name]) for one in optimizer.variables[1:])


def test_leftovers_are_not_pickled() -> None:
    optimizer, _, own = with_leftovers()
    pickled = pickle.dumps(optimizer)
    assert own["bias_velocity"].tobytes() in pickled
    assert own["bias_gradient_accumulator"].tobytes() not in pickled


@pytest.mark.parametrize(("saved", "loaded"), [({"momentum": 0.5}, {"centered": True}), ({}, {"use_ema": True})])
def test_state_of_other_options_is_refused(saved: dict[str, Any], loaded: dict[str, Any]) -> None:
    ours, theirs = RMSprop(**saved), RMSprop(**loaded)
    for optimizer in (ours, theirs):
        optimizer.build(named_variables())
    with pytest.raises(ArrayError, match="does not fit"):
        theirs.load_state_dict(ours.state_dict())


# schedules in float64; integer initial rate; restarts


def test_schedules_are_evaluated_in_float64() -> None:
    assert rmsprop_jit.PolynomialDecay(0.1, 8, 0.01)(2) == pytest.approx(0.0775, rel=1e-15)
    assert rmsprop_jit.ExponentialDecay(0.1, 10, 0.5)(5) == pytest.approx(0.1 * math.sqrt(0.5), rel=1e-15)
    assert rmsprop_jit.InverseTimeDecay(0.1, 10, 0.5)(1) == pytest.approx(0.1 / 1.05, rel=1e-15)
    assert rmsprop_jit.CosineDecay(0.1, 10, 0.1)(1) == pytest.approx(0.045 * (1 + math.cos(math.pi / 10)) + 0.01, 1e-15)


def test_a_schedule_on_float64_variables_is_not_rounded_to_float32() -> None:
    schedule, v = rmsprop_jit.ExponentialDecay(0.1, 10, 0.5), np.zeros(1)
    optimizer = RMSprop(schedule, **PLAIN)
    for _ in range(3):
        optimizer.apply([np.ones(1)], [v])
    assert -v[0] == pytest.approx(schedule(0) + schedule(1) + schedule(2), rel=1e-15)


def test_an_integer_initial_rate_is_the_number_it_is() -> None:
    warm = rmsprop_jit.CosineDecay(0, 10, warmup_target=0.1, warmup_steps=5)
    assert [warm(step) for step in (0, 1, 5, 10)] == pytest.approx([0, 0.02, 0.1, 0.05])
    assert rmsprop_jit.ExponentialDecay(1, 10, 0.5)(5) == pytest.approx(math.sqrt(0.5))
    assert rmsprop_jit.CosineDecay(1, 10)(5) == pytest.approx(0.5)
    assert rmsprop_jit.PolynomialDecay(1, 10, 0)(5) == 0.5
    assert rmsprop_jit.InverseTimeDecay(1, 10, 1)(5) == pytest.approx(2 / 3)
    assert rmsprop_jit.CosineDecayRestarts(1, 10)(5) == pytest.approx(0.5)
    assert rmsprop_jit.PiecewiseConstantDecay([1], [1, 0])(1) == 1.0


@pytest.mark.parametrize(
    ("t_mul", "restarts"),
    [(7, [10, 80, 570, 4000, 28010]), (1.5, [10, 25]), (1.0, [10, 20, 990]), (2, [10, 30, 70, 10230]), (3, [10, 40])],
)
def test_cosine_decay_restarts_at_the_very_step(t_mul: float, restarts: list[int]) -> None:
    schedule = rmsprop_jit.CosineDecayRestarts(0.1, 10, t_mul, m_mul=0.5)
    for step in restarts:
        period = restarts.index(step) + 1 if step < 990 or t_mul == 7 else round(math.log2(step / 10 + 1))
        period = step // 10 if t_mul == 1 else period
        assert schedule(step) == pytest.approx(0.1 * 0.5**period, rel=1e-12)
        assert schedule(step - 1) < schedule(step)


# exclude_from_weight_decay(var_names)


def decayed(optimizer: RMSprop) -> set[str]:
    """Which of three variables decay in a step without gradient."""
    variables = {"kernel": f32(2), "bias": f32(2), "norm": f32(2)}
    optimizer.build(variables)
    optimizer.apply({name: f32(0) for name in variables})
    return {name for name, value in variables.items() if value[0] != 2}


def test_calls_of_exclude_from_weight_decay_add_up() -> None:
    optimizer = RMSprop(1.0, weight_decay=0.004)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.exclude_from_weight_decay(var_names=["^no.m$"])
    assert decayed(optimizer) == {"kernel"}


def test_names_and_arrays_add_up() -> None:
    variables = [Variable(f32(2), name="a"), Variable(f32(2), name="b"), Variable(f32(2), name="c")]
    optimizer = RMSprop(1.0, weight_decay=0.004)
    optimizer.exclude_from_weight_decay(var_list=variables[:1])
    optimizer.exclude_from_weight_decay(var_list=[variables[2].value])
    optimizer.apply([f32(0)] * 3, variables)
    assert [float(v.value[0]) for v in variables] == pytest.approx([2, 1.992, 2])
    optimizer.exclude_from_weight_decay(var_names=["b"])
    optimizer.apply([f32(0)] * 3, variables)
    assert [float(v.value[0]) for v in variables] == pytest.approx([2, 1.992, 2])


def test_a_name_is_one_expression_and_not_its_letters() -> None:
    optimizer = RMSprop(1.0, weight_decay=0.004)
    optimizer.exclude_from_weight_decay(var_names="bias")
    assert decayed(optimizer) == {"kernel", "norm"}


def test_names_excluded_from_weight_decay_are_in_the_config() -> None:
    optimizer = RMSprop(1.0, weight_decay=0.004)
    assert RMSprop.from_config(optimizer.get_config()).get_config() == optimizer.get_config()
    optimizer.exclude_from_weight_decay(var_names=["bias", "norm"])
    config = optimizer.get_config()
    again = RMSprop.from_config(config)
    assert config == optimizer.get_config(), "from_config leaves its argument alone"
    assert again.get_config() == config
    assert decayed(again) == decayed(optimizer) == {"kernel"}


def test_the_names_path_is_not_searched() -> None:
    variable = Variable(f32(2), name="kernel", path="dense/kernel")
    optimizer = RMSprop(1.0, weight_decay=0.004)
    optimizer.exclude_from_weight_decay(var_names=["dense"])
    optimizer.apply([f32(0)], [variable])
    assert variable.value[0] == pytest.approx(1.992)


@pytest.mark.parametrize("rate", [rmsprop_jit.CosineDecay(0.1, 5), rmsprop_jit.PiecewiseConstantDecay([2], [0.1, 1])])
def test_a_config_holds_the_schedule(rate: Any) -> None:
    optimizer = RMSprop(rate, momentum=0.5)
    again = RMSprop.from_config(optimizer.get_config())
    assert again.learning_rate == optimizer.learning_rate
    assert again.get_config() == optimizer.get_config()


def test_a_weight_decay_of_zero_is_none() -> None:
    """Keras multiplies by it: an infinite parameter would become nan."""
    variable = np.array([np.inf, 1.0], np.float32)
    RMSprop(0.1, weight_decay=0.0).apply([np.zeros(2, np.float32)], [variable])
    assert variable.tolist() == [np.inf, 1.0]


# Other rules.


@pytest.mark.parametrize("name", ["Adagrad", "Ftrl"])
def test_a_sum_of_squares_takes_its_first_value_in_the_first_update(name: str) -> None:
    """Until then it shows zeros, and the value may still be changed; Keras writes it when it is built."""
    variable, gradient = np.ones(3), np.full(3, 2.0)
    optimizer = getattr(rmsprop_jit, name)(0.1, initial_accumulator_value=0.5)
    optimizer.build([variable])
    accumulator = next(one for one in optimizer.variables if one.name.endswith("accumulator"))
    assert accumulator.numpy().tolist() == [0.0] * 3
    optimizer.initial_accumulator_value = 3.0
    optimizer.apply([gradient])
    assert accumulator.numpy().tolist() == [7.0] * 3


def test_adamw_without_decay_is_adam() -> None:
    with pytest.raises(ValueError, match="weight_decay"):
        keras.optimizers.AdamW(weight_decay=None)
    ours, theirs, gradient = np.ones(3), np.ones(3), np.full(3, 0.5)
    rmsprop_jit.AdamW(0.1, weight_decay=None).apply([gradient], [ours])
    rmsprop_jit.Adam(0.1).apply([gradient], [theirs])
    assert ours.tobytes() == theirs.tobytes()


def test_powers_of_betas_are_rounded_once() -> None:
    """Adam's first step is the rate. In float32, 1 - 0.999 is a hundred thousandth part off, and 1 - 0.9 less."""
    gradient, exact = np.full(3, 0.5, np.float32), np.float32(-0.1)
    ours, theirs = np.zeros(3, np.float32), keras.Variable(np.zeros(3, np.float32))
    rmsprop_jit.Adam(0.1, epsilon=0.0).apply([gradient], [ours])
    keras.optimizers.Adam(0.1, epsilon=0.0).apply([gradient], [theirs])
    assert abs(ours - exact).max() <= 2e-7 * 0.1
    assert abs(np.asarray(theirs.value) - exact).max() >= 1e-6 * 0.1


# values set after build


def test_schedule_free_keeps_values_that_are_set_after_build() -> None:
    """Keras goes back to the values at `build`: with its first update, whose weight is 1, only z counts."""
    ours, theirs = f32(0, 0), keras.Variable(f32(0, 0), dtype="float32")
    one, other = rmsprop_jit.ScheduleFreeAdamW(0.01), keras.optimizers.ScheduleFreeAdamW(0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Keras's variables, about NumPy's `copy=`
        other.build([theirs])
    one.build([ours])
    ours[:] = 5, 6
    theirs.assign(f32(5, 6))
    one.apply([f32(1, 1)])
    other.apply([f32(1, 1)], [theirs])
    np.testing.assert_allclose(ours, [4.99, 5.99], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(theirs.value), [-0.01, -0.01], rtol=1e-4)


# averaged weights


def test_averaged_weights_are_shown_and_training_goes_on_from_the_others() -> None:
    optimizer, v = RMSprop(0.1, use_ema=True, ema_momentum=0.5), f32(1)
    for _ in range(2):
        optimizer.apply([f32(1)], [v])
    before = v.copy()
    with optimizer.averaged():
        assert v == slots(optimizer)["variable_0_average"]
        assert v != before
    assert v == before
