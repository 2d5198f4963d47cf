"""Steps that are made again, behind one that was interrupted or taken back; and numbers of steps that nobody makes."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import rmsprop_jit.torch as fused  # noqa: E402
from rmsprop_jit.torch.launches import Launches  # noqa: E402


def made(name: str, steps: int = 3) -> tuple[Any, Any]:
    """A parameter and its optimizer behind so many steps, ready for the next one."""
    weights = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = getattr(fused, name)([weights], lr=0.1)
    weights.grad = torch.ones_like(weights)
    for _ in range(steps):
        optimizer.step()
    return weights, optimizer


def all_of(weights: Any, optimizer: Any) -> dict[str, list[float]]:
    state = {name: value.flatten().tolist() for name, value in optimizer.state[weights].items()}
    return {"parameter": weights.tolist(), **state}


@pytest.mark.parametrize("name", ["NAdam", "NosAdam"])
def test_a_step_that_was_interrupted_before_it_ran_is_repeated(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, optimizer = made(name)
    before = all_of(weights, optimizer)

    def stop(_: Launches) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Launches, "run", stop)
        with pytest.raises(KeyboardInterrupt):
            optimizer.step()
    assert all_of(weights, optimizer) == before
    for steps in (4, 5):
        optimizer.step()
        assert all_of(weights, optimizer) == all_of(*made(name, steps)), steps


@pytest.mark.parametrize("name", ["NAdam", "NosAdam"])
def test_a_step_that_was_taken_back_in_place_is_repeated(name: str) -> None:
    weights, optimizer = made(name)
    state = optimizer.state[weights]
    before, kept = weights.detach().clone(), {name: value.clone() for name, value in state.items()}
    optimizer.step()
    with torch.no_grad():
        weights.copy_(before)
        for slot, value in kept.items():
            state[slot].copy_(value)
    for steps in (4, 5):
        optimizer.step()
        assert all_of(weights, optimizer) == all_of(*made(name, steps)), steps


@pytest.mark.parametrize("steps", [2.0**53 - 2, 2.0**53, 2.0**63, 2.0**64, 2.0**70])
def test_a_state_of_very_many_steps(steps: float) -> None:
    """More than a state or a processor's integer counts: numbers of such a step are those of no other one."""
    ours, theirs = made("AdamW", 1), made("AdamW", 1)
    for (weights, optimizer), is_loaded in ((ours, False), (theirs, True)):
        if is_loaded:
            optimizer.load_state_dict(optimizer.state_dict())  # from where all numbers are made anew
        optimizer.state[weights]["step"].fill_(steps)
        optimizer.step()
    assert all_of(*ours) == all_of(*theirs)
