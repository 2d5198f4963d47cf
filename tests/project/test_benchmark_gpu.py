"""The benchmark on a GPU, without one: what it gives both sides to do, and what its figures stand for."""

from __future__ import annotations

import importlib.abc
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import rmsprop_jit

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import report, rows
from benchmarks.cases import MICRO, Case
from benchmarks.cuda import cases, measure, peers, timing
from benchmarks.measure import CHECK_STEPS
from benchmarks.rows import Row
from benchmarks.workloads import PLAIN

OURS, THEIRS = 3e-6, 5e-6


@pytest.fixture
def stopped_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is done, but a call of ours is said to keep the host busy for 3 us, one of torch's for 5."""
    monkeypatch.setattr(timing, "Flush", lambda: lambda: None)
    monkeypatch.setattr(timing, "by_events", lambda work, flush: (work(), 2e-6)[1])
    monkeypatch.setattr(timing, "host_time", lambda work, *_: (work(), getattr(work, "host_s", OURS))[1])
    monkeypatch.setattr(measure, "copy_of", lambda nbytes, flush: lambda: 4e-6)
    monkeypatch.setitem(peers.PEERS, "torch in NumPy", torch_in_numpy)


def torch_in_numpy(parameters: list[Any], gradients: list[Any], options: dict[str, Any]) -> peers.Made:
    """The plain rule as torch has it, with epsilon outside the root."""
    own, held = [p.get() for p in parameters], [g.get() for g in gradients]
    velocity = [np.zeros_like(p) for p in own]

    def step() -> None:
        for p, g, v in zip(own, held, velocity, strict=True):
            v += np.float32(0.1) * (g * g - v)
            p -= np.float32(options["learning_rate"]) * g / (np.sqrt(v) + np.float32(1e-7))

    step.host_s = THEIRS  # type: ignore[attr-defined]
    return peers.Made(step, lambda: own)


@pytest.mark.usefixtures("stopped_clocks")
def test_a_peer_with_its_epsilon_outside_the_root_is_right_too() -> None:
    row = measure.measure(Case("small", [(3000,)], PLAIN, "torch in NumPy", 1.0), budget=1e-5)
    assert row["correct"]


def test_gradients_on_a_gpu_keep_away_from_zero_in_large_tensors_too() -> None:
    parameters, gradients = measure.arrays_for([(7, 11), (measure.CHECKED + 5,)])
    for own in (parameters, gradients):
        assert [one.shape for one in own] == [(7, 11), (measure.CHECKED + 5,)]
    assert min(np.abs(gradient.get()).min() for gradient in gradients) >= 0.05


@pytest.mark.usefixtures("stopped_clocks")
def test_a_copy_moves_what_the_timed_steps_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first micro-step of a window only writes the accumulator, 8 bytes an element; the others also read it."""
    apply, traffic = rmsprop_jit.RMSprop.apply, measure.traffic
    calls: list[rmsprop_jit.RMSprop] = []
    read: list[tuple[int, int]] = []

    def counted(optimizer: rmsprop_jit.RMSprop, *arguments: Any) -> None:
        calls.append(optimizer)
        apply(optimizer, *arguments)

    def after(optimizer: rmsprop_jit.RMSprop, count: int) -> int:
        read.append((calls.count(optimizer), traffic(optimizer, count)))
        return read[-1][1]

    monkeypatch.setattr(rmsprop_jit.RMSprop, "apply", counted)
    monkeypatch.setattr(measure, "traffic", after)
    assert measure.measure(Case("small", [(100,)], MICRO, "copy", 1.0), budget=1e-5)["correct"]
    assert read == [(CHECK_STEPS, 1200)]


class Memory:
    """What a flush needs of CuPy, on a GPU with a cache of 1,000 bytes; `big` are the buffers larger than the cache."""

    L2 = 1000

    def __init__(self) -> None:
        self.big: list[Buffer] = []
        device = SimpleNamespace(attributes={"L2CacheSize": self.L2})
        self.cuda = SimpleNamespace(Device=lambda: device)
        self.float32 = np.float32

    def empty(self, shape: Any, dtype: Any) -> Buffer:
        made = Buffer(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        if made.nbytes > self.L2:
            self.big.append(made)
        return made

    zeros = empty


class Buffer:
    """Counts its passes."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes, self.read, self.written = nbytes, 0, 0

    def fill(self, _value: float) -> None:
        self.written += 1

    def sum(self, out: Buffer) -> Buffer:
        self.read += 1
        out.fill(0.0)
        return out


def test_a_flush_leaves_nothing_to_be_written_back_in_the_timed_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache full of written lines would be written to memory while the call that is timed needs their place."""
    memory = Memory()
    monkeypatch.setitem(sys.modules, "cupy", memory)
    timing.Flush()()
    (buffer,) = memory.big
    assert buffer.nbytes >= timing.L2_TIMES * Memory.L2
    assert (buffer.read, buffer.written) == (1, 0)


@pytest.mark.usefixtures("stopped_clocks")
def test_the_time_that_a_host_is_busy_is_in_the_table_of_both_sides() -> None:
    about = Case("small", [(100,)], PLAIN, "torch in NumPy", 1.0)
    row = about.about() | measure.measure(about, budget=1e-5)
    assert (row["host_s"], row["theirs_host_s"]) == (OURS, THEIRS)
    head, _, line, other = (text.split(" | ") for text in report.markdown([row, OTHER]).splitlines())
    columns = [head.index("our host"), head.index("their host")]
    assert [line[i] for i in columns] == ["3 us", "5 us"]
    assert [other[i] for i in columns] == ["", ""]
    console = Console(record=True, width=200)
    report.show([row], console)
    assert "their host" in console.export_text()


OTHER: Row = Case("other", [], {}, "numpy", 1.0).about() | {"correct": True, "ratio": 1.0}


def test_a_table_without_such_times_has_no_columns_for_them() -> None:
    assert "host" not in report.markdown([OTHER])


@pytest.mark.parametrize(("tensors", "calls"), [(1, 50), (3, 16), (1000, 1)])
def test_both_hosts_start_no_more_work_than_a_queue_holds(
    tensors: int, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that starts a kernel for each tensor would wait for the GPU, and be charged for it as time of the host."""
    found: list[int] = []

    def host_time(_work: object, count: int) -> float:
        found.append(count)
        return 1.0

    monkeypatch.setattr(timing, "host_time", host_time)
    made = peers.Made(lambda: None, list)
    assert measure.host_times(lambda: None, made, tensors) == {"host_s": 1.0, "theirs_host_s": 1.0}
    assert set(found) == {calls}


VARIABLE = "XLA_PYTHON_CLIENT_PREALLOCATE"


def jax_on(platform: str) -> Any:
    return SimpleNamespace(default_backend=lambda: platform)


def test_jax_on_a_processor_is_no_peer_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", jax_on("cpu"))
    monkeypatch.setenv(VARIABLE, "true")
    case = Case("small", [(100,)], PLAIN, "optax jitted", 1.0)
    row = rows.attempted(case, lambda: measure.measure(case, 0.1))
    assert rows.is_bad(row)
    assert "Received: a jax whose platform is 'cpu'. Install 'jax[cuda13]'" in report.reached(row)
    assert row["absent"] == "jax for GPUs", "a sweep ends after one such row"


class NoJax(importlib.abc.MetaPathFinder):
    """Takes down, when jax is imported, whether it will claim most of the GPU's memory; then it is not there."""

    def __init__(self) -> None:
        self.claims: list[str | None] = []

    def find_spec(self, name: str, *_: object) -> None:
        if name == "jax":
            self.claims.append(os.environ.get(VARIABLE))
            raise ModuleNotFoundError("not here", name=name)


def test_jax_is_told_before_its_import_to_leave_memory_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = NoJax()
    monkeypatch.setattr(sys, "meta_path", [watch, *sys.meta_path])
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    monkeypatch.setenv(VARIABLE, "true")
    with pytest.raises(ModuleNotFoundError, match="not here"):
        peers.optax([], [], PLAIN)
    assert watch.claims == ["false"]


def test_xla_compiles_no_more_tensors_than_time_allows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[int] = []

    def counted(case: Case, _budget: float) -> Row:
        measured.append(len(case.shapes))
        return {"correct": True, "ratio": 1.0}

    monkeypatch.setattr(measure, "measure", counted)
    monkeypatch.setattr(sys, "argv", ["measure", "0.1", "sweep", "optax jitted"])
    measure.main()
    assert max(measured) == 1000
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["at"] for row in found if "missing" in row] == [10_000]


def test_xla_comes_last() -> None:
    order = list(dict.fromkeys(case.against for case in cases.CASES))
    assert order[-1] == cases.SWEEP_PEERS[-1] == "optax jitted"
