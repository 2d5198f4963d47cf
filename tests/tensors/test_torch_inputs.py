"""What torch's own tests of RMSprop pass it, in our words: each set of options has torch's numbers.

And gradients of float32 and float64 beside each other under one norm, and a scale that the step itself takes out.
"""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch_side  # noqa: E402

import rmsprop_jit.torch as fused  # noqa: E402

INPUTS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "another rate": {"lr": 1e-3},
    "a rate that is a tensor": {"lr": torch.tensor(1e-3)},
    "decay": {"weight_decay": 0.1},
    "decay, maximize": {"weight_decay": 0.1, "maximize": True},
    "decay, centered": {"weight_decay": 0.1, "centered": True},
    "decay, centered, momentum": {"weight_decay": 0.1, "centered": True, "momentum": 0.1},
    "decay, centered, momentum, maximize": {"weight_decay": 0.1, "centered": True, "momentum": 0.1, "maximize": True},
    "maximize": {"maximize": True},
    "not in one call for all": {"foreach": False},
    "in one call for all": {"foreach": True},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("what", INPUTS)
def test_each_of_torch_s_own_inputs_gives_torch_s_numbers(what: str, dtype: Any) -> None:
    ours = torch_side.parameters(5, dtype)
    theirs = torch_side.twins(ours)
    optimizer, other = fused.RMSprop(ours, **INPUTS[what]), torch.optim.RMSprop(theirs, **INPUTS[what])
    torch_side.train(ours, theirs, optimizer, other, 6, missing=0.2)
    assert torch_side.distance(ours, theirs) <= torch_side.TOLERANCES[dtype]


def test_an_empty_list_a_tensor_and_what_is_no_leaf_are_refused_as_torch_does() -> None:
    weights = torch.nn.Parameter(torch.ones(2))
    for wrong, kind in (([], ValueError), (weights, TypeError), ([2 * weights], ValueError), ([1.0], TypeError)):
        messages = []
        for made in (fused.RMSprop, torch.optim.RMSprop):
            with pytest.raises(kind) as refused:
                made(wrong)
            messages.append(str(refused.value))
        assert messages[0] == messages[1]


def test_one_norm_of_gradients_of_two_dtypes() -> None:
    shapes = [(4, 3), (7,)]
    ours = [*torch_side.parameters(1, torch.float32, shapes), *torch_side.parameters(2, torch.float64, shapes)]
    theirs = torch_side.twins(ours)
    optimizer, other = fused.RMSprop(ours, momentum=0.5, clip_grad_norm=0.75), torch.optim.RMSprop(theirs, momentum=0.5)
    for step in range(5):
        torch_side.give_gradients(ours, theirs, step)
        optimizer.step()
        torch.nn.utils.clip_grad_norm_(theirs, 0.75)
        other.step()
    assert torch_side.distance(ours, theirs) <= 1e-5  # theirs has a 1e-6 in the factor


def test_a_scaler_s_scale_is_taken_out_by_the_step_itself_and_gradients_stay_as_they_are() -> None:
    ours = torch_side.parameters(0, torch.float32)
    theirs = torch_side.twins(ours)
    optimizer, other = fused.RMSprop(ours), torch.optim.RMSprop(theirs)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(torch.ones(()))  # which makes the scale
    torch_side.give_gradients(ours, theirs, 1)
    scaled = [one.grad.mul_(1024.0).clone() for one in ours]
    scaler.step(optimizer)
    other.step()
    assert all(torch.equal(one.grad, kept) for one, kept in zip(ours, scaled, strict=True))
    assert torch_side.distance(ours, theirs) <= 1e-5
