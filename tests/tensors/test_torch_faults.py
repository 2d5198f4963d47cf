"""Faults: what can be wrong with a parameter, a gradient or a state of torch's, before the first step and after some.

Each gives torch's numbers, or an error that names the parameter, and then nothing was written: no parameter, gradient,
state or group, nor a state where there was none.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch_side  # noqa: E402
from torch_faults import FAULTS, Fault  # noqa: E402

import rmsprop_jit.torch as fused  # noqa: E402
from rmsprop_jit import ArrayError  # noqa: E402


def new() -> tuple[list[Any], Any]:
    """Three parameters, and the optimizer of each kind that is tried."""
    shapes = ((4, 2), (3, 2), (5,))
    generator = torch.Generator().manual_seed(3)
    made = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    return made, list(zip(("first", "layer.weight", "last"), made, strict=True))


def give(parameters: Sequence[Any], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for one in parameters:
        one.grad = torch.randn(one.shape, generator=generator)


def seen(optimizer: Any, parameters: Sequence[Any]) -> list[Any]:
    """All that a step could write, byte for byte, and which objects they are."""
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    states = [(id(one), key, value) for one, own in optimizer.state.items() for key, value in own.items()]
    tensors = [*parameters, *(one.grad for one in parameters), *(value for *_, value in states)]
    return [
        copy.deepcopy(groups),
        [[id(one) for one in group["params"]] for group in optimizer.param_groups],
        [(of, key, id(value)) for of, key, value in states],
        [(id(one), *bytes_of(one)) for one in tensors],
    ]


def bytes_of(one: Any) -> Iterator[Any]:
    """What a tensor is: its storage, all of it, or where it has none what it shows."""
    if not isinstance(one, torch.Tensor):
        yield repr(one)
        return
    yield from (type(one), one.dtype, one.device, one.layout)
    if one.layout == torch.strided and not isinstance(one, torch.nn.UninitializedParameter):
        yield from (tuple(one.shape), one.stride(), one.storage_offset())
        yield one._is_view() or bytes(one.untyped_storage().tolist()) if one.device.type == "cpu" else None
    elif one.layout != torch.strided:
        yield one.to_dense().tolist()


def spoil(fault: Fault, optimizer: Any, parameters: list[Any]) -> None:
    other = fault.spoil(optimizer, parameters[1])
    if other is not None:
        parameters[1] = other


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")
@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_gives_torch_s_numbers_or_names_the_parameter_and_writes_nothing(what: str, steps: int) -> None:
    fault = FAULTS[what]
    words = fault.later if steps else fault.first
    ours, named = new()
    theirs, others = new()
    pairs = [(ours, fused.RMSprop(named, lr=0.1)), (theirs, torch.optim.RMSprop(others, lr=0.1))]
    for parameters, optimizer in pairs:
        for step in range(steps):
            give(parameters, step)
            optimizer.step()
        give(parameters, 100)
    _, optimizer = pairs[0]
    spoil(fault, optimizer, ours)
    if words:
        before = seen(optimizer, ours)
        for _ in range(2):
            with pytest.raises(ArrayError, match=words) as refused:
                optimizer.step()
            assert re.search(r"layer\.weight|again", str(refused.value)), refused.value
            assert seen(optimizer, ours) == before
        return
    spoil(fault, pairs[1][1], theirs)
    for _ in range(2):
        for _, one in pairs:
            one.step()
    assert torch_side.distance(ours, theirs) <= 1e-6
    for a, b in zip(ours, theirs, strict=True):
        assert {*optimizer.state.get(a, {})} == {*pairs[1][1].state.get(b, {})}


def test_a_parameter_in_two_groups_is_named_and_the_optimizer_as_it_was() -> None:
    parameters, named = new()
    message = "'{}' is in the optimizer already, as '{}'"
    with pytest.raises(ArrayError, match=message.format("layer.weight of group 1", "layer.weight")):
        fused.RMSprop([{"params": named[:2]}, {"params": named[1:]}])
    optimizer = fused.RMSprop(parameters)
    give(parameters, 0)
    optimizer.step()
    before = seen(optimizer, parameters)
    with pytest.raises(ValueError, match=message.format("parameter 0 of group 1", "parameter 2 of group 0")):
        optimizer.add_param_group({"params": parameters[2]})
    assert seen(optimizer, parameters) == before
