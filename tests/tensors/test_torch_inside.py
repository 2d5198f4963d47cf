"""Compiled code counts writes to torch's tensors, and finds their gradients, where torch's own functions would."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from rmsprop_jit.codegen.backends import inside, shim  # noqa: E402
from rmsprop_jit.codegen.backends.attribute import Attribute, Held  # noqa: E402
from rmsprop_jit.codegen.backends.noted import Cell  # noqa: E402
from rmsprop_jit.codegen.backends.tensors import Together  # noqa: E402
from rmsprop_jit.torch import RMSprop  # noqa: E402

if shim.behind() is None:
    pytest.skip("this version of torch lays its objects out otherwise", allow_module_level=True)


class Own(torch.Tensor):  # type: ignore[misc, name-defined]
    pass


def test_both_places_are_found() -> None:
    assert inside.writes() is not None
    found = inside.gradient()
    assert found is not None
    assert found.storage


# Writes.

KINDS: dict[str, Any] = {
    "a tensor": torch.ones(3, 2),
    "a parameter": torch.nn.Parameter(torch.ones(4)),
    "with a graph": torch.ones(3, requires_grad=True) * 2,
    "a view": torch.ones(3, 2)[1:],
    "of no elements": torch.ones(0),
    "complex": torch.ones(2, dtype=torch.complex64),
    "on meta": torch.ones(2, 2, device="meta"),
    "sparse": torch.ones(3, 3).to_sparse(),
}


def test_a_write_is_counted_as_torch_counts_it() -> None:
    tensors = list(KINDS.values())
    before = [one._version for one in tensors]
    count = inside.counter(tensors)
    assert count is not None
    for made in (1, 2, 3):
        count()
        assert [one._version for one in tensors] == [version + made for version in before]
    torch.autograd.graph.increment_version(tensors)
    assert [one._version for one in tensors] == [version + 4 for version in before]


def test_views_share_a_count_and_what_data_gives_does_not() -> None:
    one = torch.ones(3)
    view, apart = one.detach(), one.data
    count = inside.counter([view, one])
    assert count is not None
    count()
    assert (one._version, view._version, apart._version) == (2, 2, 0)


def test_a_tensor_made_for_inference_has_no_count() -> None:
    with torch.inference_mode():
        inferred = torch.ones(3)
    one = torch.ones(3)
    count = inside.counter([inferred, one])
    assert count is not None
    count()
    assert one._version == 1
    assert inferred.is_inference()


CHANGES: dict[str, Callable[[Any], Any]] = {
    "other memory": lambda one: setattr(one, "data", torch.zeros(5)),
    "another tensor": lambda one: torch.utils.swap_tensors(one, torch.zeros(3).add_(1)),
    "no graph": lambda one: one.detach_(),
    "cut": lambda one: one.resize_(2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_counter_is_looked_up_every_time(change: str) -> None:
    one = torch.ones(3)
    count = inside.counter([one])
    assert count is not None
    count()
    CHANGES[change](one)
    gc.collect()
    before = one._version
    count()
    assert one._version == before + 1


def test_tensors_of_other_classes_are_torch_s_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stand:
        pass

    assert inside.counter([torch.ones(1), torch.ones(3).as_subclass(Own)]) is None
    assert inside.counter([]) is None
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(Tensor=Stand))
    assert inside.counter([Stand()]) is None
    monkeypatch.setitem(sys.modules, "torch", None)
    assert inside.counter([torch.ones(1)]) is None


def test_counted_tensors_are_kept_alive() -> None:
    one = torch.ones(3)
    kept, count = weakref.ref(one), inside.counter([one])
    del one
    gc.collect()
    assert kept() is not None
    assert count is not None
    count()
    del count
    gc.collect()
    assert kept() is None


# Gradients.


def weights(count: int = 40) -> list[Any]:
    """So many that memory is fetched before it is looked at."""
    made = [torch.nn.Parameter(torch.ones(4)) for _ in range(count)]
    for one in made:
        one.grad = torch.ones(4)
    return made


def asked(parameters: list[Any]) -> tuple[Together, Attribute]:
    found = Attribute("grad", parameters)
    return Together(found), found


def begins(together: Together, found: Attribute) -> tuple[list[int] | None, Held]:
    held = Held(found)
    where = together.alike(held)
    return None if where is None else where.tolist(), held


def test_gradients_are_those_that_python_finds() -> None:
    parameters = weights()
    together, found = asked(parameters)
    for _ in range(2):
        where, held = begins(together, found)
        assert where == [one.grad.data_ptr() for one in parameters]
        assert [*map(id, held)] == [id(one.grad) for one in parameters]
        parameters[1].grad = torch.zeros(4)
        parameters[2].grad = parameters[1].grad


def test_references_are_neither_lost_nor_kept() -> None:
    parameters = weights()
    together, found = asked(parameters)
    before = [sys.getrefcount(one.grad) for one in parameters]
    for _ in range(5):
        _, held = begins(together, found)
        assert [sys.getrefcount(one.grad) for one in parameters] == [count + 1 for count in before]
        del held
    assert [sys.getrefcount(one.grad) for one in parameters] == before
    _, held = begins(together, found)
    kept = weakref.ref(parameters[0].grad)
    parameters[0].grad = None
    assert kept() is held[0]  # as long as a step goes on
    del held
    assert kept() is None


def test_a_gradient_that_python_has_never_seen() -> None:
    parameters = weights()
    together, found = asked(parameters)
    for _ in range(2):
        for one in parameters:
            one.grad = None
        sum((one * 3).sum() for one in parameters).backward()
        where, held = begins(together, found)
        assert where == [one.grad.data_ptr() for one in parameters]
        assert [one.tolist() for one in held] == [[3.0] * 4] * len(parameters)


OTHERS: dict[str, Callable[[Any], Any]] = {
    "none": lambda one: setattr(one, "grad", None),
    "of a class of its own": lambda one: setattr(one, "grad", torch.ones(4).as_subclass(Own)),
    "transposed": lambda one: one.grad.resize_(2, 2).t_(),
    "without memory": lambda one: one.grad.untyped_storage().resize_(0),
    "of another tensor": lambda one: torch.utils.swap_tensors(
        one, torch.nn.Parameter(torch.ones(4), requires_grad=False)
    ),
    "of a parameter without a graph": lambda one: setattr(one.requires_grad_(False), "grad", None),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_gradient_is_noticed(other: str) -> None:
    parameters = weights()
    together, found = asked(parameters)
    before, _ = begins(together, found)
    OTHERS[other](parameters[30])
    assert begins(together, found)[0] != before


def test_torch_s_functions_are_not_called_where_the_places_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = weights()
    together, _ = asked(parameters)
    block = together._tensors._block
    assert block[Cell.META]
    block[Cell.GET] = 0  # a call of it would end the process
    assert begins(together, Attribute("grad", parameters))[0] is not None

    def refuse(tensors: Any) -> None:
        assert tensors == []

    monkeypatch.setattr(torch.autograd.graph, "increment_version", refuse)
    optimizer = RMSprop(parameters)
    before = [one._version for one in parameters]
    for _ in range(2):
        optimizer.step()
    assert [one._version for one in parameters] == [version + 2 for version in before]


# Where they are not known.


@pytest.mark.parametrize("constant", ["IMPL", "META", "COUNTER"])
def test_where_no_place_is_found_torch_is_asked(constant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, constant, 2)  # so that nothing is seen that is behind
    monkeypatch.setattr(inside, "writes", inside.writes.__wrapped__)
    monkeypatch.setattr(inside, "gradient", inside.gradient.__wrapped__)
    assert (inside.writes() is None, inside.gradient() is None) == (constant != "META", constant != "COUNTER")
    parameters = weights()
    optimizer = RMSprop(parameters)
    for made in (1, 2, 3):
        optimizer.step()
        assert [one._version for one in parameters] == [made] * len(parameters)


def test_two_places_that_fit_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    words = inside._words

    def doubled(at: int, count: int, *kind: Any) -> list[int]:
        return [word for word in words(at, count // 2, *kind) for _ in range(2)]

    for constant in ("IMPL", "META", "COUNTER"):
        monkeypatch.setattr(inside, constant, 2 * getattr(inside, constant))
    monkeypatch.setattr(inside, "_words", doubled)
    assert inside.writes.__wrapped__() is None
    assert inside.gradient.__wrapped__() is None


def test_an_unusual_interpreter_is_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "byteorder", "big")
    assert inside.writes.__wrapped__() is None
    assert inside.gradient.__wrapped__() is None


def test_they_are_found_in_inference_mode_too() -> None:
    with torch.inference_mode():
        assert inside.writes.__wrapped__() == inside.writes()
        assert inside.gradient.__wrapped__() == inside.gradient()
