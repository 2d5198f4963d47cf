"""Steps look at states only once somebody was shown them: whatever is changed, by any way to them, counts."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import rmsprop_jit.torch as fused  # noqa: E402


def trained(steps: int = 3) -> tuple[Any, Any]:
    weights = torch.nn.Parameter(torch.ones(4, dtype=torch.float64))
    weights.grad = torch.ones(4, dtype=torch.float64)
    optimizer = fused.RMSprop([weights], lr=0.5, momentum=0.5)
    for _ in range(steps):
        optimizer.step()
    return weights, optimizer


def kept_by_a_hook(weights: Any, optimizer: Any) -> dict[str, Any]:
    kept: list[Any] = []
    optimizer.register_load_state_dict_post_hook(lambda one: kept.append(one.state))
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    state: dict[str, Any] = kept[0][weights]
    return state


WAYS: dict[str, Callable[[Any, Any], dict[str, Any]]] = {
    "state": lambda weights, optimizer: optimizer.state[weights],
    "state_dict": lambda weights, optimizer: optimizer.state_dict()["state"][0],
    "a shallow copy": lambda weights, optimizer: copy.copy(optimizer).state[weights],
    "what pickle takes": lambda weights, optimizer: optimizer.__getstate__()["state"][weights],
    "a hook of loading": kept_by_a_hook,
}

CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another tensor": lambda state: state.update(square_avg=torch.full((4,), 9.0, dtype=torch.float64)),
    "another memory": lambda state: setattr(state["square_avg"], "data", torch.full((4,), 9.0, dtype=torch.float64)),
    "in place": lambda state: state["square_avg"].fill_(9.0),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("way", WAYS)
def test_a_state_that_was_shown_may_be_changed_at_any_later_time(way: str, change: str) -> None:
    weights, optimizer = trained()
    state = WAYS[way](weights, optimizer)
    for _ in range(3):
        optimizer.step()
    CHANGES[change](state)
    optimizer.step()
    assert optimizer.state[weights]["square_avg"].tolist() == pytest.approx([0.99 * 9.0 + 0.01] * 4, abs=1e-12)


@pytest.mark.parametrize("how", ["state", "__setstate__"])
def test_states_that_are_given_are_the_giver_s_too(how: str) -> None:
    weights, optimizer = trained()
    _, other = trained(5)
    states = {weights: next(iter(other.state.values()))}
    if how == "state":
        optimizer.state = states
    else:
        optimizer.__setstate__({"state": states})
    for value in (9.0, 4.0):
        states[weights]["square_avg"] = torch.full((4,), value, dtype=torch.float64)
        optimizer.step()
        assert states[weights]["square_avg"].tolist() == pytest.approx([0.99 * value + 0.01] * 4, abs=1e-12)


def test_a_state_that_was_loaded_is_looked_at_by_nobody_and_is_right() -> None:
    weights, optimizer = trained()
    saved = copy.deepcopy(optimizer.state_dict())
    expected = None
    for _ in range(2):
        optimizer.load_state_dict(saved)
        with torch.no_grad():
            weights.fill_(1.0)
        for _ in range(3):
            optimizer.step()
        saved["state"][0]["square_avg"].mul_(1.0)  # the caller's own, which is not the optimizer's
        expected = weights.tolist() if expected is None else expected
        assert weights.tolist() == expected


@pytest.mark.parametrize("when", ["before torch asks", "after it asked"])
def test_another_thread_that_asks_for_states_during_state_dict_is_not_forgotten(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, optimizer = trained()
    kept: list[dict[str, Any]] = []
    made = torch.optim.Optimizer.state_dict

    def meanwhile(one: Any) -> Any:
        other = threading.Thread(target=lambda: kept.append(one.state))
        found = made(one) if when == "after it asked" else None
        other.start()
        other.join()
        return found or made(one)

    monkeypatch.setattr(torch.optim.Optimizer, "state_dict", meanwhile)
    optimizer.state_dict()
    for _ in range(3):
        optimizer.step()
    for value in (9.0, 4.0):
        kept[0][weights]["square_avg"] = torch.full((4,), value, dtype=torch.float64)
        optimizer.step()
        assert kept[0][weights]["square_avg"].tolist() == pytest.approx([0.99 * value + 0.01] * 4, abs=1e-12)
