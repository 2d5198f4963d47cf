"""Our classes of torch's optimizers against torch's own: the same numbers, and states that go both ways."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch_side  # noqa: E402
from numbers_made import tables_of  # noqa: E402

import rmsprop_jit.torch as fused  # noqa: E402
from rmsprop_jit.codegen.backends.cpu.launch import Launch  # noqa: E402
from rmsprop_jit.rules.table import TABLE  # noqa: E402

CASES = int(os.environ.get("TORCH_CASES", "12"))
"""Random sets of options; 100 take a minute where nothing is compiled yet."""

DTYPES = [torch.float32, torch.float64]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def options_of(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {"lr": float(rng.choice([1e-3, 0.01, 0.1]))}
    choices: dict[str, list[Any]] = {
        "alpha": [0.9, 0.99, 0.5],
        "eps": [1e-8, 1e-3],
        "momentum": [0.9, 0.5],
        "weight_decay": [0.1],
        "centered": [True],
        "maximize": [True],
    }
    for name, values in choices.items():
        if rng.random() < 0.5:
            found[name] = rng.choice(values).item()
    return found


@each_dtype
@pytest.mark.parametrize("seed", range(CASES))
def test_rmsprop_has_torch_s_numbers_and_states_go_both_ways(seed: int, dtype: Any) -> None:
    options = options_of(seed)
    ours = torch_side.parameters(seed, dtype)
    theirs = torch_side.twins(ours)
    optimizer, other = fused.RMSprop(ours, **options), torch.optim.RMSprop(theirs, **options)
    torch_side.train(ours, theirs, optimizer, other, 10, missing=0.2)
    for_ours, for_theirs = torch_side.exchanged(optimizer, other)
    optimizer, other = fused.RMSprop(ours, lr=9.0), torch.optim.RMSprop(theirs, lr=9.0)
    optimizer.load_state_dict(for_ours)
    other.load_state_dict(for_theirs)
    torch_side.train(ours, theirs, optimizer, other, 10, seed=200, missing=0.2)
    assert torch_side.distance(ours, theirs) <= torch_side.TOLERANCES[dtype]
    assert_same_states(optimizer, other, torch_side.TOLERANCES[dtype])


def assert_same_states(optimizer: Any, other: Any, tolerance: float) -> None:
    """Ours counts steps, too, where torch's SGD does not."""
    a, b = optimizer.state_dict(), other.state_dict()
    counts = type(other).__name__ != "SGD"
    assert a["state"].keys() == b["state"].keys() or not counts
    for i, theirs in b["state"].items():
        for name, value in theirs.items():
            if name == "step" and not counts:
                continue
            mine = a["state"][i][name]
            assert (mine.shape, mine.dtype, mine.stride()) == (value.shape, value.dtype, value.stride()), name
            np.testing.assert_allclose(mine.numpy(), value.numpy(), rtol=tolerance, atol=tolerance, err_msg=name)
    for mine, group in zip(a["param_groups"], b["param_groups"], strict=True):
        assert mine.items() >= group.items()


TWINS: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9, "dampening": 0.25, "weight_decay": 0.1},
    "SGD, nesterov": {"momentum": 0.9, "nesterov": True, "maximize": True},
    "SGD, plain": {"lr": 0.1},
    "Adagrad": {"lr_decay": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.1},
    "Adadelta": {"rho": 0.8, "weight_decay": 0.1},
    "Adam": {"betas": (0.5, 0.9), "weight_decay": 0.1},
    "Adam, amsgrad": {"amsgrad": True, "maximize": True},
    "AdamW": {"weight_decay": 0.3},
    "Adamax": {"betas": (0.5, 0.9), "weight_decay": 0.1},
    "NAdam": {"momentum_decay": 0.1, "weight_decay": 0.1},
    "RAdam": {"betas": (0.5, 0.9), "weight_decay": 0.1},
    "RAdam, as it comes": {"lr": 0.1, "maximize": True},
    "Rprop": {"lr": 0.1, "etas": (0.25, 1.5), "step_sizes": (1e-3, 0.5)},
}


@each_dtype
@pytest.mark.parametrize("case", TWINS)
def test_other_rules_have_torch_s_numbers_too(case: str, dtype: Any) -> None:
    """torch keeps NAdam's product of momenta in float32."""
    name, options = case.partition(",")[0], TWINS[case]
    ours = torch_side.parameters(3, dtype)
    theirs = torch_side.twins(ours)
    optimizer, other = getattr(fused, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    tolerance = 1e-7 if name == "NAdam" and dtype == torch.float64 else torch_side.TOLERANCES[dtype]
    torch_side.train(ours, theirs, optimizer, other, 10, missing=0.2)
    for_ours, for_theirs = torch_side.exchanged(optimizer, other)
    optimizer, other = getattr(fused, name)(ours), getattr(torch.optim, name)(theirs)
    optimizer.load_state_dict(for_ours)
    other.load_state_dict(for_theirs)
    torch_side.train(ours, theirs, optimizer, other, 10, seed=200, missing=0.2)
    assert torch_side.distance(ours, theirs) <= tolerance
    assert_same_states(optimizer, other, max(tolerance, 1e-6 if name == "NAdam" else 0.0))


@pytest.mark.parametrize("name", ["RMSprop", *sorted({case.partition(",")[0] for case in TWINS})])
def test_arguments_and_defaults_are_those_of_the_installed_torch(name: str) -> None:
    import inspect

    ours, theirs = getattr(fused, name), getattr(torch.optim, name)
    mine = inspect.signature(ours).parameters
    for key, parameter in inspect.signature(theirs).parameters.items():
        assert mine[key].default == parameter.default, key
        assert mine[key].kind == parameter.kind, key
    defaults = ours([torch.zeros(1)]).defaults
    assert defaults.items() >= theirs([torch.zeros(1)]).defaults.items()
    assert {*mine} - {*inspect.signature(theirs).parameters} == {"clip_grad_norm", "ema"}


@pytest.mark.parametrize("name", [*TABLE])
def test_every_rule_of_the_zoo_is_an_optimizer_of_torch_s(name: str) -> None:
    ours = torch_side.parameters(1, torch.float32, [(5, 3), (4,)])
    before = torch_side.twins(ours)
    optimizer = fused.optimizer(name)(ours)
    for step in range(3):
        torch_side.give_gradients(ours, before, step)
        for one in ours:
            one.hessian = torch.ones_like(one)
        optimizer.step()
    assert torch_side.distance(ours, before) > 0


def test_a_rule_of_zoo_does_what_our_own_optimizer_of_it_does() -> None:
    import rmsprop_jit

    for name in ("AdaBelief", "NosAdam", "NovoGrad", "Lion"):
        ours = torch_side.parameters(1, torch.float32, [(5, 3), (4,)])
        theirs = [one.detach().numpy().copy() for one in ours]
        optimizer = getattr(fused, name)(ours, lr=0.01, weight_decay=0.1)
        other = getattr(rmsprop_jit, name)(0.01, weight_decay=0.1)
        for step in range(5):
            torch_side.give_gradients(ours, ours, step)
            optimizer.step()
            other.apply([one.grad.numpy() for one in ours], theirs)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.detach().numpy(), b, rtol=1e-6, atol=1e-7, err_msg=name)


def test_a_rule_of_one_s_own() -> None:
    from rmsprop_jit import codegen

    def equations(p: Any, g: Any, s: Any, h: Any) -> dict[Any, Any]:
        mean = h.keep * s.mean + (1 - h.keep) * g
        return {s.mean: mean, p: p - h.learning_rate * mean}

    made = fused.optimizer(codegen.Rule("mine", equations, slots={"mean": 0.0}, hypers={"keep": 0.5}))
    weights = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = made([weights], lr=0.5, keep=0.25)
    weights.grad = torch.ones(2, dtype=torch.float64)
    optimizer.step()
    assert (weights == 1 - 0.5 * 0.75).all()
    assert (optimizer.state[weights]["mean"] == 0.75).all()
    assert optimizer.state[weights]["step"] == 1


@pytest.mark.parametrize("other", [{"weight_decay": 0.1}, {"lr": 0.5}], ids=str)
def test_numbers_of_a_step_are_made_in_python_where_rates_differ_alone(
    other: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tables_of(monkeypatch)

    def trained(steps: int) -> list[Any]:
        parameters = [torch.nn.Parameter(torch.ones(size, dtype=torch.float64)) for size in (3, 4)]
        optimizer = fused.AdamW([{"params": parameters[:1]}, {"params": parameters[1:], **other}], lr=0.1)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] *= 0.9
            if "lr" not in other:
                optimizer.param_groups[1]["lr"] *= 0.9
            for one in parameters:
                one.grad = torch.full_like(one, 1.0 + step)
            optimizer.step()
        return [one.detach().numpy() for one in parameters]

    ours = trained(5)
    assert len(made) == (2 if "lr" not in other else 10)
    monkeypatch.setattr(Launch, "dated", lambda *_: None)
    assert [one.tobytes() for one in trained(5)] == [one.tobytes() for one in ours]
