"""What tensors say of themselves to compiled code, through the table of C functions that their class offers."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import weakref
from types import SimpleNamespace
from typing import Any

import described
import numpy as np
import pytest
from compare import Array, make
from described import Tensor, capsule, table

from rmsprop_jit.codegen.backends import dlpack, shim

KINDS: dict[str, Array] = {
    "plain": make(12).reshape(3, 4),
    "of no dimension": np.array(3, np.float32),
    "empty": np.zeros((3, 0, 2), np.float32),
    "empty, with odd strides": np.zeros((3, 0, 2), np.float32).T,
    "one row, with an odd stride": make(24).reshape(4, 6)[::4],
    "transposed": make(12).reshape(3, 4).T,
    "every second": make(12)[::2],
    "backwards": make(12)[::-1],
    "one number for all": np.broadcast_to(make(1), (5,)),
    "of float64": np.ones((2, 2, 2, 2)),
}


def asked(tensors: list[Any], dimensions: int | None = None) -> dlpack.Tensors:
    function = dlpack.describer(set(map(type, tensors)))
    assert function is not None
    expected = sum(len(one.shape) for one in tensors) if dimensions is None else dimensions
    return dlpack.Tensors(function, tensors, expected)


def said(tensors: list[Any]) -> dlpack.Said:
    found = asked(tensors).say()
    assert found is not None
    return found


def shapes(found: dlpack.Said) -> list[tuple[int, ...] | None]:
    """The shape of each; None for one that is not contiguous."""
    return [shape if strides is None else None for shape, strides in found.layouts()]


def test_tensors_say_where_they_begin_and_of_what_shape_they_are_if_they_are_contiguous() -> None:
    tensors = [Tensor(host) for host in KINDS.values()]
    found = said(tensors)
    assert found.begins.tolist() == [one.data_ptr() for one in tensors]
    assert shapes(found) == [one.shape if one.is_contiguous() else None for one in tensors]
    assert shapes(found).count(None) == 4


def test_a_byte_offset_counts_and_missing_strides_mean_contiguous() -> None:
    tensor = Tensor(make(12).reshape(3, 4))
    tensor.offset, tensor.without_strides = 64, True
    found = said([tensor])
    assert found.begins.tolist() == [tensor.data_ptr()]
    assert shapes(found) == [(3, 4)]


CHANGES: dict[str, Any] = {
    "moved": lambda tensor: setattr(tensor, "data", tensor.data.copy()),
    "of another dtype": lambda tensor: setattr(tensor, "data", tensor.data.view(np.int32)),
    "of a wider dtype": lambda tensor: setattr(tensor, "data", tensor.data.view(np.float64)),
    "cut": lambda tensor: setattr(tensor, "data", tensor.data[:2]),
    "transposed": lambda tensor: setattr(tensor, "data", tensor.data.T),
    "reshaped": lambda tensor: setattr(tensor, "data", tensor.data.reshape(2, 8)),
    "flat": lambda tensor: setattr(tensor, "data", tensor.data.reshape(16)),
    "of more dimensions": lambda tensor: setattr(tensor, "data", tensor.data.reshape(2, 2, 4)),
    "without memory": lambda tensor: setattr(tensor, "lost", True),
    "elsewhere": lambda tensor: setattr(tensor, "device_type", 1),
    "broken": lambda tensor: setattr(tensor, "broken", True),
}


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("what", CHANGES)
def test_every_change_in_place_is_noticed_of_every_tensor(what: str, at: int) -> None:
    tensors = [Tensor(make(16, seed).reshape(4, 4)) for seed in range(3)]
    many = asked(tensors)
    before = many.say()
    assert before is not None
    assert many.say_again(before)
    CHANGES[what](tensors[at])
    assert not many.say_again(before)


def test_a_tensor_that_cannot_be_described_leaves_no_exception_behind() -> None:
    tensors = [Tensor(make(5, seed)) for seed in range(3)]
    many = asked(tensors)
    tensors[1].broken = True
    for _ in range(3):
        assert many.say() is None
        ctypes.pythonapi.Py_MakePendingCalls()  # would raise what was left
    tensors[1].broken = False
    assert many.say() is not None


@pytest.mark.parametrize("dimensions", [2, 4])
def test_more_or_fewer_dimensions_than_were_expected_are_noticed(dimensions: int) -> None:
    assert asked([Tensor(make(5, seed)) for seed in range(3)], dimensions).say() is None


def test_tensors_that_are_asked_are_kept_alive() -> None:
    tensor = Tensor(make(5))
    many, kept = asked([tensor]), weakref.ref(tensor)
    del tensor
    gc.collect()
    assert kept() is not None
    assert many.say() is not None
    del many
    gc.collect()
    assert kept() is None


class Bare:
    """A class that offers nothing."""


def offering(offered: Any) -> type:
    return type("Offering", (), {dlpack.ATTRIBUTE: offered})


UNKNOWN: dict[str, type] = {
    "nothing": Bare,
    "a subclass": described.subclass(),
    "no capsule": offering(table()),
    "None": offering(None),
    "another capsule": offering(capsule(table(), b"another")),
    "a later version": offering(capsule(table(major=2))),
    "an earlier version": offering(capsule(table(major=0))),
    "no such function": offering(capsule(table(None))),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_a_class_without_a_table_that_is_known_has_no_describer(what: str) -> None:
    assert dlpack.describer({UNKNOWN[what]}) is None
    assert dlpack.describer({UNKNOWN[what], Tensor}) is None


def test_an_older_table_in_the_chain_is_found_and_a_later_minor_version_is_good() -> None:
    older = table(minor=2)
    assert dlpack.describer({offering(capsule(table(12345, major=2, older=older)))}) == described.DESCRIBE
    assert dlpack.describer({offering(capsule(table(minor=9)))}) == described.DESCRIBE


def test_classes_must_agree_on_the_function() -> None:
    other = offering(capsule(table(12345)))
    assert dlpack.describer({other}) == 12345
    assert dlpack.describer({other, Tensor}) is None
    assert dlpack.describer(set()) is None


def test_torchs_parameters_are_described_as_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    parameter = described.subclass()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(nn=SimpleNamespace(Parameter=parameter)))
    monkeypatch.setattr(shim, "behind", lambda: None)  # which the real torch may have filled before
    assert dlpack.describer({parameter, Tensor}) == described.DESCRIBE


def test_an_unusual_interpreter_is_not_told_of_objects_by_their_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "byteorder", "big")
    assert dlpack.describer({Tensor}) is None


def test_several_threads_may_ask_the_same_tensors() -> None:
    """Describing runs Python here, so that threads take turns in the middle of it."""
    tensors = [Tensor(make(5, seed)) for seed in range(50)]
    many, wrong, interval = asked(tensors), [], sys.getswitchinterval()
    before = many.say()
    assert before is not None

    def ask() -> None:
        for _ in range(40):
            if not many.say_again(before):
                wrong.append(1)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


# torch itself.


@pytest.fixture
def torch() -> Any:
    module = pytest.importorskip("torch")
    if dlpack.describer({module.Tensor}) is None:
        pytest.skip("this version of torch offers no table")
    return module


def test_torchs_tensors_say_by_its_table_what_they_say_themselves(torch: Any) -> None:
    plain = torch.arange(24.0).reshape(4, 6)
    emptied = torch.zeros(3)
    emptied.untyped_storage().resize_(0)
    tensors = [plain, torch.nn.Parameter(plain), plain[1:], plain[:, 1:], plain.T, plain[::4], plain[0, 0], plain[:0]]
    tensors += [plain.bfloat16(), plain.double().requires_grad_(), plain.expand(2, 4, 6), plain.int(), emptied]
    found = said(tensors)
    assert found.begins.tolist() == [one.data_ptr() for one in tensors]
    assert shapes(found) == [tuple(one.shape) if one.is_contiguous() else None for one in tensors]


TORCH_CHANGES: dict[str, Any] = {
    "moved": lambda torch, tensor: setattr(tensor, "data", tensor.data.clone()),
    "of another dtype": lambda torch, tensor: setattr(tensor, "data", tensor.data.view(torch.int32)),
    "cut": lambda torch, tensor: setattr(tensor, "data", tensor.data[:2]),
    "cut by itself": lambda torch, tensor: tensor.resize_(2, 4),
    "transposed": lambda torch, tensor: tensor.t_(),
    "of more dimensions": lambda torch, tensor: tensor.unsqueeze_(0),
    "without memory": lambda torch, tensor: tensor.untyped_storage().resize_(0),
    "exchanged": lambda torch, tensor: torch.utils.swap_tensors(tensor, tensor.clone()),
    "of no memory": lambda torch, tensor: torch.utils.swap_tensors(tensor, tensor.to("meta")),
    "sparse": lambda torch, tensor: torch.utils.swap_tensors(tensor, tensor.to_sparse()),
}


@pytest.mark.parametrize("what", TORCH_CHANGES)
def test_every_change_of_a_tensor_of_torchs_is_noticed(torch: Any, what: str) -> None:
    tensors = [torch.zeros(4, 4) + i for i in range(3)]
    many = asked(tensors)
    before = many.say()
    assert before is not None
    assert many.say_again(before)
    TORCH_CHANGES[what](torch, tensors[1])
    for _ in range(2):
        assert not many.say_again(before)


def test_torchs_parameters_have_its_table_and_other_subclasses_have_none(torch: Any) -> None:
    class Own(torch.Tensor):  # type: ignore[misc]
        """What it says of itself is its own affair."""

    assert dlpack.describer({torch.Tensor, torch.nn.Parameter}) is not None
    assert dlpack.describer({Own}) is None
