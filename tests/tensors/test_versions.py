"""What torch knows of parameters that `apply` writes: no graph is followed that saved one before, as by torch's own."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from interrupts import Interrupter

from rmsprop_jit import ArrayError, NonFiniteError, RMSprop, ScheduleFreeSGD, Variable
from rmsprop_jit.codegen.backends import inside

torch = pytest.importorskip("torch")

NAN = float("nan")


def parameters(count: int = 2) -> list[Any]:
    return [torch.nn.Parameter(torch.ones(3)) for _ in range(count)]


def versions(tensors: list[Any]) -> list[int]:
    return [one._version for one in tensors]


def test_the_graph_of_what_a_call_writes_cannot_be_followed_and_of_what_it_leaves_it_can() -> None:
    one, idle = parameters()
    optimizer = RMSprop(0.1)
    optimizer.build([one, idle])
    for gradient in (torch.ones(3), torch.ones(3), torch.full((3,), 2.0)):  # with care, as ever, and a fresh one
        loss, other = one.square().sum(), idle.square().sum()
        optimizer.apply([gradient], [one])
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
        other.backward()
    assert (versions([one, idle]), optimizer.iterations) == ([3, 0], 3)


def test_backward_before_a_call_goes_on_as_ever() -> None:
    (one,) = parameters(1)
    optimizer = RMSprop(0.1)
    for _ in range(3):
        one.grad = None
        one.square().sum().backward()
        optimizer.apply([one.grad], [one])
    assert (one < 1).all()


def test_a_view_of_a_parameter_is_of_its_version() -> None:
    (one,) = parameters(1)
    whole = one * 1
    row = whole.detach()
    loss = (whole * whole).sum()
    RMSprop(0.1).apply([torch.ones(3)], [row])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("error", [RuntimeError, TypeError])
def test_a_torch_that_counts_one_tensor_at_a_time(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 2.5 a list was refused, and a tensor made for inference was an error."""
    increment, asked = torch.autograd.graph.increment_version, []

    def before(tensor: Any) -> None:
        asked.append(tensor)
        if not isinstance(tensor, torch.Tensor) or tensor.is_inference():
            raise error("expect a Tensor as input")
        increment(tensor)

    monkeypatch.setattr(inside, "counter", lambda tensors: None)
    monkeypatch.setattr(torch.autograd.graph, "increment_version", before)
    with torch.inference_mode():
        inferred = torch.ones(3)
    ours, optimizer = parameters(), RMSprop(0.1)
    for _ in range(3):
        optimizer.apply([torch.ones(3)] * 3, [*ours, inferred])
    assert (versions(ours), optimizer.iterations) == ([3, 3], 3)
    assert torch.equal(ours[0], inferred)
    assert [one for one in asked if isinstance(one, list)] == [[]]  # found out once


def test_one_made_for_inference_has_no_version_and_is_updated() -> None:
    with torch.inference_mode():
        inferred = torch.ones(3)
    (other,) = parameters(1)
    optimizer = RMSprop(0.1)
    with torch.inference_mode():
        optimizer.apply([torch.ones(3), torch.ones(3)], [inferred, other])
    with torch.no_grad():
        optimizer.apply([torch.ones(3), torch.ones(3)])
    assert torch.equal(inferred, other)
    assert (inferred < 1).all()
    assert other._version == 2


def test_gradients_that_are_only_added_up_write_no_parameter() -> None:
    ours = parameters()
    optimizer = RMSprop(0.1, gradient_accumulation_steps=3)
    seen = []
    for _ in range(6):
        optimizer.apply([torch.ones(3)] * 2, ours)
        seen.append(versions(ours))
    assert seen == [[0, 0], [0, 0], [1, 1], [1, 1], [1, 1], [2, 2]]


def test_what_is_refused_or_not_finite() -> None:
    """A call that turns out to do nothing was counted all the same, as by torch's fused optimizers."""
    ours = parameters()
    optimizer = RMSprop(0.1, nonfinite="raise")
    with pytest.raises(ArrayError, match="shape"):
        optimizer.apply([torch.ones(3), torch.ones(4)], ours)
    assert versions(ours) == [0, 0]
    with pytest.raises(NonFiniteError):
        optimizer.apply([torch.ones(3), torch.full((3,), NAN)], ours)
    assert versions(ours) == [1, 1]


def averaged(optimizer: RMSprop, ours: list[Any]) -> None:
    with optimizer.averaged():
        assert versions(ours) == [2, 2]


def loaded(optimizer: RMSprop, ours: list[Any]) -> None:
    optimizer.load_state_dict(optimizer.state_dict())  # slots, and no variables
    assert versions(ours) == [1, 1]
    optimizer.update_step(torch.ones(3), ours[0], 0.1)
    assert versions(ours) == [2, 1]
    optimizer.update_step(torch.ones(3), ours[1], 0.1)
    optimizer.finalize_variable_values()


OTHERS: dict[str, Callable[[RMSprop, list[Any]], None]] = {"a block of averages": averaged, "all else": loaded}


@pytest.mark.parametrize("other", OTHERS)
def test_whatever_else_writes_parameters_is_counted(other: str) -> None:
    ours = parameters()
    optimizer = RMSprop(0.1, use_ema=True)
    optimizer.apply([torch.ones(3)] * 2, ours)
    OTHERS[other](optimizer, ours)
    assert versions(ours) == [3, 3]


def test_averages_of_a_rule_s_own() -> None:
    ours = parameters()
    optimizer = ScheduleFreeSGD(0.1)
    for _ in range(2):
        optimizer.apply([torch.ones(3)] * 2, ours)
    loss = ours[0].square().sum()
    with optimizer.averaged(), pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_variable_around_a_tensor_writes_that_tensor() -> None:
    tensor = torch.ones(3)
    variable = Variable(tensor, constraint=lambda array: array / 2)
    optimizer = RMSprop(0.1)
    optimizer.apply([torch.ones(3)], [variable])
    assert tensor._version == 2  # by the step, and by the constraint behind it
    variable.assign(np.ones(3))
    variable.assign_add(1.0)
    assert tensor._version == 4


def test_wherever_a_signal_comes_what_is_written_is_counted() -> None:
    def interrupted(n: int) -> bool:
        (one,) = parameters(1)
        optimizer = RMSprop(0.1)
        optimizer.build([one])
        optimizer.apply([torch.ones(3)])
        before = one.detach().clone()
        with Interrupter(n) as signal, contextlib.suppress(KeyboardInterrupt):
            optimizer.apply([torch.ones(3)])
        assert torch.equal(one, before) or one._version == 2, n
        return signal.raised

    many = next(n for n in itertools.count() if not interrupted(n))
    assert many > 50
