"""Variables that their gradients overwrite, beside Keras's, and what else of an optimizer meets them."""

import copy
import os
import pickle

os.environ.setdefault("KERAS_BACKEND", "numpy")

from typing import Any

import keras
import numpy as np
import pytest
from compare import Array

import rmsprop_jit
from rmsprop_jit import ArrayError, Optimizer, RMSprop, Variable

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own

SHAPES = {"scale": (3,), "kernel": (2, 3), "history": (4,), "bias": (3,)}
OVERWRITTEN = ("scale", "history")

PAIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("RMSprop", {}),
    "all slots": ("RMSprop", {"momentum": 0.9, "centered": True, "weight_decay": 0.1, "clipvalue": 0.5}),
    "averages": ("RMSprop", {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}),
    "loss scale": ("SGD", {"loss_scale_factor": 8.0, "momentum": 0.5}),
    "accumulating": ("RMSprop", {"gradient_accumulation_steps": 3, "loss_scale_factor": 8.0}),
    "accumulating adam": ("Adam", {"gradient_accumulation_steps": 2, "amsgrad": True}),
    "clipped": ("SGD", {"global_clipnorm": 0.25}),
}


def made(name: str, options: dict[str, Any]) -> tuple[list[Variable], Optimizer]:
    """Our variables, and an optimizer that is built on them."""
    rng = np.random.default_rng(0)
    variables = [Variable(rng.normal(size=shape).astype(np.float32), name=key) for key, shape in SHAPES.items()]
    for one in variables:
        one.overwrite_with_gradient = one.name in OVERWRITTEN
    optimizer: Optimizer = getattr(rmsprop_jit, name)(learning_rate=0.1, **options)
    optimizer.build(variables)
    return variables, optimizer


def gradients(step: int) -> list[Array]:
    rng = np.random.default_rng(step + 1)
    return [rng.normal(size=shape).astype(np.float32) for shape in SHAPES.values()]


def assert_same(ours: list[Variable], theirs: list[Any], exactly: bool) -> None:
    for one, other in zip(ours, theirs, strict=True):
        if exactly:
            np.testing.assert_array_equal(one.numpy(), np.asarray(other.value), one.path)
        else:
            np.testing.assert_allclose(one.numpy(), np.asarray(other.value), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("case", PAIRS)
def test_variables_and_slots_are_keras_s(case: str) -> None:
    name, options = PAIRS[case]
    variables, optimizer = made(name, options)
    tracked = [keras.Variable(one.numpy(), name=one.name) for one in variables]
    for one in tracked:
        one.overwrite_with_gradient = one.name in OVERWRITTEN
    judge = getattr(keras.optimizers, name)(learning_rate=0.1, **options)
    judge.build(tracked)
    for step in range(7):
        brought = gradients(step)
        judge.apply([keras.ops.convert_to_tensor(g) for g in brought], tracked)
        optimizer.apply(brought)
        assert_same(variables, tracked, exactly=name == "RMSprop")
    assert [one.name for one in optimizer.variables] == [one.name for one in judge.variables]
    assert_same(optimizer.variables[2:], judge.variables[2:], exactly=name == "RMSprop")


def test_only_gradients_of_the_others_count_for_the_common_norm() -> None:
    variables, optimizer = made("SGD", {"global_clipnorm": 1.0})
    before = variables[1].numpy()
    optimizer.apply([np.full(one.shape, 1e6 if one.name in OVERWRITTEN else 0.01, np.float32) for one in variables])
    np.testing.assert_allclose(before - variables[1].numpy(), 0.001, rtol=1e-3)
    assert (variables[0].value == 1e6).all()


def test_a_call_for_overwritten_variables_alone_counts_and_leaves_the_rest() -> None:
    _, optimizer = made("Nadam", {"use_ema": True, "ema_overwrite_frequency": 5, "weight_decay": 0.1})
    for step in (1, 2):  # until averages are not what they are of
        optimizer.apply(gradients(step))
    before = optimizer.state_dict(variables=True)
    with pytest.warns(UserWarning, match=r"Gradients do not exist for variables \['kernel', 'bias'\]"):
        optimizer.apply([g if name in OVERWRITTEN else None for name, g in zip(SHAPES, gradients(0), strict=True)])
    after = optimizer.state_dict(variables=True)
    changed = {name for name in before if before[name].tobytes() != after[name].tobytes()}
    assert changed == {"iteration", "variables/scale", "variables/history"}


def test_a_window_without_a_gradient_at_its_end_is_not_lost() -> None:
    """Keras drops what was collected then; as for all other variables, it is used here."""
    variables, optimizer = made("SGD", {"gradient_accumulation_steps": 2})
    first, second = gradients(0), gradients(1)
    optimizer.apply(first)
    with pytest.warns(UserWarning, match="scale"):
        optimizer.apply([None, *second[1:]])
    np.testing.assert_array_equal(variables[0].numpy(), np.maximum(first[0], 0))
    np.testing.assert_array_equal(variables[2].numpy(), np.maximum(np.maximum(first[2], 0), second[2]))


def test_a_gradient_of_the_other_dtype_is_rounded_once() -> None:
    variables, optimizer = made("RMSprop", {})
    wide = [g.astype(np.float64) + 1e-12 for g in gradients(0)]
    optimizer.apply(wide)
    np.testing.assert_array_equal(variables[0].numpy(), wide[0].astype(np.float32))


def test_constraints_are_for_the_others() -> None:
    variables, optimizer = made("SGD", {})
    for one in variables:
        one.constraint = lambda array: np.maximum(array, 0)
    brought = [-np.ones(one.shape, np.float32) for one in variables]
    optimizer.apply(brought)
    assert (variables[0].value == -1).all()
    assert (variables[1].value >= 0).all()


def test_it_can_be_set_between_calls() -> None:
    variables, optimizer = made("RMSprop", {"momentum": 0.9})
    scale, brought = variables[0], gradients(0)
    for _ in range(3):  # until calls go the quick way
        optimizer.apply(brought)
    assert [*optimizer.state["scale"]] == []
    scale.overwrite_with_gradient = False
    before = scale.numpy()
    optimizer.apply(brought)
    assert not np.array_equal(scale.numpy(), brought[0])
    assert [*optimizer.state["scale"]] == ["velocity", "momentum"]
    np.testing.assert_allclose(before - scale.numpy(), 0.1 * np.sign(brought[0]) * 10**0.5, rtol=1e-3)
    scale.overwrite_with_gradient = True
    optimizer.apply(brought)
    np.testing.assert_array_equal(scale.numpy(), brought[0])
    assert [*optimizer.state["scale"]] == []
    assert optimizer.iterations == 5


def test_slots_are_not_made_of_what_a_variable_has_become() -> None:
    variables, optimizer = made("RMSprop", {})
    variables[2].overwrite_with_gradient = False
    variables[2].value.shape = (2, 2)
    for _ in range(2):
        with pytest.raises(ArrayError, match=r"'history' has other memory than when the optimizer was built"):
            optimizer.apply(gradients(0))
    variables[2].value.shape = (4,)
    optimizer.apply(gradients(0))
    assert optimizer.state["history"]["velocity"].shape == (4,)


def test_a_call_of_the_rule_alone_is_refused() -> None:
    variables, optimizer = made("RMSprop", {})
    with pytest.raises(ArrayError, match=r"'scale' becomes its gradient.*Received: overwrite_with_gradient=True"):
        optimizer.update_step(gradients(0)[0], variables[0], 0.1)
    variables[0].overwrite_with_gradient = False
    optimizer.update_step(gradients(0)[0], variables[0], 0.1)


def test_averaged_weights_are_of_the_others() -> None:
    variables, optimizer = made("RMSprop", {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": None})
    for step in range(2):
        optimizer.apply(gradients(step))
    before = [one.numpy() for one in variables]
    with optimizer.averaged():
        changed = [not np.array_equal(one.numpy(), old) for one, old in zip(variables, before, strict=True)]
    assert changed == [False, True, False, True]
    optimizer.finalize_variable_values()
    assert [not np.array_equal(one.numpy(), old) for one, old in zip(variables, before, strict=True)] == changed


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
@pytest.mark.parametrize("steps", [None, 2])
def test_a_copy_and_a_loaded_state_go_on_with_the_same_bits(copied: Any, steps: int | None) -> None:
    variables, optimizer = made("Adam", {"gradient_accumulation_steps": steps})
    for step in range(3):
        optimizer.apply(gradients(step))
    theirs, other = copied((variables, optimizer))
    fresh, loaded = made("Adam", {"gradient_accumulation_steps": steps})
    loaded.load_state_dict(optimizer.state_dict(variables=True))
    for step in range(3, 6):
        for one in (optimizer, other, loaded):
            one.apply(gradients(step))
    for ours, copy_of, again in zip(variables, theirs, fresh, strict=True):
        assert ours.numpy().tobytes() == copy_of.numpy().tobytes() == again.numpy().tobytes()


def test_a_rule_with_inputs_reads_none_for_them() -> None:
    variables = [Variable(np.ones(3), name="scale"), Variable(np.ones(3), name="w")]
    variables[0].overwrite_with_gradient = True
    optimizer = rmsprop_jit.Sophia(gradient_accumulation_steps=2)
    for _ in range(2):
        optimizer.apply([np.full(3, 7.0), np.ones(3)], variables, hessian=[None, np.ones(3)])
    assert variables[0].numpy().tolist() == [7, 7, 7]
    assert (variables[1].numpy() < 1).all()


def test_a_variable_first_updated_later_starts_then() -> None:
    variable = Variable(np.ones(3), name="w")
    variable.overwrite_with_gradient = True
    optimizer = rmsprop_jit.Adagrad(initial_accumulator_value=0.5)
    optimizer.apply([np.ones(3)], [variable])
    variable.overwrite_with_gradient = False
    optimizer.apply([np.ones(3)])
    np.testing.assert_allclose(optimizer.state["w"]["accumulator"], 1.5)


def test_optimizers_of_other_variables_go_on() -> None:
    w, other = Variable(np.ones(3)), Variable(np.ones(3))
    optimizer, g = RMSprop(), np.ones(3)
    for _ in range(3):
        optimizer.apply([g], [w])
    bound = [one.name for one in optimizer.variables]
    other.overwrite_with_gradient = True
    optimizer.apply([g], [w])
    assert [one.name for one in optimizer.variables] == bound
    assert optimizer.iterations == 4


def test_scales_and_histories_of_small_floats_are_trained_beside_weights() -> None:
    """As in training in float8: what a backward pass says of scales takes their place, on copies as well."""
    history = 1024
    rng = np.random.default_rng(0)
    variables = [
        Variable(rng.normal(size=(16, 32)).astype(np.float32), name="kernel"),
        *(Variable(np.ones((), np.float32), name=f"scale_{i}") for i in range(3)),
        *(Variable(np.zeros(history, np.float32), name=f"amax_{i}") for i in range(3)),
    ]
    for one in variables[1:]:
        one.overwrite_with_gradient = True
    optimizer = rmsprop_jit.AdamW(0.1, loss_scale_factor=64.0, global_clipnorm=1.0)
    optimizer.build(variables)
    values, state = [one.numpy() for one in variables], [one.numpy() for one in optimizer.variables]
    for _ in range(3):
        brought = [rng.normal(size=(16, 32)).astype(np.float32)]
        brought += [np.full((), rng.uniform(1, 2), np.float32) for _ in range(3)]
        brought += [np.roll(one.numpy(), -1) + np.float32(1) for one in variables[4:]]
        values, state = optimizer.stateless_apply(state, brought, values)
        optimizer.apply(brought)
        for one, gradient, value in zip(variables, brought, values, strict=True):
            assert one.numpy().tobytes() == value.tobytes()
            assert one.name == "kernel" or one.numpy().tobytes() == gradient.tobytes()
    assert [one.name for one in optimizer.variables] == [
        "iteration",
        "learning_rate",
        "kernel_momentum",
        "kernel_velocity",
    ]
