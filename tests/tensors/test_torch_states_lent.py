"""Steps look at states that `state_dict` showed as long as anybody has any of it, by whatever way, and no longer."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import rmsprop_jit.torch as fused  # noqa: E402
from rmsprop_jit import ArrayError  # noqa: E402
from rmsprop_jit.codegen.backends import tensors  # noqa: E402


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for each time that states are asked where they are."""
    found: list[int] = []
    made = tensors.stay

    def stay(asked: Any, begins: Any) -> Callable[[], bool]:
        ask = made(asked, begins)

        def counted() -> bool:
            found.append(len(asked))
            return ask()

        return counted

    monkeypatch.setattr("rmsprop_jit.torch.kept.stay", stay)
    return found


def trained() -> tuple[list[Any], Any]:
    weights = [torch.nn.Parameter(torch.ones(shape)) for shape in ((3, 2), (), (0,))]
    for one in weights:
        one.grad = torch.ones_like(one)
    optimizer = fused.RMSprop(weights, lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.step()
    return weights, optimizer


HELD: dict[str, Callable[[dict[str, Any]], object]] = {
    "all of it": lambda shown: shown,
    "a state": lambda shown: shown["state"][1],
    "a tensor": lambda shown: shown["state"][0]["square_avg"],
    "the last tensor": lambda shown: shown["state"][1]["square_avg"],
    "a count": lambda shown: shown["state"][0]["step"],
    "a view": lambda shown: shown["state"][0]["square_avg"].view(-1),
    "another tensor of the memory": lambda shown: shown["state"][0]["square_avg"].detach(),
    "a view of a count": lambda shown: shown["state"][0]["step"].view(1),
    "a storage": lambda shown: shown["state"][0]["square_avg"].untyped_storage(),
    "a storage of a count": lambda shown: shown["state"][0]["step"].untyped_storage(),
    "an array": lambda shown: shown["state"][0]["square_avg"].numpy(),
    "a weak reference to a tensor": lambda shown: weakref.ref(shown["state"][1]["square_avg"]),
    "a weak reference to a count": lambda shown: weakref.ref(shown["state"][0]["step"]),
    "a weak reference to a storage": lambda shown: weakref.ref(shown["state"][0]["square_avg"].untyped_storage()),
    "a graph": lambda shown: (torch.ones(3, 2, requires_grad=True) * shown["state"][0]["square_avg"]).sum(),
}
NOT_HELD: dict[str, Callable[[dict[str, Any]], object]] = {
    "nothing": lambda shown: None,
    "a copy": copy.deepcopy,
    "numbers": lambda shown: float(shown["state"][0]["square_avg"].sum()),
    "the groups": lambda shown: shown["param_groups"],
}


@pytest.mark.parametrize("what", HELD)
def test_states_are_looked_at_as_long_as_anybody_has_some(what: str, looks: list[int]) -> None:
    _, optimizer = trained()
    assert not looks
    held = HELD[what](optimizer.state_dict())
    for _ in range(3):
        optimizer.step()
    assert len(looks) == 3
    del held
    for _ in range(3):
        optimizer.step()
    assert len(looks) == 4


@pytest.mark.parametrize("how", ["moved", "emptied"])
def test_memory_that_is_moved_by_who_has_nothing_else_is_noticed(how: str, looks: list[int]) -> None:
    weights, optimizer = trained()
    view = optimizer.state_dict()["state"][0]["square_avg"].detach()
    optimizer.step()
    optimizer.step()
    assert looks[1:] == [1]
    if how == "moved":
        view.share_memory_()
        before = view.clone()
        optimizer.step()
        assert torch.allclose(view, 0.99 * before + 0.01, rtol=0, atol=1e-6)
        assert optimizer.state[weights[0]]["square_avg"].data_ptr() == view.data_ptr()
    else:
        view.untyped_storage().resize_(0)
        with pytest.raises(ArrayError, match=r"parameter 0 of group 0, state 'square_avg'.*no memory"):
            optimizer.step()


@pytest.mark.parametrize("what", NOT_HELD)
def test_they_are_looked_at_once_when_nobody_has_any(what: str, looks: list[int]) -> None:
    _, optimizer = trained()
    for shown in (1, 2):
        held = NOT_HELD[what](optimizer.state_dict())
        for _ in range(3):
            optimizer.step()
        assert len(looks) == shown
        del held


def test_who_has_all_states_or_looks_at_them_by_a_hook_may_change_them_at_any_time(looks: list[int]) -> None:
    _, optimizer = trained()
    optimizer.register_state_dict_post_hook(lambda one, shown: None)
    optimizer.state_dict()
    for _ in range(3):
        optimizer.step()
    assert len(looks) == 3


@pytest.mark.parametrize("rule", ["RMSprop", "Adam"])
@pytest.mark.parametrize("is_kept", [False, True])
def test_a_count_that_is_pointed_elsewhere_goes_on_from_there(rule: str, is_kept: bool) -> None:
    weights, twins = ([torch.nn.Parameter(torch.ones(4, dtype=torch.float64))] for _ in range(2))
    ours, theirs = getattr(fused, rule)(weights, lr=0.1), getattr(torch.optim, rule)(twins, lr=0.1)
    shown: list[Any] = []
    for step in range(6):
        for one in (*weights, *twins):
            one.grad = torch.full_like(one, 1.0 + step)
        if step == 3:
            shown = [one.state_dict() for one in (ours, theirs)]
            for state in shown:
                state["state"][0]["step"].data = torch.tensor(100.0)
            shown = shown if is_kept else []
        ours.step()
        theirs.step()
    assert float(ours.state[weights[0]]["step"]) == float(theirs.state[twins[0]]["step"]) == 103
    assert torch.allclose(weights[0], twins[0], rtol=0, atol=1e-12)
