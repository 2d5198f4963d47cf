"""The machine is whatever it is: a step works, and says nothing, in environments that lack what others have."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rmsprop_jit.codegen import room, store

ROOT = Path(__file__).parents[2]

STEP = """
import sys
import numpy as np, rmsprop_jit
from rmsprop_jit.codegen import store
size = 1 << 16  # so large that helpers are asked for
variable = np.ones(size, np.float32)
optimizer = rmsprop_jit.RMSprop(0.1, threads=4)
optimizer.build([variable])
for _ in range(3):
    optimizer.apply([np.ones(size, np.float32)])
if variable.max() >= 0.9 or variable.min() != variable.max():
    sys.exit(str(variable))
print(store.folder())
"""

NO_HOME = """
import os, pwd
def nobody(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = nobody
for name in ("HOME", "XDG_CACHE_HOME"):
    os.environ.pop(name, None)
"""
NO_THREADS = """
import threading
def start(thread):
    raise RuntimeError("can't start new thread")
threading.Thread.start = start
"""
FULL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
NO_PROCESSES = "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))\n"
FEW_FILES = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))\n"
NO_CORES = "import os; del os.sched_getaffinity, os.sched_setaffinity\n"

ENVIRONMENTS: dict[str, tuple[list[str], str, dict[str, str]]] = {
    "plain": ([], "", {}),
    "optimised": (["-O"], "", {}),
    "without docstrings": (["-OO"], "", {}),
    "warnings are errors": (["-W", "error"], "", {}),
    "bytes are no text": (["-bb", "-W", "error"], "", {}),
    "isolated from the user": (["-s", "-W", "error"], "", {}),
    "another locale": (["-W", "error"], "", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "no home": (["-W", "error"], NO_HOME, {store.VARIABLE: ""}),
    "a relative home": (["-W", "error"], NO_HOME, {store.VARIABLE: "", "HOME": "here"}),
    "no threads": (["-W", "error"], NO_THREADS, {}),
    "no processes": (["-W", "error"], NO_PROCESSES, {}),
    "a full disk": (["-W", "error"], FULL_DISK, {}),
    "few files": (["-W", "error"], FEW_FILES, {}),
    "no affinity": (["-W", "error"], NO_CORES, {}),
    "a long folder": (["-W", "error"], "", {store.VARIABLE: "/tmp/" + "x" * 5000}),
    "a device as folder": (["-W", "error"], "", {store.VARIABLE: os.devnull}),
    "no room": (["-W", "error"], "", {room.VARIABLE: "0", store.VARIABLE: "store"}),
    "one thread": (["-W", "error"], "", {"RMSPROP_JIT_NUM_THREADS": "1"}),
}
POSIX = {"no home", "a relative home", "no processes", "a full disk", "few files"}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_step_works_and_says_nothing(tmp_path: Path, name: str) -> None:
    if name in POSIX and os.name != "posix":
        pytest.skip("needs POSIX")
    if name == "no affinity" and not hasattr(os, "sched_setaffinity"):
        pytest.skip("has none anyway")
    flags, before, given = ENVIRONMENTS[name]
    # The code that all runs share is not compiled anew for each of them, where a store is used at all.
    common = {store.VARIABLE: os.environ.get(store.VARIABLE) or str(tmp_path / "store"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *flags, "-c", before + STEP],
        cwd=tmp_path,
        env={**os.environ, **common, **given},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if "home" in name:
        assert done.stdout == "None\n"
    assert [path.name for path in tmp_path.iterdir() if path.name != "store"] == []


def test_without_a_home_the_command_says_what_to_set(tmp_path: Path) -> None:
    script = NO_HOME + "import sys; from rmsprop_jit import cli; sys.exit(cli.main(sys.argv[1:]))"
    environment = {**os.environ, store.VARIABLE: "", "PYTHONPATH": str(ROOT)}
    for arguments, status in ((["cache"], 0), (["cache", "--json"], 0), (["cache", "--warm"], 2)):
        command = [sys.executable, "-W", "error", "-c", script, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == status, done.stderr
        assert (store.VARIABLE if "--json" not in arguments else "null") in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
