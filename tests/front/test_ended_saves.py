"""Saves that end: by kill -9, a full disk or Control-C. The old file is there, or the new one, whole.

KILLED_SAVES=300 kills as many.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resumed import built, stepped

import rmsprop_jit
from rmsprop_jit import RMSprop, files

KILLED = int(os.environ.get("KILLED_SAVES", "12"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(rmsprop_jit.__file__).parents[1])}

SAVING = """
import sys
import numpy as np
from rmsprop_jit import RMSprop
path = sys.argv[1]
optimizer = RMSprop(0.1)
optimizer.build([np.zeros(200_000, np.float32)])
state = optimizer.state_dict()
number = int(sys.argv[2])
while True:
    number += 1
    state["iteration"][...] = number
    state["variable_0_velocity"][...] = number
    optimizer.load_state_dict(state)
    optimizer.save(path, keep=3)
    if number == int(sys.argv[2]) + 1:
        print("begun", flush=True)
"""


def numbers(path: Path) -> list[int]:
    """Which save each file is of; all are whole."""
    found = []
    for name in (path, *sorted(path.parent.glob(f"{path.name}.*"))):
        state = files.load(name)
        number = int(state["iteration"])
        assert np.all(state["variable_0_velocity"] == number)
        found.append(number)
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signals")
def test_a_killed_save_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path, left, rng = tmp_path / "state", 0, np.random.default_rng(0)
    last = 0
    for _ in range(KILLED):
        command = [sys.executable, "-c", SAVING, str(path), str(last)]
        with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            time.sleep(rng.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        found = numbers(path)
        assert found[0] > last
        assert found == sorted(found, reverse=True)
        last = found[0]
        left = max(left, sum(name.startswith(".new-") for name in os.listdir(tmp_path)))
    assert left <= 1, "the next save removes what a killed one has left"
    optimizer = RMSprop(0.1)
    optimizer.build([np.zeros(200_000, np.float32)])
    optimizer.save(path)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".new-")]


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "state"
    stepped(0.1).save(path)
    before = path.read_bytes()
    script = (
        "import resource, sys, numpy as np\n"
        "from rmsprop_jit import RMSprop\n"
        "optimizer = RMSprop(0.1)\n"
        "optimizer.build([np.zeros(100_000, np.float32)])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "for keep in (1, 3):\n"
        "    try:\n"
        "        optimizer.save(sys.argv[1], keep)\n"
        "    except OSError as problem:\n"
        "        print(problem)\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    for line in lines:
        assert "40" in line, "how many bytes"
        for part in ("bytes could not be saved; the file that was there is as it was. Received:", str(path)):
            assert part in line
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["state"]


@pytest.mark.parametrize("folder", ["missing", "file", "sealed"])
def test_where_nothing_can_be_written_nothing_changes(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "sealed").mkdir(0o500)
    if folder == "sealed" and os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    with pytest.raises(OSError, match=r"could not be saved; no file is left. Received"):
        stepped(0.1).save(tmp_path / folder / "state")
    assert sorted(os.listdir(tmp_path)) == ["file", "sealed"]


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with pytest.raises(IsADirectoryError, match="as it was"):
        stepped(0.1).save(tmp_path / "state")


@pytest.mark.parametrize("links", [True, False])
def test_a_save_that_is_interrupted_leaves_no_file_behind(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of many moments, by an exception in a trace function, as a signal's handler would raise it."""
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path, optimizer = tmp_path / "state", stepped(0.1)
    optimizer.save(path)
    optimizer.apply({"kernel": np.ones((2, 3), np.float32), "bias": np.ones(3, np.float32)})
    at = 0
    while True:
        at += 3
        if not interrupted(lambda: optimizer.save(path, keep=2), at):
            break
        assert not [name for name in os.listdir(tmp_path) if name.startswith(".new-")], at
        for name in os.listdir(tmp_path):
            built(0.1).load(tmp_path / name)
    assert at > 100
    assert sorted(os.listdir(tmp_path)) == ["state", "state.1"]


def no_links(*_: Any, **__: Any) -> None:
    """As on a file system that has none."""
    raise OSError(1, "Operation not permitted")


def interrupted(action: Callable[[], None], at: int) -> bool:
    """Whether an action was ended at so many lines of `files` and `atomic`."""
    count = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.endswith(("atomic.py", "files.py")):
            return None
        count += event == "line"
        if count == at:
            count += 1
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_several_threads_save_to_one_file(tmp_path: Path) -> None:
    path, problems = tmp_path / "state", list[BaseException]()
    optimizers = [stepped(0.1) for _ in range(3)]

    def save(optimizer: RMSprop) -> None:
        try:
            for _ in range(10):
                optimizer.save(path, keep=3)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=save, args=(one,)) for one in optimizers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert sorted(os.listdir(tmp_path)) == ["state", "state.1", "state.2"]
    for name in os.listdir(tmp_path):
        built(0.1).load(tmp_path / name)
