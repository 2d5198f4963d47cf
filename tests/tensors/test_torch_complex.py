"""Complex parameters: their parts are numbers of their own, as torch's optimizers have it; states are complex."""

from __future__ import annotations

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
