"""`pytest --gpu`: what it runs, and on what, without a GPU."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from every_rule import some

from rmsprop_jit.codegen.backends.cuda_compilers import COMPILERS

ROOT = Path(__file__).parents[2]
SUPPORT = ROOT / "tests" / "support"

A_DEVICE = """
import cupy, sys

cupy.cuda.runtime.getDeviceCount = lambda: 1

def pytest_collection_finish(session):
    print("imported:", sorted(name for name in sys.modules if name.startswith("simulated")))
"""
"""Pretends that CUDA finds a device."""

A_SIMULATED_GPU = """
import os, sys

os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
import simulated_cupy, simulated_gpu
from rmsprop_jit.codegen.backends.cuda import device

class Cuda(simulated_gpu.Driver):
    def __init__(self, threads=32, compiler=None):
        super().__init__(threads)
        self.compiler = compiler

simulated_cupy.cuda.runtime.getDeviceCount = lambda: 1
sys.modules["cupy"], device.Cuda = simulated_cupy, Cuda
"""
"""Pretends that the simulator is a real GPU."""


def run(folder: Path, *arguments: str, plugin: str = "") -> subprocess.CompletedProcess[str]:
    """pytest in a process of its own, with a plugin of this source."""
    (folder / "pretended.py").write_text(plugin)
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "PYTEST_"))}
    paths = os.pathsep.join(map(str, (ROOT, SUPPORT, folder)))
    command = [sys.executable, "-m", "pytest", "--gpu", "-n", "0", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        [*command, *(["-p", "pretended"] if plugin else [])],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**settings, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        timeout=300,
    )


def test_without_a_gpu_the_option_is_refused_with_the_remedy(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    assert line.startswith("ERROR: no GPU can be used (")
    assert "Received: --gpu." in line
    assert line.endswith("leave the option out, and the same tests run in the simulator.")


def marked(path: Path) -> set[str]:
    """The tests of a file that are marked for GPUs, as its syntax says."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    tests = [one for one in body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")]
    if any(isinstance(one, ast.Assign) and ast.unparse(one).startswith("pytestmark = pytest.mark.gpu") for one in body):
        return {one.name for one in tests}
    return {
        one.name for one in tests if any(ast.unparse(mark).startswith("pytest.mark.gpu") for mark in one.decorator_list)
    }


def test_what_is_marked_is_run_with_both_compilers_and_knows_no_simulator(tmp_path: Path) -> None:
    pytest.importorskip("cupy")
    done = run(tmp_path, "--collect-only", plugin=A_DEVICE)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert "imported: []" in done.stdout
    collected = [line.split("::") for line in done.stdout.splitlines() if line.startswith("tests/")]
    found: dict[str, set[str]] = {}
    for path, test in collected:
        found.setdefault(path, set()).add(test.partition("[")[0])
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    assert found == {str(path.relative_to(ROOT)): tests for path in files if (tests := marked(path))}
    for compiler in COMPILERS:
        one = f"test_a_captured_optimizer_refuses_changes_of_structure[{compiler}]"
        assert ["tests/cuda/test_graphs.py", one] in collected
    assert "tests/cuda/test_real_gpu.py" in found


def test_they_run_on_what_is_said_to_be_a_real_gpu(tmp_path: Path) -> None:
    """Their comparisons and blocks are those of a real GPU; only the kernels are not."""
    files = ("test_real_gpu.py", *some(("test_graph_state.py", "test_gpu_constraints.py"), "said to be real", 1))
    chosen = [f"tests/cuda/{file}" for file in files]
    done = run(tmp_path, *chosen, "-k", "not launched_many_times", plugin=A_SIMULATED_GPU)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    rows = "tests/cuda/test_row_lengths.py::test_rows_are_the_same_for_any_number_of_threads"
    done = run(tmp_path, rows, plugin=A_SIMULATED_GPU)
    assert "2 passed" in done.stdout, done.stdout[-2000:] + done.stderr


def test_after_some_seconds_the_rest_is_skipped(tmp_path: Path) -> None:
    done = run(tmp_path, "-rs", "--gpu-seconds", "0", "tests/cuda/test_graph_state.py", plugin=A_SIMULATED_GPU)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert "it was not reached in time" in done.stdout
    assert "passed" not in done.stdout
