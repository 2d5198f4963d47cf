"""The benchmarks measure what they say: the right models, an honest ceiling, and no result that failed its check."""

import ast
import dataclasses
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import Array

import rmsprop_jit

sys.path.insert(0, str(Path(__file__).parents[2]))

import benchmarks
from benchmarks import ceiling, measure, peers, programs, timing, workloads
from benchmarks.cases import CASES, Case
from benchmarks.cuda import cases as cuda_cases
from benchmarks.cuda import measure as cuda_measure
from benchmarks.cuda import peers as cuda_peers
from benchmarks.cuda import timing as cuda_timing
from rmsprop_jit.codegen.backends.cuda import step
from rmsprop_jit.codegen.backends.cuda.printing import print_lets
from rmsprop_jit.codegen.printer import mangled
from rmsprop_jit.codegen.program import Let, Program, Store, new, old


def test_the_models_have_the_sizes_of_the_real_ones() -> None:
    assert len(workloads.resnet50()) == 161
    assert workloads.elements(workloads.resnet50()) == 25_557_032
    assert len(workloads.gpt2_small()) == 148
    assert workloads.elements(workloads.gpt2_small()) == 124_439_808


OPTIONS: list[dict[str, Any]] = [
    workloads.PLAIN,
    workloads.EVERYTHING,
    workloads.EVERYTHING_GLOBAL,
    {**workloads.PLAIN, "clipnorm": 1.0},
    {**workloads.PLAIN, "gradient_accumulation_steps": 4},
]


def stepped(options: dict[str, Any]) -> tuple[rmsprop_jit.RMSprop, list[Array], list[Array]]:
    """An optimizer that has made a call, and its arrays."""
    parameters, gradients = peers.arrays_for([(1000,), (7, 11), (70_000,)])
    optimizer = rmsprop_jit.RMSprop(**options)
    optimizer.apply(gradients, parameters)
    return optimizer, parameters, gradients


@pytest.mark.parametrize("options", OPTIONS)
def test_the_ceiling_moves_the_same_bytes(options: dict[str, Any]) -> None:
    program = programs.step_program(rmsprop_jit.RMSprop(**options))
    (bare,) = ceiling.trivial(program).kernels
    assert bare.loads == program.kernels[-1].loads
    assert [store.array for store in bare.stores] == [store.array for store in program.kernels[-1].stores]


@pytest.mark.parametrize("options", OPTIONS)
def test_the_ceiling_writes_all_arrays_and_changes_none(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    trivial = ceiling.trivial
    optimizer, parameters, gradients = stepped(options)
    program = programs.step_program(optimizer)
    arrays = programs.arrays_of(program, optimizer, parameters, gradients)
    before = {name: [one.copy() for one in own] for name, own in arrays.items()}

    def is_now(value_of: Callable[[str, Array], Array]) -> None:
        for name, own in arrays.items():
            for one, kept in zip(own, before[name], strict=True):
                np.testing.assert_array_equal(one, value_of(name, kept))

    ceiling.ceiling_of(optimizer, parameters, gradients, threads=2)()
    is_now(lambda _, kept: kept)
    written = program.written

    def with_ones(program: Program) -> Program:
        (kernel,) = trivial(program).kernels
        ones = dataclasses.replace(kernel, stores=tuple(Store(store.array, 1.0) for store in kernel.stores))
        return dataclasses.replace(trivial(program), kernels=(ones,))

    monkeypatch.setattr(ceiling, "trivial", with_ones)
    ceiling.ceiling_of(optimizer, parameters, gradients, threads=2)()
    is_now(lambda name, kept: np.ones_like(kept) if name in written else kept)


def test_the_arrays_of_a_ceiling_are_those_of_the_optimizer() -> None:
    optimizer, parameters, gradients = stepped(workloads.EVERYTHING)
    arrays = programs.arrays_of(programs.step_program(optimizer), optimizer, parameters, gradients)
    names = {"parameter", "gradient", "velocity", "momentum", "average_gradient", "average"}
    assert arrays.keys() == names
    own = {one.ctypes.data for variable in optimizer.variables[2:] for one in [variable.value]}
    assert {one.ctypes.data for name in names - {"parameter", "gradient"} for one in arrays[name]} == own


def test_a_pair_of_works_is_timed_in_turns() -> None:
    calls = []
    timed = timing.paired(lambda: calls.append("a"), lambda: calls.append("b"), budget=0.05, least=1e-5)
    assert timed.ours > 0
    assert timed.theirs > 0
    assert {"a", "b"} == set(calls)
    assert timed.ratio_range[0] <= timed.ratio_range[1]


def test_figures_are_medians_of_the_same_rounds() -> None:
    timed = timing.Paired.of([1.0, 2.0, 9.0], [2.0, 2.0, 9.0])
    assert (timed.ours, timed.theirs, timed.ratio) == (2.0, 2.0, 1.0)
    assert timed.ours_range == pytest.approx((1.2, 7.6))
    assert timed.ratio_range == pytest.approx((1.0, 1.8))


def test_no_benchmark_reads_a_private_name_of_the_library() -> None:
    own = {"self", "cls", "torch"}  # torch's foreach functions have no public names
    for path in Path(benchmarks.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
                assert isinstance(node.value, ast.Name), f"{path}:{node.lineno}"
                assert node.value.id in own, f"{path}:{node.lineno}"
            if isinstance(node, ast.ImportFrom) and node.module != "__future__":
                names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                assert not [name for name in names if name.startswith("_")], f"{path}:{node.lineno}"


@pytest.mark.parametrize("against", ["ceiling", "numpy", "np.add"])
def test_a_case_is_measured(against: str) -> None:
    row = measure.measure(Case("small", [(1000,)] * 3, workloads.PLAIN, against, 1.0), budget=0.05)
    assert row["correct"]
    assert row["ratio"] > 0


def test_a_wrong_result_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rmsprop_jit.RMSprop, "apply", lambda self, grads: None)
    row = measure.measure(Case("small", [(1000,)], workloads.PLAIN, "numpy", 1.0), budget=0.05)
    assert not row["correct"]
    assert "ratio" not in row


def test_steps_that_differ_do_not_agree() -> None:
    start, other = [np.zeros(10, np.float32)], [np.ones(10, np.float32)]
    assert peers.agree(other, other, start)
    assert not peers.agree(other, [1.1 * o for o in other], start)
    assert not peers.agree([np.full(10, np.nan, np.float32)], other, start)


def test_every_case_names_a_known_opponent() -> None:
    assert {case.against for case in CASES} <= {*peers.PEERS, "ceiling", "np.add"}


# On a GPU: everything but the clocks, in the simulator.

ON_GPU = [
    ("copy", workloads.PLAIN),
    ("copy", {**workloads.PLAIN, "gradient_accumulation_steps": 4}),
    ("30 us", {**workloads.CENTERED, "global_clipnorm": 1.0}),
    ("by hand", workloads.PLAIN),
]


@pytest.fixture
def stopped_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is done, but every call of ours is said to take 2 us and every one of theirs 4."""
    monkeypatch.setattr(cuda_timing, "Flush", lambda: lambda: None)
    monkeypatch.setattr(cuda_timing, "by_events", lambda work, flush: (work(), 2e-6)[1])
    monkeypatch.setattr(cuda_timing, "host_time", lambda work, *_: (work(), 3e-6)[1])
    monkeypatch.setattr(cuda_measure, "copy_of", lambda nbytes, flush: lambda: 4e-6)
    monkeypatch.setitem(cuda_peers.PEERS, "by hand", by_hand)


def by_hand(parameters: list[Any], gradients: list[Any], options: dict[str, Any]) -> cuda_peers.Made:
    own = [parameter.get() for parameter in parameters]
    optimizer = rmsprop_jit.RMSprop(**options)
    return cuda_peers.Made(lambda: optimizer.apply([g.get() for g in gradients], own), lambda: own)


@pytest.mark.usefixtures("stopped_clocks")
@pytest.mark.parametrize(("against", "options"), ON_GPU)
def test_a_case_on_a_gpu_is_checked_and_timed(against: str, options: dict[str, Any]) -> None:
    row = cuda_measure.measure(Case("small", [(40,), (9,)], options, against, 1.0), budget=1e-5)
    assert row["correct"]
    assert row["ratio"] > 0
    assert row["host_s"] == 3e-6


@pytest.mark.usefixtures("stopped_clocks")
@pytest.mark.parametrize("against", ["copy", "by hand"])
def test_a_wrong_result_on_a_gpu_is_not_reported(monkeypatch: pytest.MonkeyPatch, against: str) -> None:
    def without_the_step(lets: Iterable[Let], *others: str) -> list[str]:
        updates = any(let.name == new("parameter") for let in lets)
        undone = f"{mangled(new('parameter'))} = {mangled(old('parameter'))}"
        return [*print_lets(lets, *others), *([undone] if updates else [])]

    monkeypatch.setattr(step, "print_lets", without_the_step)
    row = cuda_measure.measure(Case("small", [(100,)], workloads.PLAIN, against, 1.0), budget=1e-5)
    assert row["correct"] is False
    assert "ratio" not in row


def test_every_case_on_a_gpu_names_a_known_opponent() -> None:
    assert {case.against for case in cuda_cases.CASES} <= {*cuda_peers.PEERS, "copy", "30 us"}
    assert set(cuda_cases.SWEEP_PEERS) <= cuda_peers.PEERS.keys()


def test_traffic_counts_every_pass() -> None:
    optimizer = rmsprop_jit.RMSprop(global_clipnorm=1.0)
    assert cuda_measure.traffic(optimizer, 50) == 50 * 4 * (1 + 3 + 2)
