"""Tensors on a GPU that their class describes to compiled code: what is changed in place is noticed as ever.

Most tests run with tensors that are described, and with some that are not, or not as expected: those are asked.
"""

from __future__ import annotations

from typing import Any

import described
import numpy as np
import pytest
from compare import Array, assert_same_bits, make
from described import Tensor, capsule, table

from rmsprop_jit import ArrayError, RMSprop
from rmsprop_jit.codegen.backends import dlpack


class Elsewhere(Tensor):
    """Its description is of other memory than it says itself."""

    __dlpack_c_exchange_api__ = capsule(table())

    def __delitem__(self, at: int) -> None:
        super().__delitem__(at)
        described.DLTensor.from_address(at).data += 4


class Misshapen(Tensor):
    """Its description has another shape than it says itself."""

    __dlpack_c_exchange_api__ = capsule(table())

    def __delitem__(self, at: int) -> None:
        kept, self.data = self.data, self.data.reshape(self.data.shape[::-1])
        super().__delitem__(at)
        self.data = kept


class Mute(Tensor):
    """Its description always fails."""

    __dlpack_c_exchange_api__ = capsule(table())

    def __delitem__(self, at: int) -> None:
        raise BufferError("never")


class Later(Tensor):
    """Its class offers a version that is not known."""

    __dlpack_c_exchange_api__ = capsule(table(major=2))


class Silent(Tensor):
    """Its class offers nothing."""

    __dlpack_c_exchange_api__ = None


KINDS = [Tensor, described.subclass(), Elsewhere, Misshapen, Mute, Later, Silent]
"""Only the first is described as the package takes it."""


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def steady(kind: Any) -> tuple[RMSprop, list[Any], list[Any]]:
    """An optimizer with a habit, its variables and its gradients."""
    variables, gradients = ([kind(make(12, seed + i).reshape(3, 4)) for i in range(3)] for seed in (0, 10))
    optimizer = RMSprop()
    optimizer.build(variables)
    for _ in range(4):
        optimizer.apply(gradients)
    return optimizer, variables, gradients


def asked(tensors: list[Any]) -> int:
    return sum(one.asked for one in tensors)


def on_the_host(steps: list[list[Array]]) -> list[Array]:
    """The variables of `steady` after its steps and some more."""
    variables, first = ([make(12, seed + i).reshape(3, 4) for i in range(3)] for seed in (0, 10))
    optimizer = RMSprop()
    for gradients in [first] * 4 + steps:
        optimizer.apply(gradients, variables)
    return variables


def test_tensors_that_are_described_are_asked_nothing_by_python(kind: Any) -> None:
    optimizer, variables, gradients = steady(kind)
    fresh = [[kind(make(12, seed + i).reshape(3, 4)) for i in range(3)] for seed in (20, 30)]
    before = asked([*variables, *gradients])
    for some in (gradients, *fresh, fresh[-1]):
        optimizer.apply(some)
    assert (asked([*variables, *gradients, *fresh[0], *fresh[1]]) == before) == (kind is Tensor)
    host = on_the_host([[one.data for one in some] for some in (gradients, *fresh, fresh[-1])])
    for i, one in enumerate(variables):
        assert_same_bits(one.data, host[i], f"variable {i}")


def test_a_gradient_that_was_moved_is_read_where_it_is(kind: Any) -> None:
    optimizer, variables, gradients = steady(kind)
    gradients[1].data = make(12, 40).reshape(3, 4)
    optimizer.apply(gradients)
    host = on_the_host([[one.data for one in gradients]])
    for i, one in enumerate(variables):
        assert_same_bits(one.data, host[i], f"variable {i}")


def lose(tensor: Any) -> None:
    tensor.lost = True


def reinterpret(tensor: Any) -> None:
    tensor.data = tensor.data.view(np.int32)


def cut(tensor: Any) -> None:
    tensor.data = tensor.data[:2]


def transpose(tensor: Any) -> None:
    tensor.data = tensor.data.T


def stride(tensor: Any) -> None:
    tensor.data = np.asfortranarray(tensor.data)


def move(tensor: Any) -> None:
    tensor.data = tensor.data.copy()


GRADIENTS: dict[str, tuple[Any, str]] = {
    "lost": (lose, "cannot be used|has no memory"),
    "cut": (cut, "must have the variable's shape"),
    "transposed": (transpose, "must have the variable's shape|not C-contiguous"),
    "strided": (stride, "not C-contiguous"),
}


@pytest.mark.parametrize("what", GRADIENTS)
@pytest.mark.parametrize("at", [0, 2])
def test_a_gradient_that_was_changed_in_place_is_refused_by_name(kind: Any, at: int, what: str) -> None:
    change, words = GRADIENTS[what]
    optimizer, variables, gradients = steady(kind)
    before = [one.data.copy() for one in variables]
    change(gradients[at])
    with pytest.raises(ArrayError, match=words) as refused:
        optimizer.apply(gradients)
    assert f"'variable_{at}'" in str(refused.value)
    assert optimizer.iterations == 4
    for i, one in enumerate(variables):
        assert_same_bits(one.data, before[i], f"variable {i}")


@pytest.mark.parametrize("change", [move, lose], ids=lambda change: change.__name__)
def test_a_variable_that_was_changed_in_place_is_refused_by_name(kind: Any, change: Any) -> None:
    optimizer, variables, gradients = steady(kind)
    change(variables[1])
    with pytest.raises(ArrayError, match=r"'variable_1'.*(other memory than when|cannot be used|has no memory)"):
        optimizer.apply(gradients)
    assert optimizer.iterations == 4


@pytest.mark.parametrize("which", ["a variable", "a gradient"])
@pytest.mark.parametrize("change", [reinterpret, cut], ids=lambda change: change.__name__)
def test_what_is_laid_out_otherwise_in_the_same_memory_is_noticed_where_it_is_described(
    change: Any, which: str
) -> None:
    """Variables that are asked are asked only where they begin; no tensor is asked what dtype it still is."""
    optimizer, variables, gradients = steady(Tensor)
    change((variables if which == "a variable" else gradients)[1])
    with pytest.raises(ArrayError, match=r"'variable_1'"):
        optimizer.apply(gradients)
    assert optimizer.iterations == 4


def test_a_tensor_that_cannot_be_described_any_more_is_asked() -> None:
    optimizer, variables, gradients = steady(Tensor)
    gradients[1].broken = True
    before = asked(gradients)
    optimizer.apply(gradients)
    assert asked(gradients) > before
    gradients[1].broken, variables[2].broken = False, True
    with pytest.raises(ArrayError, match="must have the variable's shape"):
        optimizer.apply([*gradients[:2], Tensor(make(5))])
    optimizer.apply(gradients)
    host = on_the_host([[one.data for one in gradients]] * 2)
    for i, one in enumerate(variables):
        assert_same_bits(one.data, host[i], f"variable {i}")


def test_missing_gradients_and_variables_that_are_not_described_beside_them() -> None:
    """Gradients are described, variables of another class are asked; one gradient is missing."""
    variables = [Silent(make(12, i)) for i in range(3)]
    gradients = [Tensor(make(12, 10)), None, Tensor(make(12, 12))]
    optimizer, twin = RMSprop(), RMSprop()
    optimizer.build(variables)
    host = [make(12, i) for i in range(3)]
    for step in range(5):
        if step == 3:
            gradients = [Tensor(make(12, 20)), None, Tensor(make(12, 22))]
        with pytest.warns(UserWarning, match="variable_1"):
            optimizer.apply(gradients)
        with pytest.warns(UserWarning, match="variable_1"):
            twin.apply([None if one is None else one.data for one in gradients], host)
    for i, one in enumerate(variables):
        assert_same_bits(one.data, host[i], f"variable {i}")


def test_arrays_of_cupy_alone_ask_for_no_description(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpu import cupy

    monkeypatch.setattr(dlpack, "Tensors", None)
    optimizer = RMSprop()
    optimizer.build([cupy.asarray(make())])
    for seed in range(4):
        optimizer.apply([cupy.asarray(make(seed=seed))])
    assert optimizer.iterations == 4
