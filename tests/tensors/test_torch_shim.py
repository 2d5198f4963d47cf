"""Torch's stable C interface says of tensors what they say themselves, and nothing of what is no such tensor."""

from __future__ import annotations

import sys
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from rmsprop_jit.codegen.backends import dlpack, shim  # noqa: E402
from rmsprop_jit.codegen.backends.tensors import layout_of  # noqa: E402

if shim.describer() is None:
    pytest.skip("this version of torch lays its objects out otherwise", allow_module_level=True)

TENSORS: dict[str, Any] = {
    "a tensor": torch.ones(3, 2),
    "a parameter": torch.nn.Parameter(torch.ones(4)),
    "of no axes": torch.ones(()),
    "of no elements": torch.ones(0, 3),
    "of one element along an axis": torch.ones(1, 5).t(),
    "transposed": torch.ones(3, 2).t(),
    "channels last": torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "in the middle of a storage": torch.arange(9.0)[3:7],
    "with gaps": torch.ones(6, 6)[::2, ::3],
    "of six axes": torch.ones(1, 2, 3, 1, 2, 1),
    "float64": torch.ones(2, dtype=torch.float64),
    "on meta": torch.ones(2, 2, device="meta"),
}


class Own(torch.Tensor):  # type: ignore[misc, name-defined]
    pass


NONE_OF_ITS: dict[str, Any] = {
    "nothing": None,
    "a number": 1.0,
    "a class of its own": torch.ones(3).as_subclass(Own),
    "sparse": torch.ones(3, 3).to_sparse(),
    "sparse rows": torch.ones(3, 3).to_sparse_coo().coalesce(),
}


def said(tensors: list[Any], function: int | None = None) -> dlpack.Said | None:
    function = function or shim.describer()
    assert function is not None
    return dlpack.Tensors(function, tensors, sum(getattr(one, "ndim", 0) for one in tensors)).say()


def test_it_says_what_tensors_say_themselves() -> None:
    assert dlpack.describer({torch.Tensor, torch.nn.Parameter}) == shim.describer()
    found = said(list(TENSORS.values()))
    assert found is not None
    assert found.begins.tolist() == [one.data_ptr() for one in TENSORS.values()]
    assert found.layouts() == [layout_of(one) for one in TENSORS.values()]


@pytest.mark.parametrize("what", NONE_OF_ITS)
def test_of_what_is_no_such_tensor_it_says_nothing(what: str) -> None:
    assert said([torch.ones(3), NONE_OF_ITS[what]]) is None


def test_dtypes_and_devices_are_told_apart() -> None:
    first = said([torch.ones(4)])
    assert first is not None
    for other in (torch.ones(4, dtype=torch.int32), torch.ones(4, device="meta"), torch.nn.Parameter(torch.ones(4))):
        found = said([other])
        assert found is not None
        assert found.facts.tolist() != first.facts.tolist()
    again = said([torch.zeros(4)])
    assert again is not None
    assert again.facts.tolist() == first.facts.tolist()


@pytest.mark.parametrize("missing", ["a function", "the layout of objects"])
def test_where_torch_does_not_have_it_dlpack_s_function_is_asked(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing == "a function":
        monkeypatch.setattr(shim, "LIBRARIES", ("none.so",))
        monkeypatch.setattr(shim, "library", shim.library.__wrapped__)
    else:
        monkeypatch.setattr(shim, "ORDINARY_HEAD", 24)
    monkeypatch.setattr(shim, "_behind", shim._behind.__wrapped__)
    assert shim.describer() is None
    function = dlpack.describer({torch.Tensor})
    if function is not None:
        found = said([one for one in TENSORS.values() if type(one) is torch.Tensor and not one.is_meta], function)
        assert found is not None


def test_without_torch_there_is_none_until_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    found = shim.describer()
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "torch", None)
        assert shim.describer() is None
    assert shim.describer() == found
