"""What torch's own tests of optimizers try, in our words: of several kinds of ours, beside torch's where it has one."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch_side  # noqa: E402

import rmsprop_jit.torch as fused  # noqa: E402

KINDS: dict[str, dict[str, Any]] = {
    "RMSprop": {"lr": 0.01, "centered": True, "momentum": 0.1},
    "Adam": {"lr": 0.01, "amsgrad": True},
    "SGD": {"lr": 0.01, "momentum": 0.9},
    "NAdam": {"lr": 0.01},
    "Lion": {"lr": 0.01},
    "Prodigy": {"lr": 1.0},
    "SGLD": {"lr": 1e-3, "seed": 1, "temperature": 0.0},
}


class Made:
    """An optimizer of a kind, with parameters of its own; and torch's with the same, or again ours."""

    def __init__(self, name: str) -> None:
        self.kind, self.options = getattr(fused, name), KINDS[name]
        self.parameters = torch_side.parameters(4)
        self.optimizer = self.kind(self.parameters, **self.options)
        self.theirs = getattr(torch.optim, name, self.kind)
        self.twins = torch_side.twins(self.parameters)
        self.other = self.theirs(self.twins, **self.options)

    def train(self, steps: int = 3, seed: int = 0) -> None:
        torch_side.train(self.parameters, self.twins, self.optimizer, self.other, steps, seed)

    def check(self) -> None:
        assert torch_side.distance(self.parameters, self.twins) <= 1e-7


def no_gradients(made: Made) -> None:
    made.optimizer.step()
    assert all(map(torch.equal, made.parameters, made.twins))
    assert not made.optimizer.state


def zeros_as_gradients(made: Made) -> None:
    for side in (made.parameters, made.twins):
        for one in side:
            one.grad = torch.zeros_like(one)
    made.optimizer.step()
    made.other.step()
    made.check()


def downhill(made: Made) -> None:
    def loss() -> Any:
        made.optimizer.zero_grad()
        value = sum(((one - 3.0) ** 2).sum() for one in made.parameters)
        value.backward()
        return value

    begin = float(loss().detach())
    for _ in range(30):
        made.optimizer.step(loss)
    assert float(loss().detach()) < begin


def schedulers_in_a_chain(made: Made) -> None:
    from torch.optim import lr_scheduler

    chains = [
        (lr_scheduler.StepLR(one, 3, 0.9), lr_scheduler.LinearLR(one, total_iters=4))
        for one in (made.optimizer, made.other)
    ]
    for step in range(8):
        made.train(1, step)
        for one in [scheduler for chain in chains for scheduler in chain]:
            one.step()
    made.check()


def a_plateau(made: Made) -> None:
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    both = [ReduceLROnPlateau(one, patience=1) for one in (made.optimizer, made.other)]
    for step in range(6):
        made.train(1, step)
        for one in both:
            one.step(1.0)
    assert made.optimizer.param_groups[0]["lr"] < KINDS[type(made.optimizer).__name__]["lr"]
    made.check()


def states_are_the_same_twice(made: Made) -> None:
    made.train()
    first, second = made.optimizer.state_dict(), made.optimizer.state_dict()
    assert [*first["state"]] == [*second["state"]]
    assert first["param_groups"] == second["param_groups"]


def saved_with_weights_only(made: Made) -> None:
    for weights_only in (True, False):
        made.train()
        file = io.BytesIO()
        torch.save(made.optimizer.state_dict(), file)
        state = torch.load(io.BytesIO(file.getvalue()), weights_only=weights_only)
        made.optimizer = made.kind(made.parameters)
        made.optimizer.load_state_dict(state)
    made.train()
    made.check()


def to_and_from_names(made: Made) -> None:
    made.train()
    names = [f"layer.{i}" for i in range(len(made.parameters))]
    named = made.kind(zip(names, made.parameters, strict=True))
    named.load_state_dict(made.optimizer.state_dict())
    assert "param_names" in named.state_dict()["param_groups"][0]
    made.optimizer = made.kind(made.parameters)
    made.optimizer.load_state_dict(named.state_dict())
    made.train()
    made.check()


def counts_as_plain_numbers(made: Made) -> None:
    made.train()
    state = copy.deepcopy(made.optimizer.state_dict())
    for own in state["state"].values():
        own["step"] = float(own["step"])
    made.optimizer.load_state_dict(state)
    made.train()
    made.check()


def hooks_of_states(made: Made) -> None:
    seen: list[str] = []
    made.optimizer.register_state_dict_pre_hook(lambda _: seen.append("before"))
    made.optimizer.register_state_dict_post_hook(lambda _, state: seen.append("after"))
    made.optimizer.register_load_state_dict_pre_hook(lambda _, state: seen.append("before loading"))
    made.optimizer.register_load_state_dict_post_hook(lambda _: seen.append("after loading"))
    made.train()
    made.optimizer.load_state_dict(made.optimizer.state_dict())
    assert seen == ["before", "after", "before loading", "after loading"]
    made.train()
    made.check()


def a_copy_has_all_that_is_public(made: Made) -> None:
    made.train()
    copied = copy.deepcopy(made.optimizer)
    public = {name for name in vars(made.optimizer) if not name.startswith("_")}
    assert public == {name for name in vars(copied) if not name.startswith("_")}
    assert type(copied) is type(made.optimizer)


def another_group(made: Made) -> None:
    more = torch_side.parameters(9)
    twins = torch_side.twins(more)
    made.train()
    made.optimizer.add_param_group({"params": more})
    made.other.add_param_group({"params": twins})
    made.parameters, made.twins = [*made.parameters, *more], [*made.twins, *twins]
    made.train()
    made.check()


def a_rate_that_is_a_tensor(made: Made) -> None:
    made.optimizer.param_groups[0]["lr"] = torch.tensor(0.005)
    made.other.param_groups[0]["lr"] = 0.005
    made.train()
    assert torch_side.distance(made.parameters, made.twins) <= 1e-6  # the tensor is of float32


def decay_of_one_group(made: Made) -> None:
    for parameters, one in ((made.parameters, made.optimizer), (made.twins, made.other)):
        kind = type(one)
        groups = [{"params": parameters[:2], "weight_decay": 0.1}, {"params": parameters[2:]}]
        made.__dict__["optimizer" if one is made.optimizer else "other"] = kind(groups, **made.options)
    made.train()
    made.check()


def printed(made: Made) -> None:
    text = repr(made.optimizer)
    assert text.startswith(f"{type(made.optimizer).__name__} (\nParameter Group 0")
    assert "lr: " in text


def gradients_set_to_zero_or_to_none(made: Made) -> None:
    made.train(1)
    made.optimizer.zero_grad(set_to_none=False)
    assert all(not one.grad.any() for one in made.parameters)
    made.optimizer.zero_grad()
    assert all(one.grad is None for one in made.parameters)


CASES: tuple[Callable[[Made], None], ...] = (
    no_gradients,
    zeros_as_gradients,
    downhill,
    schedulers_in_a_chain,
    a_plateau,
    states_are_the_same_twice,
    saved_with_weights_only,
    to_and_from_names,
    counts_as_plain_numbers,
    hooks_of_states,
    a_copy_has_all_that_is_public,
    another_group,
    a_rate_that_is_a_tensor,
    decay_of_one_group,
    printed,
    gradients_set_to_zero_or_to_none,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@pytest.mark.parametrize("name", KINDS)
def test_case(name: str, case: Callable[[Made], None]) -> None:
    case(Made(name))
