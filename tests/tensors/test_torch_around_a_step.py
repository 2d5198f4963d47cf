"""What torch does around a step, and sees of it: graphs that saved parameters, hooks; and what a step reads beside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch_side  # noqa: E402
from torch.nn.utils import parametrizations, parametrize  # noqa: E402

import rmsprop_jit.torch as fused  # noqa: E402
from rmsprop_jit import buckets  # noqa: E402
from rmsprop_jit.arrays import versions  # noqa: E402
from rmsprop_jit.torch import engine  # noqa: E402
from rmsprop_jit.torch.kept import Kept  # noqa: E402

OURS, THEIRS = fused.RMSprop, torch.optim.RMSprop


def made(kind: Any, count: int = 1) -> tuple[list[Any], Any]:
    weights = [torch.nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(count)]
    for one in weights:
        one.grad = torch.ones_like(one)
    return weights, kind(weights, lr=0.1)


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("kind", [OURS, THEIRS])
def test_a_graph_that_saved_a_parameter_before_a_step_cannot_be_followed_behind_it(kind: Any, steps: int) -> None:
    (one, idle), optimizer = made(kind, 2)
    idle.grad = None
    for _ in range(steps):
        optimizer.step()
    loss, other = one.square().sum(), idle.square().sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    other.backward()  # of a parameter that the step did not write


def test_what_is_refused_leaves_graphs_alone() -> None:
    weights, optimizer = made(OURS, 2)
    loss = sum(one.square().sum() for one in weights)
    weights[1].grad = torch.ones(3, dtype=torch.float64).to_sparse()
    with pytest.raises(ValueError, match="parameter 1"):
        optimizer.step()
    weights[1].grad = None
    loss.backward()


def test_a_parameter_made_for_inference_has_no_graphs() -> None:
    with torch.inference_mode():
        one = torch.nn.Parameter(torch.ones(3))
        one.grad = torch.ones(3)
    assert one.is_inference()
    for _ in range(2):
        OURS([one], lr=0.1).step()
    assert (one < 1).all()


def test_a_version_that_cannot_be_counted_is_known_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, optimizer = made(OURS)
    before = [one.detach().clone() for one in weights]

    def refuse() -> None:
        raise TypeError

    monkeypatch.setattr(versions, "of_tensors", lambda *_: refuse)
    with pytest.raises(TypeError):
        optimizer.step()
    assert not optimizer.state
    assert all(map(torch.equal, weights, before))


@pytest.mark.parametrize("kind", [OURS, THEIRS])
def test_hooks_may_give_a_step_other_arguments(kind: Any) -> None:
    _, optimizer = made(kind)
    seen: list[Any] = []

    def other(one: Any, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        seen.append((given[1:], named))
        return given[:1], {"closure": lambda: 5.0}

    optimizer.register_step_pre_hook(other)
    assert optimizer.step() == 5.0
    assert optimizer.step(lambda: 7.0) == 5.0
    assert seen[0] == ((), {})
    assert len(seen[1][0]) == 1


def test_what_a_step_reads_is_found_once_for_each_kind_of_step(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    original = buckets.inputs_read

    def counted(*given: Any) -> frozenset[str]:
        asked.append(1)
        return original(*given)

    monkeypatch.setattr("rmsprop_jit.torch.engine.inputs_read", counted)
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(4)]
    optimizer = fused.Sophia([{"params": weights[:1]}, {"params": weights[1:], "lr": 1e-3}], every=3)
    counts = []
    for step in range(9):
        for one in weights[: 4 - step % 2]:
            one.grad, one.hessian = torch.ones(3), torch.ones(3)
        optimizer.step()
        counts.append(len(asked))
    assert 0 < counts[3] == counts[-1]


def test_what_a_step_reads_follows_from_groups_and_from_how_far_parameters_are() -> None:
    together, apart = ([torch.nn.Parameter(torch.ones(3)) for _ in range(2)] for _ in range(2))
    every = ({"every": 3}, {"every": 2})
    groups = [{"params": [one], **own} for one, own in zip(together, every, strict=True)]
    optimizers = [fused.Sophia(groups), *(fused.Sophia([one], **own) for one, own in zip(apart, every, strict=True))]
    generator = torch.Generator().manual_seed(0)
    for step in range(9):
        for i in range(2):
            gradient, hessian = (torch.rand(3, generator=generator) for _ in range(2))
            for one in (together[i], apart[i]):
                one.grad = gradient.clone() if i or step else None  # the first one comes a step later
                one.hessian = hessian
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(together, apart, strict=True):
        assert one.tolist() == other.tolist()


class Symmetric(torch.nn.Module):  # type: ignore[misc,name-defined]
    def forward(self, weight: Any) -> Any:
        return weight.triu() + weight.triu(1).T


PARAMETRIZED: dict[str, Callable[[Any], Any]] = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "a class": lambda layer: parametrize.register_parametrization(layer, "weight", Symmetric()),
}


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("way", PARAMETRIZED)
def test_layers_that_are_parametrized_once_the_optimizer_is_there_train_as_with_torch_s(way: str, steps: int) -> None:
    """What a parameter was is pointed elsewhere, or has no gradient any more; and back again."""

    def trained(kind: Any) -> list[Any]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(*(torch.nn.Linear(4, 4, dtype=torch.float64) for _ in range(2)))
        optimizer = kind(model.parameters(), lr=0.01, momentum=0.5)

        def train(count: int) -> None:
            for step in range(count):
                optimizer.zero_grad()
                torch.manual_seed(step)
                model(torch.randn(8, 4, dtype=torch.float64)).square().sum().backward()
                optimizer.step()

        train(steps)
        PARAMETRIZED[way](model[0])
        train(3)
        parametrize.remove_parametrizations(model[0], "weight")
        train(3)
        return list(model.parameters())

    assert torch_side.distance(trained(OURS), trained(THEIRS)) <= 1e-12


def test_threads_that_step_from_the_first_step_on_make_the_states_once(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, optimizer = made(OURS, 2)
    kept: list[Any] = []

    class Slow(Kept):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            kept.append(self)
            time.sleep(0.02)

    monkeypatch.setattr(engine, "Kept", Slow)
    threads = [threading.Thread(target=lambda: [optimizer.step() for _ in range(5)]) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(kept) == 1
    assert [float(optimizer.state[one]["step"]) for one in weights] == [20.0, 20.0]
