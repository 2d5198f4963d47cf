"""How much the store holds: so many bytes, of what was used last; by processes that know nothing of each other."""

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from rmsprop_jit.codegen import room, store

ROOT = Path(__file__).parents[2]
DAY = 86400.0
RANDOM = bytes(os.urandom(10_000))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store with room for about three entries."""
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "store"))
    monkeypatch.setenv(room.VARIABLE, str(35_000 / (1 << 20)))
    return tmp_path / "store"


def write(key: str, days: float = 0.0) -> None:
    """An entry that was last used some days ago."""
    store.write(key, {"a": RANDOM})
    then = time.time() - days * DAY
    os.utime(Path(os.environ[store.VARIABLE]) / f"{key}{store.SUFFIX}", (then, then))


def kept() -> list[str]:
    return [key for key, _, _ in store.entries()]


def test_what_was_unused_for_longest_goes_first() -> None:
    for key, days in (("a", 1), ("b", 3), ("c", 2)):
        write(key, days)
    assert kept() == ["a", "b", "c"]
    store.write("d", {"a": RANDOM})
    assert kept() == ["a", "c", "d"]
    store.write("e", {"a": RANDOM})
    assert kept() == ["a", "d", "e"]


def test_reading_is_use() -> None:
    for key, days in (("a", 1), ("b", 3), ("c", 2)):
        write(key, days)
    assert store.read("b") is not None
    used = store.last_used("b")
    assert used is not None
    assert time.time() - used < 60
    store.write("d", {"a": RANDOM})
    assert kept() == ["a", "b", "d"]


def test_an_entry_that_is_read_often_is_not_touched_each_time() -> None:
    write("a", 1 / 48)
    before = store.last_used("a")
    store.read("a")
    assert store.last_used("a") == before


def test_what_nobody_uses_goes_though_there_is_room() -> None:
    write("a", 179)
    write("b", 181)
    store.write("c", {"a": RANDOM})
    assert kept() == ["a", "c"]


def test_leftovers_go_after_a_day_and_files_of_others_stay(folder: Path) -> None:
    write("a")
    for name, days in ((".new-old", 1.1), (".new-young", 0.9), ("notes.txt", 999.0)):
        (folder / name).write_bytes(b"x" * 100_000)
        then = time.time() - days * DAY
        os.utime(folder / name, (then, then))
    store.write("b", {"a": RANDOM})
    assert sorted(path.name for path in folder.iterdir()) == [".new-young", "a.step", "b.step", "notes.txt"]


def test_no_room_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(room.VARIABLE, "0")
    store.write("a", {"a": RANDOM})
    assert kept() == []


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "2 GB", "1e999"])
def test_a_limit_that_is_none_is_named_once(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(room.VARIABLE, value)
    with pytest.warns(UserWarning, match=f"{room.VARIABLE} must be a number of MiB.*{value}"):
        store.write("a", {"a": RANDOM})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.write("b", {"a": RANDOM})
    assert kept() == ["a", "b"]
    assert room.limit() == room.DEFAULT * (1 << 20)


FILL = """
import os, sys
from rmsprop_jit.codegen import store
for i in range(60):
    store.write(f"{sys.argv[1]}-{i}", {"a": os.urandom(10_000)})
    store.read(f"{sys.argv[1]}-{i // 2}")
"""


def test_processes_share_one_limit(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    children = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", FILL, str(i)], env=environment) for i in range(4)
    ]
    assert [child.wait(timeout=60) for child in children] == [0] * 4
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 35_000
    assert kept()
    assert all(parts is not None for _, _, parts in store.entries())
