"""How many cores a process uses: those that it may run on, and has time for; helpers stay where they may run."""

import os
import threading
from pathlib import Path

import pytest

from rmsprop_jit.codegen.backends.cpu import cores, tables
from rmsprop_jit.errors import OptionError

MANY = 8
V1 = "4:cpu,cpuacct:{}\n3:memory:/other\n0::/\n"
V1_MOUNT = "33 32 0:29 {} {}/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
V2_MOUNT = "35 24 0:30 {} {} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up /proc/self on a machine of eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(MANY)), raising=False)
    (tmp_path / "proc").mkdir()
    return tmp_path / "proc"


def say(proc: Path, groups: str, mounts: str) -> None:
    (proc / "cgroup").write_text(groups)
    (proc / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda rw\n" + mounts)


def limit(folder: Path, quota: str) -> None:
    """Bound a group of version 2."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(f"{quota}\n")


def limit_v1(folder: Path, quota: int, period: int = 100_000) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", MANY), ("9900000 100000", MANY)],
)
def test_the_quota_of_the_own_group_is_kept(proc: Path, tmp_path: Path, quota: str, expected: int) -> None:
    say(proc, "0::/a/b\n", V2_MOUNT.format("/", tmp_path / "cg"))
    limit(tmp_path / "cg" / "a" / "b", quota)
    assert cores.cores(proc) == expected


def test_so_is_that_of_every_group_above(proc: Path, tmp_path: Path) -> None:
    say(proc, "0::/a/b/c\n", V2_MOUNT.format("/", tmp_path / "cg"))
    limit(tmp_path / "cg" / "a" / "b" / "c", "600000 100000")
    limit(tmp_path / "cg" / "a", "300000 100000")
    limit(tmp_path, "100000 100000")  # above the mount, which is not a group
    assert cores.cores(proc) == 3


@pytest.mark.parametrize(
    ("group", "root", "folder"),
    [("/", "/", ""), ("/docker/x/y", "/docker/x", "y"), ("/docker/x", "/docker/z", ""), ("/../other", "/", "")],
)
def test_a_container_may_not_know_its_own_name(proc: Path, tmp_path: Path, group: str, root: str, folder: str) -> None:
    point = tmp_path / "cg"
    say(proc, f"0::{group}\n", V2_MOUNT.format(root, point))
    limit(point / folder, "200000 100000")
    assert cores.cores(proc) == 2


def test_version_1_has_files_of_its_own(proc: Path, tmp_path: Path) -> None:
    say(proc, V1.format("/docker/x"), V1_MOUNT.format("/", tmp_path / "cg") + V2_MOUNT.format("/", tmp_path / "none"))
    limit_v1(tmp_path / "cg" / "cpu" / "docker" / "x", -1)
    limit_v1(tmp_path / "cg" / "cpu" / "docker", 250_000)
    assert cores.cores(proc) == 3
    limit_v1(tmp_path / "cg" / "cpu" / "docker" / "x", 50_000, 50_000)
    assert cores.cores(proc) == 1


@pytest.mark.parametrize("mess", ["", "::", "0::/a\n", "\x00", "0::/a\nrubbish\n"])
def test_what_cannot_be_read_is_no_bound(proc: Path, mess: str) -> None:
    assert cores.cores(proc) == MANY
    say(proc, mess, "35 24\n")
    assert cores.cores(proc) == MANY


def test_a_rubbish_quota_is_no_bound(proc: Path, tmp_path: Path) -> None:
    say(proc, "0::/a\n", V2_MOUNT.format("/", tmp_path / "cg"))
    for quota in ("", "max", "1 0", "x y", "1 2 3"):
        limit(tmp_path / "cg" / "a", quota)
        assert cores.cores(proc) == MANY


def test_the_default_number_of_threads_is_that_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "cores", lambda: 3)
    monkeypatch.delenv(tables.THREADS_VARIABLE, raising=False)
    assert tables.default_threads.__wrapped__() == 3
    monkeypatch.setenv(tables.THREADS_VARIABLE, "5")
    assert tables.default_threads.__wrapped__() == 3


@pytest.mark.parametrize("value", ["²", "1²", "9" * 5000, "one"])
def test_a_number_of_threads_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(tables.THREADS_VARIABLE, value)
    with pytest.raises(OptionError, match=r"RMSPROP_JIT_NUM_THREADS must be a whole number >= 1\. Received"):
        tables.default_threads.__wrapped__()


class System:
    """Threads with affinities, by number; 0 is the caller."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **threads: set[int]) -> None:
        self.of = {int(name[1:]): cores for name, cores in threads.items()}
        self.calls = 0
        monkeypatch.setattr(os, "sched_getaffinity", lambda number: set(self.of[number]), raising=False)
        monkeypatch.setattr(os, "sched_setaffinity", self.set, raising=False)

    def set(self, number: int, cores: set[int]) -> None:
        assert cores
        self.of[number] = set(cores)
        self.calls += 1


def test_helpers_leave_the_caller_s_core_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    system, places = System(monkeypatch, t0={0, 1, 2}, t7={0, 1, 2}), cores.Places()
    for core in (0, 1, 1, 2):
        places.keep_off(core, [7])
        assert system.of[7] == {0, 1, 2} - {core}
    assert system.calls == 3


def test_a_helper_s_cores_are_never_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    system, places = System(monkeypatch, t0={0, 1, 2, 3}, t7={1, 2}), cores.Places()
    for core, expected in ((0, {1, 2}), (1, {2}), (2, {1}), (3, {1, 2})):
        places.keep_off(core, [7])
        assert system.of[7] == expected
    system.of[7] = {3}  # somebody else says so
    for core in (3, 0, 3):
        places.keep_off(core, [7])
        assert system.of[7] == {3}


def test_helpers_follow_a_caller_that_is_confined(monkeypatch: pytest.MonkeyPatch) -> None:
    system, places = System(monkeypatch, t0={0, 1, 2, 3}, t7={0, 1, 2, 3}), cores.Places()
    places.keep_off(0, [7])
    system.of[0] = {0, 1}
    places.keep_off(0, [7])
    assert system.of[7] == {1}
    system.of[0] = {0}
    places.keep_off(0, [7])
    assert system.of[7] == {0}
    system.of[0] = {0, 1, 2, 3}
    places.keep_off(1, [7])
    assert system.of[7] == {0, 2, 3}


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two cores and Linux"
)
def test_a_helper_that_was_confined_stays_so() -> None:
    import numpy as np

    import rmsprop_jit

    variable, gradient = np.ones(1 << 18, np.float32), np.ones(1 << 18, np.float32)
    optimizer = rmsprop_jit.RMSprop(threads=2)
    optimizer.build([variable])
    optimizer.apply([gradient])
    helpers = [one.native_id for one in threading.enumerate() if one.name.startswith("rmsprop_jit-")]
    mine = os.sched_getaffinity(0)
    assert helpers

    def own_choice(core: int) -> None:
        """Let helpers be kept off a core, so that to be confined to it is no choice that they could have made."""
        for _ in range(500):
            threading.Event().wait(0.02)  # those that are awake are left alone
            os.sched_setaffinity(0, {core})
            os.sched_setaffinity(0, mine)  # stays where it was, for now
            optimizer.apply([gradient])
            if not any(core in os.sched_getaffinity(helper or 0) for helper in helpers):
                return
        pytest.fail(f"helpers were never kept off core {core}")

    for core in sorted(mine)[:2]:
        own_choice(core)
        for helper in helpers:
            os.sched_setaffinity(helper or 0, {core})
        for other in sorted(mine)[:2]:
            os.sched_setaffinity(0, {other})
            os.sched_setaffinity(0, mine)  # stays where it was, for now
            threading.Event().wait(0.02)  # helpers fall asleep
            optimizer.apply([gradient])
            assert {frozenset(os.sched_getaffinity(helper or 0)) for helper in helpers} == {frozenset({core})}
    for helper in helpers:
        os.sched_setaffinity(helper or 0, mine)
