"""The benchmarks measure what they say: the right models, an honest ceiling, and no result that failed its check."""

import sys
from pathlib import Path

import numpy as np
import pytest

import rmsprop_jit

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import ceiling, measure, peers, report, timing, workloads
from benchmarks.cases import CASES, Case
from benchmarks.cuda import cases as cuda_cases
from benchmarks.cuda import measure as cuda_measure
from benchmarks.cuda import peers as cuda_peers
from benchmarks.cuda import timing as cuda_timing
from rmsprop_jit.codegen.backends.cuda import step


def test_the_models_have_the_sizes_of_the_real_ones():
    assert len(workloads.resnet50()) == 161
    assert workloads.elements(workloads.resnet50()) == 25_557_032
    assert len(workloads.gpt2_small()) == 148
    assert workloads.elements(workloads.gpt2_small()) == 124_439_808


@pytest.mark.parametrize("options", [workloads.PLAIN, workloads.EVERYTHING, workloads.EVERYTHING_GLOBAL])
def test_the_ceiling_moves_the_same_bytes(options):
    from rmsprop_jit.buckets import program_of

    optimizer = rmsprop_jit.RMSprop(**options)
    program = program_of(optimizer._rule, optimizer._flags, "float32")
    (bare,) = ceiling.trivial(program).kernels
    assert bare.loads == program.kernels[-1].loads
    assert [store.array for store in bare.stores] == [store.array for store in program.kernels[-1].stores]


def test_a_pair_of_works_is_timed_in_turns():
    calls = []
    timed = timing.paired(lambda: calls.append("a"), lambda: calls.append("b"), budget=0.05, least=1e-5)
    assert timed.ours > 0
    assert timed.theirs > 0
    assert {"a", "b"} == set(calls)


@pytest.mark.parametrize("against", ["ceiling", "numpy", "np.add"])
def test_a_case_is_measured(against):
    row = measure.measure(Case("small", [(1000,)] * 3, workloads.PLAIN, against, 1.0), budget=0.05)
    assert row["correct"]
    assert row["ratio"] > 0


def test_a_wrong_result_is_not_reported(monkeypatch):
    monkeypatch.setattr(rmsprop_jit.RMSprop, "apply", lambda self, grads: None)
    row = measure.measure(Case("small", [(1000,)], workloads.PLAIN, "numpy", 1.0), budget=0.05)
    assert not row["correct"]
    assert "ratio" not in row


def test_steps_that_differ_do_not_agree():
    start, other = [np.zeros(10, np.float32)], [np.ones(10, np.float32)]
    assert peers.agree(other, other, start)
    assert not peers.agree(other, [1.1 * o for o in other], start)
    assert not peers.agree([np.full(10, np.nan, np.float32)], other, start)


def test_every_case_names_a_known_opponent():
    assert {case.against for case in CASES} <= {*peers.PEERS, "ceiling", "np.add"}


def test_times_have_units_that_fit():
    assert [report.seconds(t) for t in (2.0, 2e-3, 2e-6, 2e-8, None)] == ["2 s", "2 ms", "2 us", "0.02 us", ""]


# On a GPU: everything but the clocks, in the simulator.

ON_GPU = [
    ("copy", workloads.PLAIN),
    ("copy", {**workloads.PLAIN, "gradient_accumulation_steps": 4}),
    ("30 us", {**workloads.CENTERED, "global_clipnorm": 1.0}),
    ("by hand", workloads.PLAIN),
]


@pytest.fixture
def stopped_clocks(monkeypatch):
    """Work is done, but every call of ours is said to take 2 us and every one of theirs 4."""
    monkeypatch.setattr(cuda_timing, "Flush", lambda: lambda: None)
    monkeypatch.setattr(cuda_timing, "by_events", lambda work, flush: (work(), 2e-6)[1])
    monkeypatch.setattr(cuda_timing, "host_time", lambda work: (work(), 3e-6)[1])
    monkeypatch.setattr(cuda_measure, "_copy_of", lambda nbytes, flush: lambda: 4e-6)
    monkeypatch.setitem(cuda_peers.PEERS, "by hand", by_hand)


def by_hand(parameters, gradients, options):
    own = [parameter.get() for parameter in parameters]
    optimizer = rmsprop_jit.RMSprop(**options)
    return cuda_peers.Made(lambda: optimizer.apply([g.get() for g in gradients], own), lambda: own)


@pytest.mark.usefixtures("stopped_clocks")
@pytest.mark.parametrize(("against", "options"), ON_GPU)
def test_a_case_on_a_gpu_is_checked_and_timed(against, options):
    row = cuda_measure.measure(Case("small", [(100,), (33,)], options, against, 1.0), budget=1e-5)
    assert row["correct"]
    assert row["ratio"] > 0
    assert row["host_s"] == 3e-6


@pytest.mark.usefixtures("stopped_clocks")
@pytest.mark.parametrize("against", ["copy", "by hand"])
def test_a_wrong_result_on_a_gpu_is_not_reported(monkeypatch, against):
    whole = step.print_lets

    def without_the_step(lets, dtype):
        updates = any(let.name == "parameter_new" for let in lets)
        return [*whole(lets, dtype), *(["parameter_new = parameter"] if updates else [])]

    monkeypatch.setattr(step, "print_lets", without_the_step)
    row = cuda_measure.measure(Case("small", [(100,)], workloads.PLAIN, against, 1.0), budget=1e-5)
    assert row["correct"] is False
    assert "ratio" not in row


def test_every_case_on_a_gpu_names_a_known_opponent():
    assert {case.against for case in cuda_cases.CASES} <= {*cuda_peers.PEERS, "copy", "30 us"}
    assert set(cuda_cases.SWEEP_PEERS) <= cuda_peers.PEERS.keys()


def test_traffic_counts_every_pass():
    optimizer = rmsprop_jit.RMSprop(global_clipnorm=1.0)
    optimizer.apply([np.ones(50, np.float32)], [np.ones(50, np.float32)])
    assert cuda_measure.traffic(optimizer) == 50 * 4 * (1 + 3 + 2)
