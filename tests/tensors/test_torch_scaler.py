"""GradScaler: our steps beside torch's own fused ones, which take the scale and whether there is an inf themselves."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch_side  # noqa: E402

import rmsprop_jit.torch as fused  # noqa: E402

KINDS: dict[str, dict[str, Any]] = {
    "Adam": {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1},
    "AdamW": {"lr": 0.01},
    "SGD": {"lr": 0.01, "momentum": 0.9},
    "Adagrad": {"lr": 0.01},
}


def pair(name: str) -> tuple[list[Any], list[Any], Any, Any]:
    ours = torch_side.parameters(3, torch.float32)
    theirs = torch_side.twins(ours)
    options = KINDS[name]
    return (
        ours,
        theirs,
        getattr(fused, name)(ours, **options),
        getattr(torch.optim, name)(theirs, fused=True, **options),
    )


def new_scaler() -> Any:
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=2)
    scaler.scale(torch.ones(()))  # which makes the scale
    return scaler


def give(parameters: list[Any], step: int, scale: float, inf_in: int | None = None) -> None:
    torch_side.give_gradients(parameters, parameters, step)
    for one in parameters:
        one.grad.mul_(scale)
    if inf_in is not None:
        parameters[inf_in].grad.view(-1)[0] = float("inf")


def bytes_of(optimizer: Any, parameters: list[Any]) -> list[bytes]:
    tensors = [
        *parameters,
        *(value for one in parameters for value in optimizer.state[one].values() if value is not None),
    ]
    return [one.detach().numpy().tobytes() for one in tensors]


@pytest.mark.parametrize("is_unscaled", [False, True], ids=["as it comes", "unscaled before"])
@pytest.mark.parametrize("name", KINDS)
def test_a_scaler_does_with_ours_what_it_does_with_torch_s_fused_one(name: str, is_unscaled: bool) -> None:
    ours, theirs, optimizer, other = pair(name)
    scalers = new_scaler(), new_scaler()
    for step in range(8):
        for parameters, one, scaler in zip((ours, theirs), (optimizer, other), scalers, strict=True):
            give(parameters, step, scaler.get_scale(), 1 if step in (2, 5) else None)
            before = bytes_of(one, parameters)
            if is_unscaled:
                scaler.unscale_(one)
                torch.nn.utils.clip_grad_norm_(parameters, 10.0)
            scaler.step(one)
            scaler.update()
            assert (bytes_of(one, parameters) == before) == (step in (2, 5))
        assert scalers[0].get_scale() == scalers[1].get_scale()
    assert torch_side.distance(ours, theirs) <= 1e-5
    for a, b in zip(ours, theirs, strict=True):
        mine, others = optimizer.state[a], other.state[b]
        assert float(mine.get("step", 0)) == float(others.get("step", mine.get("step", 0)))
    assert not hasattr(optimizer, "grad_scale")
    assert not hasattr(optimizer, "found_inf")


def test_scale_and_inf_are_attributes_as_torch_s_fused_optimizers_take_them() -> None:
    ours, theirs, optimizer, other = pair("Adam")
    for parameters, one in ((ours, optimizer), (theirs, other)):
        give(parameters, 0, 4.0)
        one.grad_scale, one.found_inf = torch.tensor(4.0), torch.tensor(0.0)
        one.step()
        before = bytes_of(one, parameters)
        one.found_inf = torch.tensor(1.0)
        one.step()
        assert bytes_of(one, parameters) == before
        one.grad_scale, one.found_inf = None, None
        give(parameters, 1, 1.0)
        one.step()
    assert torch_side.distance(ours, theirs) <= 1e-5
    assert float(optimizer.state[ours[0]]["step"]) == float(other.state[theirs[0]]["step"]) == 2.0


def test_an_inf_on_the_first_step_makes_states_of_nothing_and_the_next_is_the_first() -> None:
    ours, theirs, optimizer, other = pair("Adam")
    for parameters, one in ((ours, optimizer), (theirs, other)):
        give(parameters, 0, 4.0, inf_in=0)
        one.grad_scale, one.found_inf = torch.tensor(4.0), torch.tensor(1.0)
        one.step()
        one.grad_scale, one.found_inf = None, None
        give(parameters, 1, 1.0)
        one.step()
    assert torch_side.distance(ours, theirs) <= 1e-5
    assert float(optimizer.state[ours[0]]["step"]) == float(other.state[theirs[0]]["step"]) == 1.0


def test_two_optimizers_under_one_scaler() -> None:
    ours, theirs, optimizer, other = pair("Adam")
    scaler = new_scaler()
    give(ours, 0, scaler.get_scale(), inf_in=2)
    give(theirs, 0, scaler.get_scale())
    before, others = bytes_of(optimizer, ours), bytes_of(other, theirs)
    scaler.step(optimizer)
    scaler.step(other)
    scaler.update()
    assert bytes_of(optimizer, ours) == before
    assert bytes_of(other, theirs) != others
    assert scaler.get_scale() == 128.0


def test_gradients_stay_as_they_are_where_torch_s_are_divided_in_place() -> None:
    """Differs: theirs are read and written once more."""
    ours, theirs, optimizer, other = pair("Adam")
    for parameters, one in ((ours, optimizer), (theirs, other)):
        give(parameters, 0, 4.0)
        one.grad_scale, one.found_inf = torch.tensor(4.0), torch.tensor(0.0)
        one.step()
    assert torch.equal(ours[0].grad, 4 * theirs[0].grad)
