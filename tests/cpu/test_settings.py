"""What shapes machine code beside its source is in the name that it is kept under."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from rmsprop_jit.codegen import store
from rmsprop_jit.codegen.backends.cpu import jit, settings
from rmsprop_jit.codegen.backends.cuda import compilers, frame

ROOT = Path(__file__).parents[2]
SOURCE = "def step(table):\n    table[0] = table[0] + {}\n"


def key() -> str:
    return jit.key_of(SOURCE.format(1))


@pytest.fixture(autouse=True)
def _a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


SHAPES = {
    "NUMBA_OPT": "0",
    "NUMBA_LOOP_VECTORIZE": "0",
    "NUMBA_SLP_VECTORIZE": "1",
    "NUMBA_CPU_NAME": "generic",
    "NUMBA_CPU_FEATURES": "+sse2",
    "NUMBA_ENABLE_AVX": "0",
    "NUMBA_DISABLE_INTEL_SVML": "1",
    "NUMBA_BOUNDSCHECK": "1",
    "NUMBA_DEBUGINFO": "1",
    "NUMBA_A_COMING_SETTING": "1",
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_setting_in_the_environment_is_in_the_key(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = key()
    monkeypatch.setenv(name, SHAPES[name])
    assert key() != before
    monkeypatch.delenv(name)
    assert key() == before


@pytest.mark.parametrize("name", ["NUMBA_NUM_THREADS", "NUMBA_CACHE_DIR", "NUMBA_THREADING_LAYER", "OMP_NUM_THREADS"])
def test_a_setting_that_shapes_no_code_is_not(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = key()
    monkeypatch.setenv(name, "2")
    assert key() == before


def test_a_file_of_settings_is_in_the_key(tmp_path: Path) -> None:
    before = key()
    (tmp_path / settings.FILE).write_text("opt: 0\n")
    assert key() != before


@pytest.mark.parametrize(("name", "value"), [("LOOP_VECTORIZE", 0), ("CPU_NAME", "generic"), ("ENABLE_AVX", 0)])
def test_what_a_program_tells_numba_is_in_the_key(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    before = key()
    assert settings.assigned() == []
    monkeypatch.setattr(numba.config, name, value)
    assert key() != before


def test_the_key_is_the_same_with_and_without_numba() -> None:
    script = (
        "import sys\n"
        "if {}: import numba\n"
        "from rmsprop_jit.codegen.backends.cpu import settings\n"
        "print(settings.text()); assert ('numba' in sys.modules) == {}"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    texts = {
        subprocess.run(
            [sys.executable, "-c", script.format(is_loaded, is_loaded)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for is_loaded in (True, False)
    }
    assert len(texts) == 1


STEP = """
import numpy as np, rmsprop_jit
from rmsprop_jit.codegen import backends
from rmsprop_jit.buckets import program_of
from rmsprop_jit.rules.rmsprop import RMSPROP
v = np.ones(100, np.float32)
rmsprop_jit.RMSprop(0.1).apply([np.ones(100, np.float32)], [v])
print(backends.get("cpu").vector_bits(program_of(RMSPROP, (), "float32")))
"""


@pytest.mark.parametrize("name", ["NUMBA_OPT", "NUMBA_LOOP_VECTORIZE"])
def test_one_slow_run_leaves_no_slow_code_to_later_ones(tmp_path: Path, name: str) -> None:
    def bits(**given: str) -> int:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), store.VARIABLE: str(tmp_path / "store"), **given}
        command = [sys.executable, "-c", STEP]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
        return int(done.stdout)

    slow = bits(**{name: "0"})
    assert slow < bits()


def test_a_worker_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from rmsprop_jit.codegen.backends.cpu import worker

    monkeypatch.setattr(worker, "HERE", 0)
    try:
        worker.compiled(SOURCE.format(2), "step_2")
        first = worker.worker_pid()
        worker.compiled(SOURCE.format(3), "step_3")
        assert worker.worker_pid() == first
        monkeypatch.setenv("NUMBA_LOOP_VECTORIZE", "0")
        worker.compiled(SOURCE.format(4), "step_4")
        assert worker.worker_pid() not in (None, first)
    finally:
        worker.end()


FILES = sorted((ROOT / "codegen" / "backends" / "cuda").glob("*.py"))
FILES += [ROOT / "codegen" / "ops.py", ROOT / "codegen" / "backends" / "cpu" / "intrinsics.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_file_of_the_compiler_is_in_its_hash(path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(ROOT / "codegen", tmp_path / "codegen", ignore=shutil.ignore_patterns("__pycache__"))
    assert store.hash_of_sources(str(copy)) == store.compiler_files()
    with open(copy / path.relative_to(ROOT / "codegen"), "a") as file:
        file.write("#")
    assert store.hash_of_sources(str(copy)) != store.compiler_files()


def test_a_gpu_s_key_has_the_compiler_s_files_and_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[str] = []
    kernel, made = frame.TICK, compilers.Code(".visible .entry a(", "a")
    monkeypatch.setattr(store, "read", lambda key, *_: keys.append(key))
    monkeypatch.setattr(store, "write", lambda *_: None)
    compilers.kept("ptx", kernel, "numba-cuda", (9, 0), lambda *_: made)
    compilers.kept("ptx", kernel, "numba-cuda", (9, 0), lambda *_: made)
    assert keys[0] == keys[1]
    monkeypatch.setenv("NUMBA_CUDA_DEBUGINFO", "1")
    compilers.kept("ptx", kernel, "numba-cuda", (9, 0), lambda *_: made)
    monkeypatch.setattr(store, "compiler_files", lambda: "others")
    compilers.kept("ptx", kernel, "numba-cuda", (9, 0), lambda *_: made)
    assert len(set(keys)) == 3
