"""Which arrays on a GPU are taken, in whose memory, and which are refused: the same errors as with NumPy arrays."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compare import Array, make
from gpu import assert_as_on_host, cupy

from rmsprop_jit import ArrayError, RMSprop

pytestmark = pytest.mark.gpu


class TorchLike:
    """A tensor on a GPU: what torch's has, no more."""

    def __init__(self, host: Array, requires_grad: bool = False, device_type: int = 2) -> None:
        self.memory, self.requires_grad, self._type = cupy.asarray(host), requires_grad, device_type
        self.shape = host.shape

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.requires_grad:
            raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad.")
        interface: dict[str, Any] = self.memory.__cuda_array_interface__
        return interface

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._type, 0

    @property
    def dtype(self) -> str:
        return f"torch.{self.memory.dtype}"

    @property
    def device(self) -> str:
        return "cuda:0"

    def data_ptr(self) -> int:
        return int(self.memory.data.ptr)

    def is_contiguous(self) -> bool:
        return bool(self.memory.flags.c_contiguous)

    def detach(self) -> "TorchLike":
        twin = copy.copy(self)
        twin.requires_grad = False
        return twin


class OnlyDLPack:
    """An array that can be reached through DLPack alone."""

    def __init__(self, host: Array) -> None:
        self.memory = cupy.asarray(host)
        self.shape = host.shape

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, **keywords: Any) -> Any:
        return self.memory.__dlpack__(**keywords)


@pytest.mark.parametrize("wrap", [TorchLike, OnlyDLPack, lambda host: TorchLike(host, requires_grad=True)])
def test_arrays_of_other_libraries_are_updated_in_their_own_memory(wrap: Callable[[Array], Any]) -> None:
    variable, gradient = make(30), make(30, 1)
    theirs = wrap(variable)
    optimizer = RMSprop()
    for _ in range(3):
        optimizer.apply([wrap(gradient)], [theirs])
    host, twin = variable.copy(), RMSprop()
    for _ in range(3):
        twin.apply([gradient], [host])
    assert_as_on_host(theirs.memory.get(), host, "memory")
    assert optimizer.iterations == 3


def test_a_tensor_of_another_library_on_the_host_is_refused() -> None:
    with pytest.raises(ArrayError, match=r"not a NumPy array, .* or an array on a GPU"):
        RMSprop().build([TorchLike(make(), device_type=1)])


def test_a_gradient_on_another_device_is_refused_before_anything_is_written() -> None:
    variable = cupy.asarray(make())
    for ours, theirs in ((variable, make()), (make(), cupy.asarray(make()))):
        optimizer = RMSprop()
        optimizer.build([ours])
        with pytest.raises(ArrayError, match=r"where the variable is, on (cpu|cuda:0)\. Received: .*(cuda:0|cpu)"):
            optimizer.apply([theirs])
        assert optimizer.iterations == 0
    assert np.array_equal(variable.get(), make())


BAD = {
    "int": lambda: cupy.asarray(np.zeros(5, np.int32)),
    "half": lambda: cupy.asarray(np.zeros(5, np.float16)),
    "strided": lambda: cupy.asarray(make(10))[::2],
    "transposed": lambda: cupy.asarray(np.asfortranarray(make(12).reshape(3, 4))),
}


@pytest.mark.parametrize("kind", BAD)
def test_arrays_that_no_kernel_can_use_are_refused_by_name(kind: str) -> None:
    with pytest.raises(ArrayError, match=r"'w'.*Received: "):
        RMSprop().build({"w": BAD[kind]()})


def test_shapes_dtypes_and_shared_memory_are_checked_as_on_the_host() -> None:
    memory = cupy.asarray(make(100))
    optimizer = RMSprop(momentum=0.9)
    optimizer.build([memory[:50]])
    for gradient, words in (
        (memory[:50], "shares memory"),
        (memory[50:60], "must have the variable's shape"),
        (cupy.asarray(np.zeros(50, np.int32)), "must be of dtype float16, float32, float64 or bfloat16"),
    ):
        with pytest.raises(ArrayError, match=words):
            optimizer.apply([gradient])
    with pytest.raises(ArrayError, match="share memory"):
        RMSprop().build([memory[:60], memory[40:]])
    not_a_list: Any = memory
    with pytest.raises(ArrayError, match="a list or a dict"):
        RMSprop().build(not_a_list)


def test_read_only_memory_is_refused() -> None:
    class ReadOnly(TorchLike):
        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            interface = self.memory.__cuda_array_interface__
            return {**interface, "data": (interface["data"][0], True)}

    with pytest.raises(ArrayError, match="read-only"):
        RMSprop().build([ReadOnly(make())])


# Objects that can be pointed to other memory.


def test_a_tensor_that_is_pointed_elsewhere_is_looked_at_again() -> None:
    variable, gradient = TorchLike(make()), TorchLike(make(seed=1))
    optimizer, host, twin = RMSprop(), make(), RMSprop()
    for seed in (1, 2):
        gradient.memory = cupy.asarray(make(seed=seed))
        optimizer.apply([gradient], [variable])
        twin.apply([make(seed=seed)], [host])
    assert_as_on_host(variable.memory.get(), host, "variable")
    variable.memory = cupy.asarray(make())
    with pytest.raises(ArrayError, match="has other memory than when"):
        optimizer.apply([gradient])
    with pytest.raises(ArrayError, match="Unknown variable"):
        optimizer.apply([gradient], [variable])


@pytest.mark.parametrize("wrap", [TorchLike, lambda array: array[:]], ids=["tensor", "view"])
def test_the_same_memory_is_the_same_variable(wrap: Callable[[Array], Any]) -> None:
    """Said by what decays: a variable whose gradient is zero changes only if it does."""
    memory, zeros = make(), np.zeros(300, np.float32)
    variable = wrap(memory)
    optimizer = RMSprop(weight_decay=0.1)
    optimizer.build([variable])
    optimizer.build([variable if isinstance(variable, TorchLike) else wrap(memory)])
    copies = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    optimizer.exclude_from_weight_decay([variable])
    excluded = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    optimizer.apply([wrap(zeros)])
    assert np.array_equal(on_host(variable), make())
    for twins, decays in ((excluded, False), (copies, True)):
        for twin in twins:
            own = wrap(make())
            twin.build([own])
            twin.apply([wrap(zeros)])
            assert np.array_equal(on_host(own), make()) != decays


def on_host(array: TorchLike | Array) -> Array:
    return array.memory.get() if isinstance(array, TorchLike) else array


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("is_fresh", [False, True])
def test_tensors_are_not_adopted_in_a_step_that_looks_like_the_last_one(
    requires_grad: bool, is_fresh: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable, gradients = TorchLike(make(), requires_grad), [TorchLike(make(seed=1)) for _ in range(5)]
    optimizer, host, twin = RMSprop(), make(), RMSprop()
    for step in range(5):
        if step == 2:
            monkeypatch.setattr(cupy, "asarray", None)
        optimizer.apply([gradients[step if is_fresh else 0]], [variable])
        twin.apply([make(seed=1)], [host])
    assert_as_on_host(variable.memory.get(), host, "variable")


def test_tensors_that_are_pointed_elsewhere_are_noticed_in_every_call() -> None:
    variable, gradient = TorchLike(make()), TorchLike(make(seed=1))
    optimizer, host, twin = RMSprop(), make(), RMSprop()
    for seed in (1, 1, 1, 2, 2, 3):
        if not np.array_equal(gradient.memory.get(), make(seed=seed)):
            gradient.memory = cupy.asarray(make(seed=seed))
        optimizer.apply([gradient], [variable])
        twin.apply([make(seed=seed)], [host])
    assert_as_on_host(variable.memory.get(), host, "variable")
    built, variable.memory = variable.memory, cupy.asarray(make())
    for fresh in (gradient, TorchLike(make(seed=3)), cupy.asarray(make(seed=3))):
        with pytest.raises(ArrayError, match="has other memory than when"):
            optimizer.apply([fresh])
    assert_as_on_host(built.get(), host, "what it was built on")
    variable.memory, gradient.memory = built, built
    with pytest.raises(ArrayError, match="shares memory"):
        optimizer.apply([gradient])
    gradient.memory = cupy.asarray(make().astype(np.float64))
    optimizer.apply([gradient])


def test_a_tensor_pointed_elsewhere_between_build_and_the_first_step_is_noticed() -> None:
    for gradient in (cupy.asarray(make(seed=1)), TorchLike(make(seed=1))):
        variable, optimizer = TorchLike(make()), RMSprop()
        optimizer.build([variable])
        variable.memory = cupy.asarray(make())
        for _ in range(2):
            with pytest.raises(ArrayError, match="has other memory than when"):
                optimizer.apply([gradient])


class Resized(TorchLike):
    """A tensor whose storage can be resized to nothing."""

    is_empty = False

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        interface: dict[str, Any] = self.memory.__cuda_array_interface__
        return {**interface, "data": (0, False)} if self.is_empty else interface

    def data_ptr(self) -> int:
        return 0 if self.is_empty else super().data_ptr()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_gradient_whose_storage_was_resized_to_nothing_is_refused(fresh: bool) -> None:
    variable, gradient = TorchLike(make()), Resized(make(seed=1))
    optimizer, host, twin = RMSprop(), make(), RMSprop()
    optimizer.build([variable])
    for _ in range(3):
        optimizer.apply([Resized(make(seed=1)) if fresh else gradient])
        twin.apply([make(seed=1)], [host])
    gradient.is_empty = True
    with pytest.raises(ArrayError, match=r"has no memory|cannot be used"):
        optimizer.apply([gradient])
    gradient.is_empty = False
    optimizer.apply([gradient])
    twin.apply([make(seed=1)], [host])
    assert optimizer.iterations == 4
    assert_as_on_host(variable.memory.get(), host, "variable")


def test_fresh_gradients_that_are_not_like_those_before_are_looked_at_with_care() -> None:
    """One of them at a time, after others have been taken by comparison alone."""
    variables = [cupy.asarray(make(12, i).reshape(3, 4)) for i in range(3)]
    optimizer = RMSprop()
    optimizer.build(variables)

    def fresh(wrap: Callable[[Array], Any] = cupy.asarray) -> list[Any]:
        return [wrap(make(12, i).reshape(3, 4)) for i in range(3)]

    bad: dict[str, Any] = {
        "shape": cupy.asarray(make(12)),
        "contiguous": cupy.asarray(np.asfortranarray(make(12).reshape(3, 4))),
        "dtype": cupy.asarray(np.zeros((3, 4), np.int32)),
        "shares memory": variables[0],
    }
    for wrap in (cupy.asarray, TorchLike):
        for words, array in bad.items():
            for _ in range(3):
                optimizer.apply(fresh(wrap))
            done = optimizer.iterations
            gradients = fresh(wrap)
            gradients[1] = array if wrap is cupy.asarray else pointed_at(array)
            with pytest.raises(ArrayError, match=words):
                optimizer.apply(gradients)
            assert optimizer.iterations == done
    optimizer.apply([*fresh()[:2], TorchLike(make(12).reshape(3, 4))])


def pointed_at(array: Any) -> TorchLike:
    tensor = TorchLike(make(1))
    tensor.memory, tensor.shape = array, array.shape
    return tensor
