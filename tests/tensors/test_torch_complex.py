"""Complex parameters: their parts are numbers of their own, as torch's optimizers have it; states are complex."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch_side  # noqa: E402

import rmsprop_jit  # noqa: E402
import rmsprop_jit.torch as fused  # noqa: E402
from rmsprop_jit import ArrayError  # noqa: E402

SHAPES = [(4, 3), (7,), (), (1,), (0, 3), (2, 3, 4, 5)]
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("RMSprop", {}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {"amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("Adagrad", {"initial_accumulator_value": 0.5}),
    ("Adadelta", {}),
    ("Adamax", {}),
    ("NAdam", {}),
    ("RAdam", {}),
    ("Rprop", {}),
]
BOUNDS = {torch.complex64: 1e-5, torch.complex128: 1e-8}  # mu_product of torch's NAdam is float32


def parameters(dtype: Any, shapes: list[tuple[int, ...]] = SHAPES) -> list[Any]:
    """Complex ones, and one that is real."""
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]
    made = [one.to(memory_format=torch.channels_last) if one.ndim == 4 else one for one in made]
    return [torch.nn.Parameter(one) for one in (*made, torch.ones(3, dtype=torch.float64))]


def give(ours: list[Any], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for one in ours:
        one.grad = torch.empty_like(one).detach().copy_(torch.randn(one.shape, generator=generator, dtype=one.dtype))


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=[f"{name} {[*own]}" for name, own in OPTIONS])
def test_they_train_as_with_torch_s_and_states_load_in_the_other(
    name: str, options: dict[str, Any], dtype: Any
) -> None:
    ours, theirs = parameters(dtype), parameters(dtype)
    optimizer = getattr(fused, name)(ours, lr=0.01, **options)
    other = getattr(torch.optim, name)(theirs, lr=0.01, **options)
    for step in range(8):
        for side, one in ((ours, optimizer), (theirs, other)):
            give(side, step)
            one.step()
        if step == 4:
            for mine, torch_s in zip(*(one.state_dict()["state"].values() for one in (optimizer, other)), strict=True):
                kinds = {key: (value.dtype, value.shape) for key, value in mine.items() if key in torch_s}
                assert kinds == {key: (one.dtype, one.shape) for key, one in torch_s.items() if one is not None}
            mine, torch_s = torch_side.exchanged(optimizer, other)
            optimizer.load_state_dict(mine)
            other.load_state_dict(torch_s)
    assert torch_side.distance(ours, theirs) <= BOUNDS[dtype]


def test_what_is_ours_is_of_parts_too() -> None:
    ours, theirs = parameters(torch.complex128), parameters(torch.complex128)
    optimizer = fused.RMSprop(ours, clip_grad_norm=0.5, ema=0.9)
    other = torch.optim.RMSprop(theirs)
    averages: list[Any] = []
    for step in range(4):
        for side in (ours, theirs):
            give(side, step)
        torch.nn.utils.clip_grad_norm_(theirs, 0.5)
        optimizer.step()
        other.step()
        values = [one.detach().clone() for one in theirs]
        averages = [0.9 * old + 0.1 * new for old, new in zip(averages or values, values, strict=True)]
    assert torch_side.distance(ours, theirs) <= 1e-5  # its factor has 1e-6 in it
    assert torch_side.distance([optimizer.state[one]["ema"] for one in ours], averages) <= 1e-5


def test_apply_takes_the_array_of_their_parts() -> None:
    ours = parameters(torch.complex64, SHAPES[:-1])
    arrays = [(torch.view_as_real(one) if one.is_complex() else one).detach().numpy().copy() for one in ours]
    optimizer, other = (rmsprop_jit.Adam(0.1) for _ in range(2))
    for step in range(4):
        give(ours, step)
        gradients = [one.grad for one in ours]
        optimizer.apply(gradients, ours)
        other.apply([np.asarray(torch.view_as_real(one) if one.is_complex() else one) for one in gradients], arrays)
    parts = [torch.view_as_real(one) if one.is_complex() else one for one in ours]
    assert [one.detach().numpy().tobytes() for one in parts] == [one.tobytes() for one in arrays]


@pytest.mark.parametrize("steps", [0, 3])
def test_a_conjugated_gradient_is_refused_by_name(steps: int) -> None:
    for shape in ((), (3,)):
        (one, _) = ours = parameters(torch.complex64, [shape])
        optimizer = fused.RMSprop(ours)
        for step in range(steps):
            give(ours, step)
            optimizer.step()
        give(ours, steps)
        one.grad = one.grad.conj()
        before = one.detach().clone()
        for _ in range(2):
            with pytest.raises(ArrayError, match=r"parameter 0 of group 0.*conjugated"):
                optimizer.step()
        assert torch.equal(one, before)
        one.grad = one.grad.resolve_conj()
        optimizer.step()
        assert not torch.equal(one, before)


@pytest.mark.parametrize("which", ["the gradient", "the parameter"])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_the_same_object_is_asked_again_whether_it_is_conjugated(shape: tuple[int, ...], which: str) -> None:
    one, gradient = torch.zeros(shape, dtype=torch.complex64), torch.full(shape, 1 + 2j)
    optimizer = rmsprop_jit.SGD(1.0)
    for _ in range(3):
        optimizer.apply([gradient], [one])
    changed, before = {"the gradient": gradient, "the parameter": one}[which], one.clone()
    changed.data = changed.data.conj()
    read = one.clone()
    for _ in range(2):
        with pytest.raises(ArrayError, match=r"variable_0.*conjugated"):
            optimizer.apply([gradient], [one])
    assert torch.equal(one, read)
    changed.data = changed.data.conj()
    optimizer.apply([gradient], [one])
    assert torch.equal(one, before - gradient)


def test_one_number_s_gradient_is_asked_again_whether_it_is_negated() -> None:
    one, gradient = torch.zeros(1), torch.ones(1)
    optimizer = rmsprop_jit.SGD(1.0)
    for _ in range(3):
        optimizer.apply([gradient], [one])
    gradient.data = torch._neg_view(gradient.data)
    with pytest.raises(ArrayError, match="negated"):
        optimizer.apply([gradient], [one])
    assert torch.equal(one, torch.full((1,), -3.0))


@pytest.mark.parametrize("shape", [(4,), (4, 3)])
@pytest.mark.parametrize("name", ["Muon", "Adafactor", "CAME", "NovoGrad"])
def test_rules_that_ask_for_axes_refuse_them_by_name(name: str, shape: tuple[int, ...]) -> None:
    one = torch.nn.Parameter(torch.ones(shape, dtype=torch.complex64))
    one.grad = torch.ones_like(one)
    optimizer, before = getattr(fused, name)([one]), one.detach().clone()
    if name == "NovoGrad":  # one number a tensor is of all parts
        optimizer.step()
        assert not torch.equal(one, before)
        return
    with pytest.raises(ArrayError, match=r"asks for axes.*parameter 0 of group 0.*complex64"):
        optimizer.step()
    assert torch.equal(one, before)
    assert not optimizer.state


RULES = {"Muon": (4, 3), "Adafactor": (4, 3)}


def of_axes(name: str, is_variable: bool) -> tuple[Any, Any, Any]:
    """A rule that asks for axes, a complex tensor, and what is trained of it."""
    tensor = torch.randn(RULES[name], dtype=torch.complex64)
    return getattr(rmsprop_jit, name)(0.1), tensor, rmsprop_jit.Variable(tensor) if is_variable else tensor


def train(how: str, optimizer: Any, one: Any, gradient: Any, parts: Any) -> None:
    if how != "apply":
        optimizer.build([one])
    if how == "copied":
        optimizer, one = copy.deepcopy((optimizer, one))
    if how == "update_step":
        optimizer.update_step(gradient, one, 0.1)
    elif how == "stateless_apply":
        state = [slot.value for slot in optimizer.variables]
        optimizer.stateless_apply(state, [torch.view_as_real(gradient).numpy()], [parts])
    else:
        optimizer.apply([gradient], [one])


@pytest.mark.parametrize("is_variable", [False, True])
@pytest.mark.parametrize("how", ["apply", "update_step", "stateless_apply", "copied"])
@pytest.mark.parametrize("name", RULES)
def test_that_an_array_is_of_parts_is_not_forgotten(name: str, how: str, is_variable: bool) -> None:
    optimizer, tensor, one = of_axes(name, is_variable)
    before, gradient = tensor.clone(), torch.ones_like(tensor)
    parts = torch.view_as_real(tensor).numpy().copy()
    kept = parts.copy()
    with pytest.raises(ArrayError, match=r"asks for axes.*variable.*complex64"):
        train(how, optimizer, one, gradient, parts)
    assert torch.equal(tensor, before)
    assert (parts == kept).all()


def test_stateless_steps_of_complex_tensors_take_the_arrays_of_their_parts_too() -> None:
    tensor = torch.ones(3, dtype=torch.complex64)
    optimizer, parts = rmsprop_jit.RMSprop(0.1), torch.view_as_real(tensor).numpy().copy()
    optimizer.build([tensor])
    state, gradient = [one.value for one in optimizer.variables], torch.full((3,), 1 + 2j)
    each = [
        optimizer.stateless_apply(state, [one], [parts]) for one in (gradient, np.asarray(torch.view_as_real(gradient)))
    ]
    assert each[0][0][0].tobytes() == each[1][0][0].tobytes()
    optimizer.apply([gradient], [tensor])
    assert torch.equal(torch.view_as_real(tensor), torch.from_numpy(each[0][0][0]))


@pytest.mark.parametrize("steps", [0, 2])
def test_a_gradient_of_the_other_kind_is_refused_by_name(steps: int) -> None:
    real, whole = torch.ones(3, 2), torch.ones(3, dtype=torch.complex64)
    array = np.ones((3, 2), np.float32)
    for one, good, bad, words in (
        (real, real, whole, "must be of real numbers.*complex64.*view_as_real"),
        (whole, whole, real, "must be of complex numbers.*float32.*view_as_complex"),
        (whole, whole, array, "must be of complex numbers.*float32.*view_as_complex"),
        (array, array, whole, "must be of real numbers.*complex64.*view_as_real"),
    ):
        optimizer, trained = rmsprop_jit.SGD(0.1), one.clone() if isinstance(one, torch.Tensor) else one.copy()
        for _ in range(steps):
            optimizer.apply([good], [trained])
        before = np.asarray(trained).copy()
        with pytest.raises(ArrayError, match=f"gradient of 'variable_0' {words}"):
            optimizer.apply([bad], [trained])
        assert np.array_equal(np.asarray(trained), before)


def test_a_variable_is_of_the_parts_and_takes_gradients_of_both_kinds() -> None:
    tensor, gradient = torch.ones(3, dtype=torch.complex64), torch.full((3,), 1 + 2j)
    variable, optimizer = rmsprop_jit.Variable(tensor), rmsprop_jit.SGD(1.0)
    assert variable.shape == (3, 2)
    for one in (gradient, torch.view_as_real(gradient), np.asarray(torch.view_as_real(gradient))):
        before = tensor.clone()
        optimizer.apply([one], [variable])
        assert torch.equal(tensor, before - gradient)
    one, other = copy.deepcopy((variable, optimizer))
    other.apply([gradient], [one])
    assert np.array_equal(one.value, torch.view_as_real(tensor - gradient).numpy())


def test_they_train_in_a_closure() -> None:
    ours, theirs = parameters(torch.complex64), parameters(torch.complex64)
    for side, optimizer in ((ours, fused.RMSprop(ours)), (theirs, torch.optim.RMSprop(theirs))):

        def loss(side: list[Any] = side, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            found = sum((one.abs() ** 2).sum() for one in side)
            found.backward()
            return found

        losses = [optimizer.step(loss).item() for _ in range(5)]
        assert losses[-1] < losses[0]
    assert torch_side.distance(ours, theirs) <= 1e-5
