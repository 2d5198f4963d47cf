"""Our classes as torch's training loops use them: groups, schedulers, scalers, closures, hooks, checkpoints."""

from __future__ import annotations

import copy
import io
import pickle
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch_side  # noqa: E402

import rmsprop_jit.torch as fused  # noqa: E402
from rmsprop_jit import ArrayError, OptionError  # noqa: E402

OPTIONS: dict[str, Any] = {"lr": 0.01, "momentum": 0.9, "centered": True, "weight_decay": 0.1}


def pair(dtype: Any = torch.float64, **options: Any) -> tuple[list[Any], list[Any], Any, Any]:
    ours = torch_side.parameters(0, dtype)
    theirs = torch_side.twins(ours)
    options = options or OPTIONS
    return ours, theirs, fused.RMSprop(ours, **options), torch.optim.RMSprop(theirs, **options)


SCHEDULERS: dict[str, Any] = {
    "StepLR": lambda one: torch.optim.lr_scheduler.StepLR(one, 3, 0.5),
    "OneCycleLR": lambda one: torch.optim.lr_scheduler.OneCycleLR(one, 0.1, total_steps=20),
    "CosineAnnealingLR": lambda one: torch.optim.lr_scheduler.CosineAnnealingLR(one, 10),
    "LambdaLR": lambda one: torch.optim.lr_scheduler.LambdaLR(one, [lambda step: 1 / (1 + step)]),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_change_rates_and_momenta(name: str) -> None:
    ours, theirs, optimizer, other = pair()
    mine, their = SCHEDULERS[name](optimizer), SCHEDULERS[name](other)

    def each(step: int) -> None:
        mine.step()
        their.step()

    torch_side.train(ours, theirs, optimizer, other, 18, each=each)
    assert torch_side.distance(ours, theirs) <= 1e-12
    assert optimizer.param_groups[0]["lr"] == other.param_groups[0]["lr"] != 0.01
    assert optimizer.param_groups[0]["momentum"] == other.param_groups[0]["momentum"]


def test_a_rate_may_be_a_tensor() -> None:
    ours, theirs, optimizer, other = pair(lr=torch.tensor(0.01, dtype=torch.float64))
    torch_side.train(ours, theirs, optimizer, other, 3)
    optimizer.param_groups[0]["lr"].fill_(0.5)
    other.param_groups[0]["lr"].fill_(0.5)
    torch_side.train(ours, theirs, optimizer, other, 3)
    assert torch_side.distance(ours, theirs) <= 1e-12


def test_groups_have_numbers_and_structures_of_their_own_and_one_can_be_added() -> None:
    ours = torch_side.parameters(0)
    theirs = torch_side.twins(ours)

    def groups(of: list[Any]) -> list[dict[str, Any]]:
        return [{"params": of[:2], "lr": 0.1, "momentum": 0.5}, {"params": of[2:4], "weight_decay": 0.1}]

    optimizer, other = fused.RMSprop(groups(ours), lr=0.01), torch.optim.RMSprop(groups(theirs), lr=0.01)
    torch_side.train(ours[:4], theirs[:4], optimizer, other, 4, missing=0.3)
    for one, of in ((optimizer, ours), (other, theirs)):
        one.add_param_group({"params": of[4:], "centered": True, "alpha": 0.5})
        one.param_groups[1]["lr"] = 0.2
    torch_side.train(ours, theirs, optimizer, other, 4, missing=0.3)
    for one in (optimizer, other):
        one.param_groups[1]["maximize"] = True
    torch_side.train(ours, theirs, optimizer, other, 4, missing=0.3)
    assert torch_side.distance(ours, theirs) <= 1e-12
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 2, 1]


def test_named_parameters_are_named_in_messages() -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = fused.RMSprop(model.named_parameters())
    model.weight.grad, model.bias.grad = torch.ones(2, 3), torch.ones(2).to_sparse()
    with pytest.raises(ArrayError, match=r"gradient of 'bias' cannot be used \(it is not dense"):
        optimizer.step()
    assert not optimizer.state[model.weight]


def test_step_counts_belong_to_each_parameter() -> None:
    ours = torch_side.parameters(0)
    theirs = torch_side.twins(ours)
    optimizer, other = fused.Adam(ours, lr=0.1), torch.optim.Adam(theirs, lr=0.1)
    torch_side.train(ours, theirs, optimizer, other, 12, missing=0.5)
    assert torch_side.distance(ours, theirs) <= 1e-12
    counts = [int(optimizer.state[one]["step"]) for one in ours]
    assert counts == [int(other.state[one]["step"]) for one in theirs]
    assert len({*counts}) > 1
    assert all(optimizer.state[one]["step"].dtype == torch.float32 for one in ours)


def test_a_closure_is_called_with_gradients_on_and_its_loss_returned() -> None:
    weights = torch.nn.Parameter(torch.tensor([2.0, -3.0]))
    optimizer = fused.RMSprop([weights], lr=0.1)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (weights * weights).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        losses = [float(optimizer.step(closure)) for _ in range(5)]
    assert losses[0] == 13.0
    assert losses == sorted(losses, reverse=True)


def test_hooks_run_around_a_step_and_a_profiler_sees_it() -> None:
    ours, _, optimizer, _ = pair()
    seen: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    torch_side.give_gradients(ours, ours, 1)
    optimizer.step()
    assert seen == ["before", "after"]
    optimizer.zero_grad()
    assert all(one.grad is None for one in ours)
    optimizer.step()
    assert [float(optimizer.state[one]["step"]) for one in ours] == [1.0] * len(ours)
    with torch.profiler.profile() as profile:
        optimizer.step()
    assert "Optimizer.step#RMSprop.step" in [event.name for event in profile.events()]


def test_hooks_run_once_whoever_overrides_a_step() -> None:
    from torch.optim.optimizer import register_optimizer_step_post_hook

    class Mine(fused.RMSprop):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    seen: list[str] = []
    ours = torch_side.parameters(1)
    torch_side.give_gradients(ours, ours, 1)
    for made in (Mine, fused.RMSprop, Mine):
        optimizer = made(ours)
        optimizer.register_step_pre_hook(lambda *_: seen.append("own"))
        handle = register_optimizer_step_post_hook(lambda *_: seen.append("of all"))
        optimizer.step()
        handle.remove()
        assert seen == ["own", "of all"]
        seen.clear()


def test_zeroed_gradients_may_be_filled_again_in_place() -> None:
    ours, theirs, optimizer, other = pair()
    torch_side.give_gradients(ours, theirs, 1)
    for step in range(6):
        optimizer.zero_grad(set_to_none=False)
        other.zero_grad(set_to_none=False)
        for a, b in zip(ours, theirs, strict=True):
            a.grad.add_(step + 0.5)
            b.grad.add_(step + 0.5)
        optimizer.step()
        other.step()
    assert torch_side.distance(ours, theirs) <= 1e-12


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*")
def test_a_grad_scaler_s_scale_is_taken_out_and_a_step_with_an_inf_left_out() -> None:
    ours, theirs, optimizer, other = pair(torch.float32)
    scalers = [torch.amp.GradScaler("cpu", init_scale=1024.0) for _ in range(2)]
    for step in range(6):
        torch_side.give_gradients(ours, theirs, step)
        for of, one, scaler in ((ours, optimizer, scalers[0]), (theirs, other, scalers[1])):
            scaler.scale(torch.ones(()))  # which makes the scale
            for parameter in of:
                parameter.grad.mul_(scaler.get_scale())
            if step == 2:
                of[0].grad[0, 0] = float("inf")
            if step == 4:
                scaler.unscale_(one)
            before = [parameter.detach().clone() for parameter in of]
            scaler.step(one)
            scaler.update()
            if step == 2:
                assert all(torch.equal(a, b) for a, b in zip(before, of, strict=True))
    assert scalers[0].get_scale() == scalers[1].get_scale() == 512.0
    assert torch_side.distance(ours, theirs) <= 1e-5
    assert [float(optimizer.state[one]["step"]) for one in ours] == [5.0] * len(ours)


# Copies and checkpoints.


def test_copies_go_on_as_the_original_would() -> None:
    ours, theirs, optimizer, other = pair()
    torch_side.train(ours, theirs, optimizer, other, 4)
    buffer = io.BytesIO()
    torch.save({"model": ours, "optimizer": optimizer.state_dict()}, buffer)
    for how in ("deepcopy", "pickle", "checkpoint"):
        if how == "checkpoint":
            buffer.seek(0)
            with torch.serialization.safe_globals([]):
                loaded = torch.load(buffer, weights_only=True)
            copied = [torch.nn.Parameter(one) for one in loaded["model"]]
            again = fused.RMSprop(copied)
            again.load_state_dict(loaded["optimizer"])
        else:
            both = (ours, optimizer)
            copied, again = copy.deepcopy(both) if how == "deepcopy" else pickle.loads(pickle.dumps(both))
        reference, expected = copy.deepcopy((theirs, other))
        torch_side.train(copied, reference, again, expected, 4, seed=300)
        assert torch_side.distance(copied, reference) <= 1e-12, how
    torch_side.train(ours, theirs, optimizer, other, 2, seed=500)
    assert torch_side.distance(ours, theirs) <= 1e-12


def test_classes_that_are_made_can_be_pickled() -> None:
    ours = torch_side.parameters(0)
    optimizer = fused.AdamW(ours)
    assert type(pickle.loads(pickle.dumps(optimizer))) is fused.AdamW
    assert fused.optimizer("adamw") is fused.AdamW
    assert fused.optimizer("RMSprop") is fused.RMSprop
    assert issubclass(fused.AdamW, torch.optim.Optimizer)
    assert repr(optimizer).startswith("AdamW (\nParameter Group 0")
    assert {"AdamW", "NAdam", "Lion", "RMSprop", "optimizer"} <= {*dir(fused)}
    with pytest.raises(AttributeError, match="Nothing"):
        _ = fused.Nothing


def test_a_loaded_state_does_not_share_memory_with_whom_it_came_from() -> None:
    ours, theirs, optimizer, _ = pair()
    torch_side.give_gradients(ours, theirs, 1)
    optimizer.step()
    again = fused.RMSprop(theirs)
    again.load_state_dict(optimizer.state_dict())
    before = [optimizer.state[one]["square_avg"].clone() for one in ours]
    again.step()
    assert all(torch.equal(optimizer.state[one]["square_avg"], kept) for one, kept in zip(ours, before, strict=True))
    assert [float(optimizer.state[one]["step"]) for one in ours] == [1.0] * len(ours)


def test_old_checkpoints_say_less_and_count_in_plain_numbers() -> None:
    ours, theirs, optimizer, other = pair()
    torch_side.train(ours, theirs, optimizer, other, 2)
    state = copy.deepcopy(other.state_dict())
    for name in ("maximize", "foreach", "capturable", "differentiable"):
        del state["param_groups"][0][name]
    for one in state["state"].values():
        one["step"] = int(one["step"])
    again = fused.RMSprop(ours)
    again.load_state_dict(state)
    torch_side.train(ours, theirs, again, other, 2, seed=300)
    assert torch_side.distance(ours, theirs) <= 1e-12
    assert float(again.state[ours[0]]["step"]) == 4.0


def test_a_state_that_is_changed_by_hand_counts() -> None:
    ours, theirs, optimizer, other = pair()
    torch_side.train(ours, theirs, optimizer, other, 3)
    for of, one in ((ours, optimizer), (theirs, other)):
        one.state[of[0]]["square_avg"] = torch.full_like(of[0], 3.0)
        one.state[of[1]]["square_avg"].mul_(2.0)
        one.state[of[2]]["momentum_buffer"].data = torch.ones_like(of[2])
        one.state[of[4]]["step"].fill_(0.0)
    torch_side.train(ours, theirs, optimizer, other, 3, seed=300)
    for one in (optimizer, other):
        one.state.clear()
    torch_side.train(ours, theirs, optimizer, other, 3, seed=400)
    assert torch_side.distance(ours, theirs) <= 1e-12


# Parameters that change.


def test_a_parameter_whose_data_is_swapped_is_trained_where_it_is_then() -> None:
    ours, theirs, optimizer, other = pair()
    for step in range(6):
        if step % 2:
            for of in (ours, theirs):
                of[0].data = of[0].data.clone()
                of[4].data = of[4].data.clone()
        torch_side.train(ours, theirs, optimizer, other, 2, seed=10 * step)
    assert torch_side.distance(ours, theirs) <= 1e-12


def test_a_model_that_is_converted_after_the_first_step_is_an_error_that_names_the_state() -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = fused.RMSprop(model.named_parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    model.double()
    optimizer.zero_grad()
    model(torch.ones(1, 3, dtype=torch.float64)).sum().backward()
    before = model.weight.detach().clone()
    for _ in range(2):
        with pytest.raises(ArrayError, match=r"weight, state 'square_avg' does not fit.*torch.float32.*torch.float64"):
            optimizer.step()
    assert torch.equal(model.weight, before)
    optimizer.state.clear()
    optimizer.step()
    assert not torch.equal(model.weight, before)


def test_frozen_parameters_may_be_of_any_kind_and_thawed_ones_join() -> None:
    frozen = [torch.ones(3, dtype=torch.bfloat16), torch.ones(2, device="meta"), torch.ones(4)]
    frozen = [torch.nn.Parameter(one, requires_grad=False) for one in frozen]
    ours = torch_side.parameters(0)
    theirs = torch_side.twins(ours)
    optimizer, other = fused.RMSprop([*frozen, *ours]), torch.optim.RMSprop([*frozen[:1], *theirs])
    torch_side.train(ours, theirs, optimizer, other, 2)
    frozen[2].grad = torch.ones(4)
    torch_side.train(ours, theirs, optimizer, other, 2)
    assert torch_side.distance(ours, theirs) <= 1e-12
    assert (frozen[2] < 1).all()
    assert {*optimizer.state} == {frozen[2], *ours}


def to_bfloat16(parameter: Any) -> None:
    parameter.grad = None
    parameter.data = parameter.data.bfloat16()
    parameter.grad = torch.ones(3, 2, dtype=torch.bfloat16)


BAD: dict[str, tuple[Any, str]] = {
    "sparse": (lambda p: setattr(p, "grad", torch.ones(3, 2).to_sparse()), "not dense"),
    "of bfloat16": (lambda p: to_bfloat16(p), "bfloat16"),
    "emptied": (lambda p: p.untyped_storage().resize_(0), "no memory"),
    "with a gradient that it is itself": (lambda p: setattr(p, "grad", p.detach()), "shares memory"),
}


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_trained_is_named_and_nothing_written(what: str, steps: int) -> None:
    spoil, words = BAD[what]
    good, bad = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3, 2))
    optimizer = fused.RMSprop([{"params": [good]}, {"params": [bad]}])
    for _ in range(steps):
        good.grad, bad.grad = torch.ones(2), torch.ones(3, 2)
        optimizer.step()
    good.grad, bad.grad = torch.ones(2), torch.ones(3, 2)
    spoil(bad)
    before = good.detach().clone()
    for _ in range(2):
        with pytest.raises(ArrayError, match=rf"'parameter 0 of group 1'.*{words}"):
            optimizer.step()
    assert torch.equal(good, before)
    assert float(optimizer.state[good].get("step", 0)) == steps


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")
def test_a_parameter_twice_is_refused() -> None:
    weights = torch.nn.Parameter(torch.ones(3))
    weights.grad = torch.ones(3)
    optimizer = fused.RMSprop([weights, weights])
    with pytest.raises(ArrayError, match="in the list twice"):
        optimizer.step()
    assert (weights == 1).all()


def test_options_without_meaning_are_refused_at_once() -> None:
    weights = [torch.nn.Parameter(torch.ones(3))]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"lr": -1.0}, "`lr` of RMSprop must be a number >= 0"),
        ({"lr": torch.ones(2)}, "`lr` of RMSprop"),
        ({"momentum": -1.0}, "`momentum`"),
        ({"alpha": -0.5}, "`rho`"),
        ({"eps": float("nan")}, "`epsilon`"),
        ({"weight_decay": -1}, "`weight_decay`"),
        ({"capturable": True}, "`capturable` of RMSprop can only be False"),
        ({"differentiable": True}, "`differentiable`"),
        ({"ema": 2.0}, "`ema_momentum`"),
        ({"clip_grad_norm": 0.0}, "`global_clipnorm`"),
    ]
    for options, words in wrong:
        with pytest.raises(OptionError, match=words):
            fused.RMSprop(weights, **options)
        with pytest.raises(ValueError, match=words):
            fused.RMSprop([{"params": weights, **options}])
    strange: dict[str, Any] = {"nothing": 1}
    with pytest.raises(TypeError, match="nothing"):
        fused.RMSprop(weights, **strange)
    with pytest.raises(TypeError, match="nothing"):
        fused.Adam(weights, nothing=1)
    with pytest.raises(OptionError, match="`decoupled_weight_decay` of Adam can only be False"):
        fused.Adam(weights, decoupled_weight_decay=True)
    with pytest.raises(OptionError, match=r"name of a bundled one\. Received: 'nothing'"):
        fused.optimizer("nothing")


def test_a_bad_group_is_not_added() -> None:
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer = fused.RMSprop(weights[:1])
    with pytest.raises(OptionError, match="`momentum`"):
        optimizer.add_param_group({"params": weights[1:], "momentum": -1.0})
    assert len(optimizer.param_groups) == 1
    optimizer.param_groups[0]["momentum"] = -1.0
    weights[0].grad = torch.ones(3)
    with pytest.raises(OptionError, match="`momentum`"):
        optimizer.step()
    assert (weights[0] == 1).all()


def test_torch_s_compiler_leaves_a_step_alone() -> None:
    ours, theirs, optimizer, other = pair()
    torch_side.give_gradients(ours, theirs, 1)

    def step() -> None:
        optimizer.step()

    compiled = torch.compile(step, backend="eager")
    for _ in range(2):
        compiled()
        other.step()
    assert torch_side.distance(ours, theirs) <= 1e-12


def test_gradients_are_not_kept_alive() -> None:
    ours, _, optimizer, _ = pair()
    for step in range(3):
        torch_side.give_gradients(ours, ours, step)
        kept = [weakref.ref(one.grad) for one in ours]
        optimizer.step()
        optimizer.zero_grad()
        assert [one() for one in kept] == [None] * len(ours)


# What is ours.


def test_gradients_are_clipped_by_the_norm_of_all_groups_in_the_same_pass() -> None:
    ours = torch_side.parameters(0)
    theirs = torch_side.twins(ours)

    def groups(of: list[Any]) -> list[dict[str, Any]]:
        return [{"params": of[:2], "lr": 0.1}, {"params": of[2:], "momentum": 0.5}]

    optimizer = fused.RMSprop(groups(ours), clip_grad_norm=0.75)
    other = torch.optim.RMSprop(groups(theirs))
    for step in range(5):
        torch_side.give_gradients(ours, theirs, step, missing=0.2)
        given = [one.grad.clone() for one in ours if one.grad is not None]
        optimizer.step()
        torch.nn.utils.clip_grad_norm_(theirs, 0.75)
        other.step()
        kept = [one.grad for one in ours if one.grad is not None]
        assert all(torch.equal(a, b) for a, b in zip(given, kept, strict=True))
    assert torch_side.distance(ours, theirs) <= 1e-5  # theirs has a 1e-6 in the factor


def test_the_average_is_torch_s_averaged_model() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2, dtype=torch.float64)
    twin = copy.deepcopy(model)
    optimizer, other = fused.RMSprop(model.parameters(), ema=0.75), torch.optim.RMSprop(twin.parameters())
    averaged = torch.optim.swa_utils.AveragedModel(twin, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.75))
    for step in range(5):
        torch_side.give_gradients([*model.parameters()], [*twin.parameters()], step)
        optimizer.step()
        other.step()
        averaged.update_parameters(twin)
    ours = [optimizer.state[one]["ema"] for one in model.parameters()]
    assert torch_side.distance(ours, [*averaged.module.parameters()]) <= 1e-12
    state = copy.deepcopy(optimizer.state_dict())
    other.load_state_dict(state)  # what torch does not know does no harm there


# A model.


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tests run beside others, and threads that wait for each other take a hundred times as long then."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small_cnn(dtype: Any) -> Any:
    torch.manual_seed(1)
    layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(36, 10)).to(dtype)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("dtype", "steps", "tolerance"), [(torch.float64, 200, 1e-9), (torch.float32, 20, 1e-5)])
def test_a_small_cnn_learns_the_digits_as_with_torch_s(dtype: Any, steps: int, tolerance: float) -> None:
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    images = torch.tensor(digits.images, dtype=dtype)[:, None] / 16
    labels = torch.tensor(digits.target)
    losses = []
    for made in (fused.RMSprop, torch.optim.RMSprop):
        model = small_cnn(dtype)
        optimizer = made(model.parameters(), lr=2e-3, momentum=0.5, centered=True)
        seen = []
        for step in range(steps):
            batch = slice(32 * step % 1760, 32 * step % 1760 + 32)
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
        losses.append(seen)
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) <= tolerance
    assert sum(losses[0][-10:]) < 0.8 * sum(losses[0][:10])


def test_a_parameter_that_goes_over_to_the_group_beside_has_that_one_s_numbers() -> None:
    ours = torch_side.parameters(0)
    theirs = torch_side.twins(ours)
    sides: list[Any] = []
    for kind, parameters in ((fused.RMSprop, ours), (torch.optim.RMSprop, theirs)):
        sides.append(kind([{"params": parameters[:2], "lr": 0.1}, {"params": parameters[2:], "lr": 0.001}]))
    torch_side.train(ours, theirs, sides[0], sides[1], 2)
    for one in sides:
        first, second = one.param_groups
        second["params"].insert(0, first["params"].pop())
    torch_side.train(ours, theirs, sides[0], sides[1], 2)
    assert torch_side.distance(ours, theirs) <= 1e-12
