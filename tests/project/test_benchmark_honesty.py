"""Whatever was asked of the benchmarks is in their table, and whoever reads it can see what went wrong."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import __main__ as command_line
from benchmarks import children, report, rows, starts, sweep
from benchmarks.cases import CASES, Case
from benchmarks.cuda.cases import CASES as ON_GPU
from benchmarks.rows import Row

GOOD: Row = {"correct": True, "ours_s": 2e-3, "theirs_s": 1e-3, "ratio": 0.5}
TWO = [Case("one", [], {}, "numpy", 1.0), Case("two", [], {}, "numpy", 1.0)]

CHILD = """
import json, os, signal, sys
good, bad = {good!r}, {{"case": "point", "against": "numpy", "target": 0.0, "failed": "ValueError"}}
def say(row):
    print(json.dumps(row), flush=True)
{body}
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module to be run as a peer's process, with a body of the test's own."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def made(body: str) -> str:
        good = TWO[0].about() | GOOD
        (tmp_path / "faked_peer.py").write_text(CHILD.format(good=good, body=body))
        return "faked_peer"

    return made


ENDS = [
    ("say(good); os.kill(os.getpid(), signal.SIGKILL)", ["one", "two"], "its process was ended by SIGKILL"),
    ("say(good); sys.exit(3)", ["one", "two"], "its process ended with 3"),
    ('say(good); print(\'{"case": "tw\', flush=True); os._exit(4)', ["one", "two"], "its process ended with 4"),
    ('say(good); print(\'{"case": "tw\', flush=True)', ["one", "two"], "its process printed a row that cannot be read"),
    ("say(good)", ["one", "two"], "its process gave no row"),
    ("say(good); say(good); os._exit(5)", ["one", "one", "end of the process"], "its process ended with 5"),
]


@pytest.mark.parametrize(("body", "names", "reason"), ENDS)
def test_what_a_process_owes_is_a_row_that_says_why(child: Any, body: str, names: list[str], reason: str) -> None:
    found = list(children.rows_of(child(body), 0.1, TWO, [0, 1]))
    assert [row["case"] for row in found] == names
    assert [row.get("failed") for row in found] == [None] * (len(names) - 1) + [reason]
    assert rows.is_bad(found[-1])


SWEPT = [
    ("say(bad); say(good); os.kill(os.getpid(), signal.SIGSEGV)", 2, f"ended by {signal.SIGSEGV.name}"),
    ("say(good)", 1, "gave no row"),
    ("say(good); say(good); say(good); sys.exit(1)", 3, "ended with 1"),
]


@pytest.mark.parametrize(("body", "given", "reason"), SWEPT)
def test_points_that_a_sweep_owes_are_in_a_row(child: Any, body: str, given: int, reason: str) -> None:
    """A point that failed before does not hide that the process crashed later."""
    *before, last = children.swept(child(body), peer="numpy", points=3)
    assert len(before) == given
    assert reason in last["failed"]
    assert str(3 - given or "end of the process") in last["case"]


def test_a_sweep_that_said_all_needs_no_other_row(child: Any) -> None:
    assert len(list(children.swept(child("say(bad); say(good); sys.exit(1)"), peer="numpy", points=2))) == 2
    absent = "bad['absent'] = 'numpy'; say(bad); sys.exit(1)"
    assert len(list(children.swept(child(absent), peer="numpy", points=9))) == 1


def test_points_that_are_not_asked_for_are_rows_too() -> None:
    asked: list[Case] = []

    def measure(case: Case, _budget: float) -> Row:
        asked.append(case)
        return dict(GOOD)

    *_, last = found = list(sweep.swept("torch.compile", [10], [10, 100], measure, 0.1, most=10))
    assert len(asked) == 2
    assert [row["at"] for row in found] == [10, 10, 100]
    assert report.reached(last) == "skipped: so many tensors compile for many minutes"
    assert not rows.is_bad(last)


@pytest.mark.parametrize("command", ["cpu", "cuda"])
def test_no_case_lists_the_cases(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main([command, "--only", "nosuchcase"])
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert "Received: 'nosuchcase'" in shown
    for case in CASES if command == "cpu" else ON_GPU:
        assert f"{case.name}, against {case.against}\n" in shown


BAD_ROWS: list[Row] = [
    {"correct": False},
    {"failed": "its process was ended by SIGSEGV"},
    {"failed": "torch is not installed", "absent": "torch"},
    {"correct": True},
]


@pytest.mark.parametrize("place", ["cases", "sweep"])
@pytest.mark.parametrize("bad", BAD_ROWS)
def test_a_run_with_a_bad_row_shows_it_keeps_it_and_fails(
    place: str, bad: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = Case("the bad one", [], {}, "a peer", 1.0).about() | bad
    good = {**TWO[0].about(), **GOOD}
    of_sweep = {"axis": "size", "at": 10, **good}
    monkeypatch.setattr(children, "rows_of", lambda *_, **__: iter([good] + [bad] * (place == "cases")))
    monkeypatch.setattr(children, "swept", lambda *_, **__: iter([of_sweep] + [bad] * (place == "sweep")))
    for name, value in (("first_steps", []), ("imports", good), ("memory", good)):
        monkeypatch.setattr(starts, name, lambda value=value: value)
    with pytest.raises(SystemExit) as ended:
        command_line.main(["cpu", "--out", str(tmp_path)])
    assert ended.value.code == 1
    assert "failed: " in capsys.readouterr().out
    kept = report.read(tmp_path / "cpu.json")
    assert bad in kept[place]
    assert (tmp_path / "cpu.png").exists()


def test_a_run_in_which_a_peer_wins_goes_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "rows_of", lambda *_, **__: iter([{**TWO[0].about(), **GOOD}]))
    command_line.main(["cpu", "--only", "numpy"])


def test_a_file_has_room_for_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    row = Case("a name of many words that needs a line of its own in a narrow table", [], {}, "numpy", 1.0).about()
    monkeypatch.setattr(children, "rows_of", lambda *_, **__: iter([row | GOOD]))
    command_line.main(["cpu", "--only", "numpy"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if row["case"] in line and "2 ms" in line]
    assert line.split()[-1] == "no"


def test_a_constant_has_no_spread() -> None:
    """Nor has what was measured once."""
    assert report.seconds(1.0, (1.0, 1.0)) == "1 s"


def test_names_are_whole_in_a_narrow_terminal() -> None:
    console = Console(record=True, width=60)
    report.show([Case("case", [], {}, "cupy.ElementwiseKernel", 1.0).about() | GOOD], console)
    assert "…" not in console.export_text()


def test_memory_is_shown_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: Finished("[832, 4096]"))
    assert report.cells(starts.memory())[2:] == ["4 KiB", "64 KiB", "16", "1", "yes"]


class Finished:
    """What `subprocess.run` returns."""

    def __init__(self, stdout: str, stderr: str = "", returncode: int = 0) -> None:
        self.stdout, self.stderr, self.returncode = stdout, stderr, returncode


STOPPED = [
    (Finished("", "a warning", -9), "failed: RuntimeError: its process was ended by SIGKILL"),
    (Finished("", "", 1), "failed: RuntimeError: its process ended with 1"),
    (Finished("", "a warning\nValueError: no", 1), "failed: RuntimeError: ValueError: no"),
    (Finished("", "ModuleNotFoundError: No module named 'psutil'", 1), "failed: psutil is not installed"),
]


@pytest.mark.parametrize(("process", "reason"), STOPPED)
def test_a_script_that_was_stopped_says_by_what(
    process: Finished, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: process)
    assert report.reached(starts.memory()) == reason


def test_first_steps_are_measured_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each side as often as the other, and neither before the other is through."""
    runs: list[str] = []

    def run(command: list[str], **_: Any) -> Finished:
        runs.append("theirs" if "torch" in command[-1] else "ours")
        return Finished("2.0" if runs[-1] == "theirs" else "1.0")

    monkeypatch.setattr(subprocess, "run", run)
    *_, torch = starts.first_steps(rounds=3)
    assert runs[-6:] == ["ours", "theirs"] * 3
    assert (torch["ours_s"], torch["theirs_s"], torch["rounds"]) == (1.0, 2.0, 3)
