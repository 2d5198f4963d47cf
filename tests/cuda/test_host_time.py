"""How much a step on a GPU asks of the host: of every array, and in time, with kernels that are not started."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import assert_same_bits, make
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2]))

import rmsprop_jit
from benchmarks import __main__ as command_line
from benchmarks import showing
from benchmarks.cuda import host, nothing
from rmsprop_jit import ArrayError, RMSprop
from rmsprop_jit.codegen.backends import dlpack
from rmsprop_jit.codegen.backends.entries import Marks

SLACK = 4
"""How many times as long as its limit a step may take here: tests share a machine with others."""


def test_steps_of_a_thousand_tensors_stay_within_their_limits() -> None:
    rows = host.measured()
    assert [row["case"] for row in rows] == list(host.LIMITS)
    slow = {row["case"]: row["least_s"] for row in rows if row["least_s"] > SLACK * row["limit_s"]}
    assert not slow


@pytest.mark.parametrize("good", [True, False])
def test_the_command_says_what_was_measured_and_what_stands_in(good: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"case": "a", "least_s": 1e-6, "host_s": 2e-6, "limit_s": 3e-6 if good else 1e-7, "note": "a class"}
    console = Console(record=True, width=200)
    monkeypatch.setattr(host, "measured", lambda: [row])
    monkeypatch.setattr(showing, "console", lambda: console)
    with pytest.raises(SystemExit) as ended:
        command_line.main(["cuda", "--host"])
    assert ended.value.code == (0 if good else 1)
    assert "a class" in console.export_text()


class Counting(host.OwnTensor):
    """Counts what it is asked."""

    asked: list[str]

    def __getattribute__(self, name: str) -> Any:
        if name in ("dtype", "shape", "device", "__cuda_array_interface__", "__dlpack_device__"):
            Counting.asked.append(name)
        return super().__getattribute__(name)

    def data_ptr(self) -> int:
        Counting.asked.append("data_ptr")
        return super().data_ptr()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_step_asks_each_tensor_where_it_begins_and_fresh_ones_each_thing_once(fresh: bool) -> None:
    with nothing.no_gpu(nothing.OwnArray):
        Counting.asked = []
        variables = [Counting(make(5, i)) for i in range(3)]
        gradients = [[Counting(make(5, 10 * step + i)) for i in range(3)] for step in range(6)]
        optimizer = RMSprop()
        optimizer.build(variables)
        for step in range(5):
            optimizer.apply(gradients[step if fresh else 0])
        Counting.asked.clear()
        optimizer.apply(gradients[5 if fresh else 0])
    counts = {name: Counting.asked.count(name) for name in set(Counting.asked)}
    assert counts == ({"data_ptr": 6, "dtype": 3, "shape": 3, "device": 1} if fresh else {"data_ptr": 6})


def test_a_step_that_changes_no_window_makes_no_arrays_for_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """They took two thirds of the time of a step on one tensor."""
    with nothing.no_gpu(nothing.OwnArray) as gpu:
        gradient, optimizer = gpu.array(make(seed=1)), RMSprop(centered=True)
        optimizer.build([gpu.array(make())])
        optimizer.apply([gradient])
        monkeypatch.setattr(Marks, "cells", None)
        optimizer.apply([gradient])
    assert optimizer.iterations == 2


def python_calls(work: Callable[[], object]) -> int:
    """How many functions of Python's `work` calls."""
    found: list[str] = []

    def note(frame: Any, event: str, _: object) -> None:
        if event == "call":
            found.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return len(found)


@pytest.mark.parametrize("rule", host.RULES)
def test_new_numbers_are_not_made_in_python_operation_by_operation(rule: str) -> None:
    """A power alone was twenty calls, and so was each operation on bits in it."""
    with nothing.no_gpu(nothing.OwnArray) as gpu:
        steady, changing = (kind() for kind in (RMSprop, getattr(rmsprop_jit, rule)))
        gradients = [gpu.array(make(seed=seed)) for seed in (1, 2)]
        for optimizer in (steady, changing):
            optimizer.build([gpu.array(make(seed=seed)) for seed in (3, 4)])
            for _ in range(4):
                optimizer.apply(gradients)
        usual, found = (python_calls(lambda one=one: one.apply(gradients)) for one in (steady, changing))  # type: ignore[misc]
    assert found <= usual + 45


def test_how_many_elements_tensors_have_is_no_list_to_be_converted_in_every_step() -> None:
    with nothing.no_gpu(nothing.OwnArray) as gpu:
        optimizer = rmsprop_jit.StableAdamW()
        optimizer.build([gpu.array(make(seed=seed)) for seed in (1, 2)])
        table, seen = sys.modules["rmsprop_jit.codegen.backends.cuda.tables"].Table, []
        before = table.set

        def noted(own: Any, hypers: Any) -> None:
            seen.append(type(hypers["_size"]))
            before(own, hypers)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(table, "set", noted)
            optimizer.apply([gpu.array(make(seed=seed)) for seed in (3, 4)])
    assert seen == [np.ndarray]


def test_a_step_of_several_turns_is_put_in_order_with_other_streams_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With torch's tensors each time is two events: one for its stream to be waited for, one to wait for ours."""
    device = sys.modules["rmsprop_jit.codegen.backends.cuda.device"]
    before, asked = device.ordered, []

    def ordered(index: int) -> Any:
        asked.append(index)
        return before(index)

    with nothing.no_gpu(nothing.OwnArray) as gpu:
        optimizer, gradient = rmsprop_jit.Prodigy(), gpu.array(make(seed=1))
        optimizer.build([gpu.array(make())])
        optimizer.apply([gradient])
        monkeypatch.setattr(device, "ordered", ordered)
        optimizer.apply([gradient])
    assert asked == [0]


# torch itself, in the processor's memory.


@pytest.fixture
def torch() -> Iterator[Any]:
    """The module, whose tensors say that they are on a GPU, where no kernel is started."""
    module = pytest.importorskip("torch")
    with nothing.no_gpu(nothing.OwnArray), host.on_a_gpu(module):
        yield module


def steady(torch: Any) -> tuple[RMSprop, Any, Any]:
    """An optimizer with a habit, its variable and its gradient."""
    variable, gradient = (torch.from_numpy(make(seed=seed)).clone() for seed in (0, 1))
    optimizer = RMSprop()
    optimizer.build([variable])
    for _ in range(4):
        optimizer.apply([gradient])
    return optimizer, variable, gradient


def test_torchs_data_that_is_exchanged_is_noticed(torch: Any) -> None:
    optimizer, variable, gradient = steady(torch)
    before = gradient._version
    gradient.data = torch.from_numpy(make(seed=2))
    assert gradient._version == before
    optimizer.apply([gradient])
    gradient.data = torch.from_numpy(make(5))
    with pytest.raises(ArrayError, match="must have the variable's shape"):
        optimizer.apply([gradient])
    gradient.data = torch.from_numpy(make(seed=3))
    variable.data = torch.from_numpy(make(seed=4))
    with pytest.raises(ArrayError, match="has other memory than when"):
        optimizer.apply([gradient])


def test_a_storage_of_torchs_that_was_resized_to_nothing_is_noticed(torch: Any) -> None:
    for at in (0, 1):
        optimizer, *tensors = steady(torch)
        tensors[at].untyped_storage().resize_(0)
        assert tensors[at].data_ptr() == 0
        with pytest.raises(ArrayError, match=r"has no memory|has other memory than when|cannot be used"):
            optimizer.apply([tensors[1]])
        assert optimizer.iterations == 4


@pytest.mark.parametrize("how", ["cut", "transposed"])
def test_a_gradient_of_torchs_that_is_laid_out_anew_in_its_memory_is_noticed(torch: Any, how: str) -> None:
    variable, gradient = (torch.from_numpy(make(12, seed).reshape(3, 4)) for seed in (0, 1))
    optimizer = RMSprop()
    optimizer.build([variable])
    for _ in range(4):
        optimizer.apply([gradient])
    if how == "cut":
        gradient.data = gradient.data[:2]
    else:
        gradient.t_()
    with pytest.raises(ArrayError, match="shape"):
        optimizer.apply([gradient])


def test_pythons_methods_of_torchs_tensors_are_not_called_where_its_table_describes_them(torch: Any) -> None:
    if dlpack.describer({torch.Tensor}) is None:
        pytest.skip("this version of torch offers no table")
    optimizer, _, gradient = steady(torch)
    fresh, asked = torch.from_numpy(make(seed=5)), []

    class Noting(torch.overrides.TorchFunctionMode):  # type: ignore[misc]
        """Notes the methods that are called."""

        def __torch_function__(self, method: Any, types: Any, given: Any = (), named: Any = None) -> Any:
            asked.append(method.__name__)
            return method(*given, **(named or {}))

    with Noting():
        optimizer.apply([gradient])
        optimizer.apply([fresh])
        optimizer.apply([fresh])
        assert not asked
        fresh.data_ptr()
    assert asked == ["data_ptr"]


@pytest.mark.parametrize("which", [0, 1])
def test_a_dtype_of_torchs_that_was_changed_in_the_same_memory_is_noticed(torch: Any, which: int) -> None:
    if dlpack.describer({torch.Tensor}) is None:
        pytest.skip("this version of torch offers no table")
    optimizer, *tensors = steady(torch)
    tensors[which].data = tensors[which].data.view(torch.int32)
    with pytest.raises(ArrayError, match="dtype"):
        optimizer.apply([tensors[1]])
    assert optimizer.iterations == 4


def test_the_gpu_that_does_nothing_leaves_no_trace() -> None:
    from gpu import cupy

    with nothing.no_gpu(nothing.arrays_at_hand()):
        host.host_times(host.OwnTensor, 1, tensors=2)
    variable, optimizer, twin, beside = cupy.asarray(make()), RMSprop(), RMSprop(), make()
    optimizer.apply([cupy.asarray(make(seed=1))], [variable])
    twin.apply([make(seed=1)], [beside])
    assert_same_bits(variable.get(), np.asarray(beside), "variable")
