"""The numbers are Keras's: bit for bit in float32 without norms, on Keras's own numpy backend."""

import warnings
from typing import Any

import numpy as np
import pytest
from every_rule import some
from keras_side import KerasSide
from option_sets import Case, make_case
from oracle import Oracle

import rmsprop_jit
from rmsprop_jit.arrays.homes import Array

SLOTS = ("average", "gradient_accumulator", "velocity", "momentum", "average_gradient")


def build_ours(case: Case) -> tuple[rmsprop_jit.RMSprop, list[Array]]:
    ours = rmsprop_jit.RMSprop(**case.options)
    variables = [v.copy() for v in case.variables]
    ours.build(variables)
    ours.exclude_from_weight_decay(var_list=[variables[i] for i in case.excluded])
    return ours, variables


def our_slots(ours: rmsprop_jit.RMSprop) -> dict[str, Array]:
    return {variable.path.split("/")[1]: variable.value for variable in ours.variables}


def keep_to_common_ground(case: Case) -> Case:
    """Leave out averages and missing gradients under accumulation: rows of the README with tests of their own."""
    if "gradient_accumulation_steps" in case.options:
        case.options.pop("use_ema", None)
        for call in case.gradients:
            call[:] = [np.zeros_like(v) if g is None else g for g, v in zip(call, case.variables, strict=True)]
    return case


def assert_close(actual: Any, expected: Any, case: Case, what: str) -> None:
    with np.errstate(all="ignore"):
        if case.dtype == "float64":
            np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-15, err_msg=what)
        elif case.has_norm or case.schedule:
            rtol = 5e-6 if case.schedule else 2e-6
            scale = np.max(np.abs(expected), initial=0.0)
            np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol * scale, err_msg=what)
        else:
            assert actual.tobytes() == np.asarray(expected).tobytes(), what


@pytest.mark.parametrize("seed", some(range(400), "parity", 100))
def test_float32_equals_keras_after_every_call(seed: int) -> None:
    case = make_case(seed)
    compare_with_keras(keep_to_common_ground(case))


@pytest.mark.parametrize("seed", some(range(1000, 1060), "parity in float64", 20))
def test_float64_equals_keras_in_float64(seed: int) -> None:
    case = make_case(seed, "float64")
    compare_with_keras(keep_to_common_ground(case))


def compare_with_keras(case: Case) -> None:
    ours, variables = build_ours(case)
    with KerasSide(case) as keras, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for call, gradients in enumerate(case.gradients):
            ours.apply(gradients)
            keras.apply(gradients)
            for i, (mine, theirs) in enumerate(zip(variables, keras.variables(), strict=True)):
                assert_close(mine, theirs, case, f"{case}: variable {i} after call {call}")
            slots, judged = our_slots(ours), keras.slots()
            assert slots.keys() == judged.keys()
            for name in slots.keys() - {"iteration", "learning_rate"}:
                assert_close(slots[name], judged[name], case, f"{case}: {name} after call {call}")
            assert ours.iterations == keras.iterations()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", some(range(2000, 2060), "oracle", 35))
def test_every_option_set_equals_the_oracle(seed: int, dtype: str) -> None:
    case = make_case(seed, dtype)
    ours, variables = build_ours(case)
    oracle = Oracle(case.variables, case.options, case.excluded)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for call, gradients in enumerate(case.gradients):
            rate = ours.learning_rate
            ours.apply(gradients)
            oracle.call(gradients, rate)
            compare_with_oracle(ours, variables, oracle, case, call)


def compare_with_oracle(
    ours: rmsprop_jit.RMSprop, variables: list[Array], oracle: Oracle, case: Case, call: int
) -> None:
    exact_or_close = make_case(case.seed, case.dtype)
    exact_or_close.schedule = False  # both sides use the same rate
    for i, variable in enumerate(variables):
        assert_close(variable, oracle.v[i], exact_or_close, f"{case}: variable {i} after call {call}")
    for name, value in our_slots(ours).items():
        if name.startswith("variable_"):
            position, slot = name.removeprefix("variable_").split("_", 1)
            assert_close(value, oracle.slots[slot][int(position)], exact_or_close, f"{case}: {name} after call {call}")
