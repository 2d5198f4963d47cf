"""Rules whose slots are over axes: what is in torch's states of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch_side  # noqa: E402

import rmsprop_jit  # noqa: E402
import rmsprop_jit.torch as fused  # noqa: E402
from rmsprop_jit import ArrayError  # noqa: E402
from rmsprop_jit.codegen import Rule, Slot, mean_of, sqrt, square  # noqa: E402


def by_rows(p: Any, g: Any, s: Any, h: Any) -> dict[Any, Any]:
    row = 0.9 * s.row + 0.1 * mean_of(square(g), over=-1)
    return {s.row: row, p: p - h.learning_rate * g / (sqrt(row) + 1e-8)}


def test_slots_over_axes_have_their_shape_in_states_and_go_on() -> None:
    rule = Rule("by_rows", by_rows, slots={"row": Slot(0.0, over=-1)})
    made = fused.optimizer(rule)
    ours = {"w": torch.nn.Parameter(torch.ones(3, 4)), "b": torch.nn.Parameter(torch.ones(5))}
    arrays = {name: one.detach().numpy().copy() for name, one in ours.items()}
    optimizer = made(ours.items(), lr=0.1)
    other = rmsprop_jit.Optimizer(rule, learning_rate=0.1)
    other.build(arrays)
    for step in range(4):
        if step == 2:
            state = copy.deepcopy(optimizer.state_dict())
            assert state["state"][0]["row"].shape == (3,)
            optimizer = made(ours.items())
            optimizer.load_state_dict(state)
        torch_side.give_gradients(list(ours.values()), list(ours.values()), step)
        other.apply({name: one.grad.numpy() for name, one in ours.items()})
        optimizer.step()
    for name, one in ours.items():
        assert one.detach().numpy().tobytes() == arrays[name].tobytes()
    optimizer.state[ours["w"]]["row"] = torch.ones(3, 4)
    with pytest.raises(ArrayError, match=r"w, state 'row' does not fit .*\(3, 4\).* asks for \(3,\)"):
        optimizer.step()
