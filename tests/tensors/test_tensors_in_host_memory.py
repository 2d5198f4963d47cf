"""Torch's tensors in host memory: parameters and gradients where they lie, and what can be wrong with them.

A row of the tables is a fault: the numbers are right, or an error names the parameter, and nothing is written.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rmsprop_jit import ArrayError, RMSprop
from rmsprop_jit.codegen.backends import dlpack

torch = pytest.importorskip("torch")

OPTIONS: dict[str, Any] = {"rho": 0.99, "epsilon": 1e-8, "momentum": 0.5, "centered": True, "dialect": "torch"}
SHAPES = [(4, 4), (7,), (), (0, 3), (2, 3, 4, 5)]


def tensors(seed: int, dtype: Any = None) -> list[Any]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype or torch.float32) for shape in SHAPES]


def parameters(dtype: Any = None) -> list[Any]:
    return [torch.nn.Parameter(one) for one in tensors(0, dtype)]


def named(variables: list[Any]) -> dict[str, Any]:
    return {f"p{i}": one for i, one in enumerate(variables)}


def bytes_of(optimizer: RMSprop, variables: list[Any]) -> list[bytes]:
    """All that a call may write, where it lies now."""
    seen = [one.detach() for one in variables if isinstance(one, torch.Tensor)]
    values = [one.numpy().tobytes() for one in seen if one.layout == torch.strided and one.device.type == "cpu"]
    slots = [one.numpy().tobytes() for one in optimizer.variables]
    return values + slots


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_train_where_they_are_as_numpy_s_arrays_do(dtype: str) -> None:
    ours = parameters(getattr(torch, dtype))
    theirs = [one.detach().numpy().copy() for one in ours]
    begins = [one.data_ptr() for one in ours]
    optimizer, other = RMSprop(0.1, **OPTIONS), RMSprop(0.1, **OPTIONS)
    for call in range(6):
        gradients = tensors(call + 1, getattr(torch, dtype if call < 4 else "float32"))
        optimizer.apply(gradients, ours)
        other.apply([one.numpy() for one in gradients], theirs)
    assert [one.data_ptr() for one in ours] == begins
    for a, b in zip(ours, theirs, strict=True):
        assert a.detach().numpy().tobytes() == b.tobytes()


def test_gradients_of_autograd_are_taken_as_they_are() -> None:
    weights = torch.nn.Parameter(torch.ones(3))
    optimizer = RMSprop(0.1)
    for _ in range(3):
        loss = (weights * torch.tensor([1.0, 2.0, 3.0])).pow(2).sum()
        (gradient,) = torch.autograd.grad(loss, [weights], create_graph=True)
        assert gradient.requires_grad
        optimizer.apply([gradient], [weights])
    assert (weights < 1).all()
    assert weights.grad is None


def test_a_step_makes_no_tensor_and_keeps_none_of_autograd_s_graph() -> None:
    weights = torch.nn.Parameter(torch.ones(3))
    version = weights._version
    optimizer = RMSprop(0.1)
    optimizer.apply([torch.ones(3)], [weights])
    assert weights.is_leaf
    assert weights.requires_grad
    assert weights._version == version + 1


# Any dense order of elements.

ORDERS: dict[str, Callable[[Any], Any]] = {
    "channels last": lambda one: one.to(memory_format=torch.channels_last),
    "transposed": lambda one: one.transpose(0, 3),
    "permuted": lambda one: one.permute(2, 0, 3, 1),
    "of one row": lambda one: one[:1].transpose(0, 2),
    "of one channel": lambda one: one[:, :1].to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("order", ORDERS)
def test_elements_may_lie_in_any_dense_order(order: str) -> None:
    base = tensors(0)[4]
    ours = torch.nn.Parameter(ORDERS[order](base).detach())
    if order == "of one channel":
        ours = torch.nn.Parameter(torch.empty_like(ours).copy_(ours))
    theirs = ours.detach().numpy().copy()
    optimizer, other = RMSprop(0.1, use_ema=True, **OPTIONS), RMSprop(0.1, use_ema=True, **OPTIONS)
    for _ in range(5):
        gradient = torch.empty_like(ours).copy_(torch.randn(ours.shape))
        assert gradient.stride() == ours.stride()
        optimizer.apply([gradient], [ours])
        other.apply([gradient.detach().numpy().copy()], [theirs])
    np.testing.assert_array_equal(ours.detach().numpy(), theirs)
    state, same = optimizer.state_dict(), other.state_dict()
    for name in ("variable_velocity", "variable_average"):
        key = next(one for one in state if one.endswith(name.removeprefix("variable")))
        np.testing.assert_array_equal(state[key], same[key])
    again = RMSprop(0.1, use_ema=True, **OPTIONS)
    again.build([ours])
    again.load_state_dict(same)
    np.testing.assert_array_equal(again.variables[2].numpy(), optimizer.variables[2].numpy())
    with optimizer.averaged():
        averages = ours.detach().numpy().copy()
    with other.averaged():
        np.testing.assert_array_equal(averages, theirs)
    np.testing.assert_array_equal(ours.detach().numpy(), theirs)


def test_their_state_goes_to_a_file_and_through_pickle(tmp_path: Any) -> None:
    ours = torch.nn.Parameter(tensors(0)[4].to(memory_format=torch.channels_last))
    optimizer = RMSprop(0.1, **OPTIONS)
    optimizer.apply([torch.empty_like(ours).copy_(tensors(1)[4])], [ours])
    optimizer.save(tmp_path / "state.safetensors")
    fresh = torch.nn.Parameter(ours.detach().clone())
    for again in (RMSprop(0.1, **OPTIONS), pickle.loads(pickle.dumps(optimizer))):
        again.build([fresh])
        again.load(tmp_path / "state.safetensors")
        for a, b in zip(again.variables, optimizer.variables, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


# What is wrong from the start.

BAD_VARIABLES: dict[str, tuple[Callable[[], Any], str]] = {
    "of bfloat16": (lambda: torch.ones(3, dtype=torch.bfloat16), "its dtype is torch.bfloat16"),
    "of float16": (lambda: torch.ones(3, dtype=torch.float16), r"dtype=float16.*array\.to\(torch\.float32\)"),
    "of integers": (lambda: torch.ones(3, dtype=torch.int64), r"dtype=int64.*array\.to\(torch\.float32\)"),
    "conjugated when it is read": (lambda: torch.ones(3, dtype=torch.complex64).conj(), "conjugated"),
    "sparse": (lambda: torch.eye(3).to_sparse(), "not dense: layout=torch.sparse_coo"),
    "sparse in rows": (lambda: torch.eye(3).to_sparse_csr(), "not dense: layout=torch.sparse_csr"),
    "meta": (lambda: torch.nn.Parameter(torch.ones(3, device="meta")), "'meta', which no kernel reaches"),
    "not yet made": (lambda: torch.nn.UninitializedParameter(), "cannot be used"),
    "one number for all": (lambda: torch.ones(1).expand(5), r"not dense.*array\.contiguous\(\)"),
    "every second": (lambda: torch.ones(6)[::2], r"not dense.*array\.contiguous\(\)"),
    "of rows with gaps": (lambda: torch.ones(4, 4)[:, 1:], "not dense"),
    "negated when it is read": (lambda: torch._neg_view(torch.ones(3)), "negated"),
    "without memory": (lambda: emptied(torch.ones(3)), "has no memory"),
    "nested": (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "not dense"),
}


def emptied(tensor: Any) -> Any:
    tensor.untyped_storage().resize_(0)
    return tensor


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:The PyTorch API of nested")
@pytest.mark.parametrize("what", BAD_VARIABLES)
def test_a_variable_that_cannot_be_updated_where_it_is_is_refused_by_name(what: str) -> None:
    make, words = BAD_VARIABLES[what]
    for first in (RMSprop.build, lambda optimizer, variables: optimizer.apply({"good": None, "bad": None}, variables)):
        with pytest.raises(ArrayError, match=rf"'bad'.*{words}"):
            first(RMSprop(), {"good": torch.ones(2), "bad": make()})


def test_one_tensor_twice_or_two_that_overlap_are_refused_by_name() -> None:
    whole = torch.nn.Parameter(torch.ones(8))
    with pytest.raises(ArrayError, match=r"'b' is in the list twice \(also as 'a'\)"):
        RMSprop().build({"a": whole, "b": whole})
    with pytest.raises(ArrayError, match="'a' and 'b' share memory"):
        RMSprop().build({"a": whole, "b": whole.detach()[4:]})
    with pytest.raises(ArrayError, match=r"list or a dict of arrays.*one Parameter"):
        RMSprop().build(whole)


def test_whether_gradients_are_required_does_not_matter() -> None:
    variables = [
        torch.ones(3),
        torch.nn.Parameter(torch.ones(3), requires_grad=False),
        torch.nn.Parameter(torch.ones(3)),
    ]
    optimizer = RMSprop()
    optimizer.build(variables)
    for _ in range(3):
        optimizer.apply([torch.ones(3)] * 3)
    assert all(torch.equal(one, variables[0]) for one in variables)


# What happens between two calls.


def to(dtype: str) -> Callable[[Any], None]:
    def change(parameter: Any) -> None:
        parameter.data = parameter.data.to(getattr(torch, dtype))

    return change


def swapped(parameter: Any) -> None:
    parameter.data = parameter.data.clone()


def resized(parameter: Any) -> None:
    parameter.untyped_storage().resize_(0)


def grown(parameter: Any) -> None:
    other = torch.ones(1000)
    parameter.untyped_storage().resize_(1 << 20)
    del other


def exchanged(parameter: Any) -> None:
    torch.utils.swap_tensors(parameter, torch.nn.Parameter(parameter.detach().clone()))


def cut(parameter: Any) -> None:
    parameter.data = parameter.data[:2]


def turned(parameter: Any) -> None:
    parameter.data.t_()


def turned_itself(parameter: Any) -> None:
    with torch.no_grad():
        parameter.t_()


CHANGES: dict[str, tuple[Callable[[Any], None], str]] = {
    "data swapped": (swapped, "other memory"),
    "storage resized to nothing": (resized, "no memory"),
    "storage resized": (grown, "other memory"),
    "to float64": (to("float64"), "another shape or dtype"),
    "to float16": (to("float16"), "another shape or dtype"),
    "to bfloat16": (to("bfloat16"), "bfloat16"),
    "swapped with another": (exchanged, "other memory"),
    "cut": (cut, "another shape"),
    "transposed in place": (turned_itself, "another shape"),
    "to meta": (lambda one: torch.utils.swap_tensors(one, torch.nn.Parameter(one.to("meta"))), "meta"),
    "to sparse": (lambda one: torch.utils.swap_tensors(one, torch.nn.Parameter(one.detach().to_sparse())), "dense"),
}


@pytest.mark.parametrize("calls", [0, 1, 4])
@pytest.mark.parametrize("is_same", [True, False])
@pytest.mark.parametrize("what", CHANGES)
def test_a_variable_that_is_changed_after_build_is_noticed_and_named(what: str, is_same: bool, calls: int) -> None:
    change, words = CHANGES[what]
    variables, gradients = parameters(), tensors(1)
    optimizer = RMSprop(**OPTIONS)
    optimizer.build(named(variables))
    for _ in range(calls):
        optimizer.apply(gradients)
    change(variables[0])
    rest = variables[1:]
    before = bytes_of(optimizer, rest)
    for _ in range(2):
        with pytest.raises(ArrayError, match=rf"(?s)'p0'.*{words}"):
            optimizer.apply(gradients if is_same else tensors(1))
    assert bytes_of(optimizer, rest) == before
    assert optimizer.iterations == calls


def test_a_variable_that_comes_back_is_trained_on() -> None:
    variables, gradients = parameters(), tensors(1)
    optimizer = RMSprop(**OPTIONS)
    optimizer.build(variables)
    for _ in range(3):
        optimizer.apply(gradients)
    own = variables[0].data
    variables[0].data = torch.ones(4, 4)
    with pytest.raises(ArrayError):
        optimizer.apply(gradients)
    variables[0].data = own
    optimizer.apply(gradients)
    assert optimizer.iterations == 4


BAD_GRADIENTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "of another shape": (lambda g: torch.ones(4, 5), r"shape \(4, 4\).*shape=\(4, 5\)"),
    "flat": (lambda g: g.reshape(16), "shape"),
    "one number": (lambda g: torch.tensor(1.0), "shape"),
    "of int16": (lambda g: g.short(), r"dtype=int16.*gradient\.to\(torch\.float32\)"),
    "of bfloat16": (lambda g: g.bfloat16(), "bfloat16"),
    "of integers": (lambda g: g.to(torch.int32), "int32"),
    "complex": (lambda g: g.to(torch.complex64), "complex64"),
    "sparse": (lambda g: g.to_sparse(), "not dense"),
    "meta": (lambda g: g.to("meta"), "meta"),
    "transposed": (lambda g: g.clone().t(), "lie in memory as the variable"),
    "one number for all": (lambda g: torch.ones(1, 1).expand(4, 4), r"not dense.*gradient\.contiguous\(\)"),
    "every second": (lambda g: torch.ones(4, 8)[:, ::2], "not dense"),
    "without memory": (lambda g: emptied(g.clone()), "no memory"),
    "a list": (lambda g: g.tolist(), "not a NumPy array"),
    "a number": (lambda g: 1.0, "not a NumPy array"),
}


@pytest.mark.parametrize("calls", [0, 4])
@pytest.mark.parametrize("what", BAD_GRADIENTS)
def test_a_bad_gradient_is_refused_by_name_and_nothing_is_written(what: str, calls: int) -> None:
    spoil, words = BAD_GRADIENTS[what]
    variables, gradients = parameters(), tensors(1)
    optimizer = RMSprop(**OPTIONS)
    optimizer.build(named(variables))
    for _ in range(calls):
        optimizer.apply(gradients)
    before = bytes_of(optimizer, variables)
    for _ in range(2):
        with pytest.raises(ArrayError, match=rf"(?s)gradient of 'p0'.*{words}"):
            optimizer.apply([spoil(gradients[0]), *gradients[1:]])
    assert bytes_of(optimizer, variables) == before
    assert optimizer.iterations == calls


@pytest.mark.parametrize("calls", [0, 4])
def test_a_gradient_that_a_step_would_write_is_refused(calls: int) -> None:
    variables, gradients = parameters(), tensors(1)
    optimizer = RMSprop(**OPTIONS)
    optimizer.build(named(variables))
    for _ in range(calls):
        optimizer.apply(gradients)
    slot = torch.from_numpy(optimizer.variables[2].value)
    for bad in (variables[0], variables[0].detach(), slot):
        with pytest.raises(ArrayError, match=r"gradient of 'p0' shares memory with"):
            optimizer.apply([bad, *gradients[1:]])


@pytest.mark.parametrize("calls", [0, 4])
def test_an_imaginary_part_that_is_negated_when_it_is_read_is_refused(calls: int) -> None:
    variables, gradients = parameters(), tensors(1)
    optimizer = RMSprop(**OPTIONS)
    optimizer.build(named(variables))
    for _ in range(calls):
        optimizer.apply(gradients)
    gradients[2] = torch.tensor(1 + 2j).conj().imag
    assert gradients[2].is_neg()
    with pytest.raises(ArrayError, match=r"gradient of 'p2' cannot be used .its elements are negated"):
        optimizer.apply(gradients)


def test_the_same_gradient_object_may_be_changed_in_place() -> None:
    """What it holds, and where: as after `zero_grad(set_to_none=False)` or a swapped `.data`."""
    ours, theirs = parameters(), [one.detach().numpy().copy() for one in parameters()]
    optimizer, other = RMSprop(**OPTIONS), RMSprop(**OPTIONS)
    gradients = tensors(1)
    for call in range(8):
        if call % 2:
            gradients[0].data = tensors(call)[0]
        gradients[1].mul_(-1.5)
        optimizer.apply(gradients, ours)
        other.apply([one.numpy().copy() for one in gradients], theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.detach().numpy().tobytes() == b.tobytes()
    before = bytes_of(optimizer, ours)
    gradients[0].resize_(2, 4)
    with pytest.raises(ArrayError, match=r"'variable_0'.*shape"):
        optimizer.apply(gradients, ours)
    gradients[0] = tensors(1)[0]
    optimizer.apply(gradients, ours)
    gradients[0].t_()
    with pytest.raises(ArrayError, match=r"'variable_0'.*lie in memory"):
        optimizer.apply(gradients, ours)
    assert bytes_of(optimizer, ours) != before


def test_missing_gradients_come_and_go() -> None:
    ours, theirs = parameters(), [one.detach().numpy().copy() for one in parameters()]
    optimizer, other = RMSprop(**OPTIONS), RMSprop(**OPTIONS)
    optimizer.build(ours)
    other.build(theirs)
    for call in range(6):
        gradients = [None if (call + i) % 3 == 0 and call > 1 else one for i, one in enumerate(tensors(call + 1))]
        pairs = [(g, a, b) for g, a, b in zip(gradients, ours, theirs, strict=True) if g is not None]
        optimizer.apply([g for g, _, _ in pairs], [a for _, a, _ in pairs])
        other.apply([g.numpy() for g, _, _ in pairs], [b for _, _, b in pairs])
    for a, b in zip(ours, theirs, strict=True):
        assert a.detach().numpy().tobytes() == b.tobytes()


class Tagged(torch.nn.Parameter):  # type: ignore[name-defined,misc]
    """A subclass, which says by itself what it is."""


def test_subclasses_and_other_libraries_gradients_are_looked_at_one_by_one() -> None:
    ours = [Tagged(torch.ones(3)), torch.nn.Parameter(torch.ones(3))]
    optimizer = RMSprop(0.1)
    for call in range(4):
        optimizer.apply([torch.ones(3), np.full(3, 1.0, np.float32)][:: -1 if call % 2 else 1], ours)
    np.testing.assert_array_equal(ours[0].detach().numpy(), ours[1].detach().numpy())
    ours[0].data = torch.ones(3)
    with pytest.raises(ArrayError, match=r"Unknown variable: 'variable_0', with other memory"):
        optimizer.apply([torch.ones(3), torch.ones(3)], ours)


def test_tensors_and_numpy_s_arrays_stand_side_by_side() -> None:
    host = np.ones(3, np.float32)
    tensor = torch.nn.Parameter(torch.ones(3))
    optimizer = RMSprop(0.1, global_clipnorm=0.5)
    for _ in range(4):
        optimizer.apply([torch.ones(3), np.ones(3, np.float32)], [tensor, host])
    np.testing.assert_array_equal(host, tensor.detach().numpy())


@pytest.mark.parametrize("what", ["data swapped", "storage resized to nothing", "to float64", "cut"])
def test_tensors_whose_class_offers_no_table_are_asked_in_python(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of torch before 2.10."""
    monkeypatch.setattr(dlpack, "describer", lambda kinds: None)
    ours, theirs = parameters(), [one.detach().numpy().copy() for one in parameters()]
    optimizer, other = RMSprop(**OPTIONS), RMSprop(**OPTIONS)
    gradients = tensors(1)
    for call in range(6):
        gradients = gradients if call % 2 else tensors(call)
        optimizer.apply(gradients, ours)
        other.apply([one.numpy() for one in gradients], theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.detach().clone().numpy().tobytes() == b.tobytes()
    change, words = CHANGES[what]
    change(ours[0])
    for given in (gradients, tensors(9)):
        with pytest.raises(ArrayError, match=rf"(?s)'variable_0'.*{words}"):
            optimizer.apply(given)
    assert optimizer.iterations == 6
