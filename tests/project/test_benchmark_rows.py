"""Results of the benchmarks are shown as they are: spread, rows in which a peer wins, and what went wrong."""

import sys
from pathlib import Path
from typing import NoReturn

import pytest
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import __main__ as command_line
from benchmarks import children, machine, picture, report, rows, sweep
from benchmarks.cases import Case

FIGURES = {"correct": True, "ours_s": 2e-3, "theirs_s": 1e-3, "ratio": 0.5, "ratio_p10_p90": [0.4, 0.6]}
LOST = Case("lost", [], {}, "peer", 1.0).about() | FIGURES | {"ours_p10_p90_s": [1e-3, 3e-3]}
BAD = [
    (NotImplementedError("cannot"), "skipped: cannot", False),
    (ModuleNotFoundError("no", name="torch.nn"), "failed: torch is not installed", True),
    (ModuleNotFoundError("no", name="rmsprop_jit.gone"), "failed: ModuleNotFoundError: no", True),
    (ImportError("broken"), "failed: ImportError: broken", True),
    (ValueError("[red]"), "failed: ValueError: [red]", True),
]


@pytest.mark.parametrize(("problem", "word", "is_bad"), BAD)
def test_a_row_says_why_it_has_no_figure(problem: Exception, word: str, is_bad: bool) -> None:
    def work() -> NoReturn:
        raise problem

    row = rows.attempted(Case("small", [], {}, "numpy", 1.0), work)
    assert report.reached(row) == word
    assert rows.is_bad(row) == is_bad
    assert word in report.markdown([row])
    console = Console(record=True, width=200)
    report.show([row], console)
    assert word in console.export_text()


def test_rows_in_which_a_peer_wins_or_a_result_is_wrong_are_shown() -> None:
    wrong = Case("small", [], {}, "numpy", 1.0).about() | {"correct": False}
    assert rows.is_bad(wrong)
    *_, lost, last = report.markdown([LOST, wrong]).splitlines()
    assert lost == "| lost | peer | 2 ms (1 to 3) | 1 ms | 0.5 (0.4 to 0.6) | 1 | no |"
    assert "wrong result" in last


@pytest.mark.parametrize("command", ["cpu", "cuda"])
def test_no_case_is_a_failure(command: str) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main([command, "--only", "nosuchcase"])
    assert ended.value.code == 2


def test_cases_of_a_process_that_crashed_are_rows_and_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [Case("one", [], {}, "numpy", 1.0), Case("two", [], {}, "numpy", 1.0)]
    found = list(children.rows_of("benchmarks.nosuchmodule", 0.1, cases, [0, 1]))
    assert [row["failed"] for row in found] == ["its process ended with 1"] * 2
    (late,) = children.rows_of("benchmarks.nosuchmodule", 0.1, cases, [1], until=0.0)
    assert late["missing"] == "not reached in time"
    (swept,) = children.swept("benchmarks.nosuchmodule", peer="numpy")
    assert rows.is_bad(swept)
    monkeypatch.setattr(children, "rows_of", lambda *_: iter(found))
    with pytest.raises(SystemExit) as ended:
        command_line.main(["cpu", "--only", "numpy"])
    assert ended.value.code == 1


def test_a_peer_that_is_missing_is_swept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(case: Case, budget: float) -> NoReturn:
        raise ModuleNotFoundError("no", name="optax")

    (row,) = sweep.swept("optax jitted", [10, 100], [1], measure, 0.1)
    assert row["failed"] == "optax is not installed"


def test_the_picture_draws_what_has_figures(tmp_path: Path) -> None:
    points = [{**LOST, "axis": axis, "at": at} for axis in ("size", "count") for at in (10, 100)]
    points = [{**point, "theirs_p10_p90_s": [1e-3, 2e-3]} for point in points]
    missing = Case("sweep", [], {}, "other", 0.0).about() | {"missing": "not installed"}
    drawn = picture.draw([*points, missing], tmp_path / "cpu.png", machine.this_one())
    assert drawn.stat().st_size > 10_000
    picture.draw([missing], tmp_path / "none.png", machine.this_one())


def test_the_machine_and_the_date_are_named() -> None:
    about = machine.this_one()
    assert about["processor"] in machine.named(about)
    assert about["date"] in machine.named(about)


def test_times_have_units_that_fit() -> None:
    assert [report.seconds(t) for t in (2.0, 2e-3, 2e-6, 2e-8, None)] == ["2 s", "2 ms", "2 us", "0.02 us", ""]
