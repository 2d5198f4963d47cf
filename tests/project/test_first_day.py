"""The first day with a GPU, in the simulator: every part is asked, or says why not, and loses nothing of the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import __main__ as command_line
from benchmarks import children
from benchmarks.children import ROOT
from benchmarks.cuda import first_day, parts
from benchmarks.cuda.asking import Skipped
from benchmarks.cuda.first_day import PARTS, Part

SIMULATED = """
import os
os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
import simulated_gpu
from rmsprop_jit.codegen.backends.cuda import device
device.use_driver(simulated_gpu.Driver(threads=8))
from benchmarks.cuda import parts
{more}
parts.main()
"""
ASKED = {"versions", "parity", "norms", "graphs"}
"""Of parts that have a function, those for which the simulator is enough."""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module whose parts are asked of the simulator; `more` is done before."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "support", tmp_path))))

    def made(more: str = "") -> str:
        (tmp_path / "simulated_parts.py").write_text(SIMULATED.format(more=more))
        return "simulated_parts"

    return made


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """What is kept, by the name of the part, in order."""
    kept = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return {one["part"]: one for one in kept}


def test_a_whole_day_in_the_simulator(tmp_path: Path, module: Any) -> None:
    chosen = [part for part in PARTS if part.name in {*ASKED, "torch"}]
    console = Console(record=True, width=200)
    assert first_day.run(tmp_path / "day", console, chosen, module()), console.export_text()
    found = results(tmp_path / "day")
    assert list(found) == [part.name for part in chosen]
    for name, result in found.items():
        assert result["outcome"] == ("passed" if name in ASKED else "skipped"), result
        assert name in ASKED or "it needs a real GPU (AttributeError" in result["why"]
    assert found["parity"]["found"]["option sets"] == 3
    assert found["graphs"]["found"]["launches"] == 5
    assert "OptionError" in found["graphs"]["found"]["apply on the null stream while a blocking stream captures"]
    assert "skipped it needs a real GPU" in console.export_text()


def test_what_the_simulator_is_not_enough_for_says_so() -> None:
    for part in PARTS:
        if part.function and part.name not in ASKED:
            with pytest.raises(Skipped, match=r"it needs a real GPU \(AttributeError"):
                list(parts.FUNCTIONS[part.function]())


def test_a_tool_that_is_not_there_is_the_reason(tmp_path: Path, module: Any) -> None:
    (part,) = [part for part in PARTS if part.name == "memcheck"]
    assert first_day.run(tmp_path, Console(), [Part(part.name, 1, tool=("no-such-tool",))], module())
    assert results(tmp_path)["memcheck"]["why"] == "no-such-tool is not on the path"


ENDS = [
    ("import os, signal; print('words', flush=True); os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL: words"),
    ("raise AssertionError('bits')", "its process ended with 1: AssertionError: bits"),
    ("import time; time.sleep(60)", "it took longer than 2 s"),
    ("parts.compared = lambda *_: 1 / 0", "its process ended with 1: ZeroDivisionError: division by zero"),
]


@pytest.mark.parametrize(("more", "why"), ENDS)
def test_the_end_of_a_part_is_a_result_and_the_next_is_asked(tmp_path: Path, module: Any, more: str, why: str) -> None:
    limit = 2 if "sleep" in more else 60
    (tmp_path / "next.py").write_text('print(\'{"found": {"a": 1}}\')')
    two = [Part("first", limit, "norms"), Part("next", 60, arguments=("next",))]
    assert not first_day.run(tmp_path / "day", Console(), two, module(more))
    first, second = results(tmp_path / "day").values()
    assert first["outcome"] == "failed"
    assert first["why"].endswith(why)
    assert (second["outcome"], second["found"]) == ("passed", {"a": 1})
    assert ("words" in (tmp_path / "day" / "01-first.log").read_text()) == ("words" in more)


def test_what_a_late_part_has_found_is_kept(tmp_path: Path, module: Any) -> None:
    said = ['print(\'{"found": {"a": 1}}\')', 'print(\'{"found": {"b": 2}}\')', 'print(\'{"found": {"c":\')']
    (tmp_path / "late.py").write_text("\n".join([*said, "import time", "time.sleep(60)"]))
    module()
    assert not first_day.run(tmp_path / "day", Console(), [Part("late", 2, arguments=("late",))])
    result = results(tmp_path / "day")["late"]
    assert result["why"] == "it took longer than 2 s"
    assert result["found"] == {"a": 1, "b": 2}


def test_a_part_asks_nothing_further_when_its_time_is_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked() -> Iterator[tuple[str, int]]:
        yield "a", 1
        time.sleep(0.3)
        yield "b", 2
        raise AssertionError("too late for this")

    monkeypatch.setitem(parts.FUNCTIONS, "norms", asked)
    monkeypatch.setattr(sys, "argv", ["parts", "norms", "0.2"])
    parts.main()
    log = capsys.readouterr().out
    result = first_day.outcome(PARTS[0], False, 0, log)
    assert (result["outcome"], result["found"]) == ("stopped", {"a": 1, "b": 2})
    assert result["why"] == "its 0.2 s were up: nothing was asked after 'b'"
    assert result["outcome"] in first_day.GOOD


def test_all_parts_together_take_no_more_than_they_may() -> None:
    assert sum(part.limit for part in PARTS) <= 60 * first_day.MINUTES == 1500


def test_every_part_is_told_when_to_begin_nothing_further(tmp_path: Path) -> None:
    for part in PARTS:
        words = part.command("parts", tmp_path)
        seconds = [f"{first_day.SHARE * part.limit:g}", f"{first_day.SHARE * part.limit / 60:g}"]
        assert set(seconds) & set(words), part.name
        assert not any("{" in word for word in words)
    (last,) = [part.command("parts", tmp_path) for part in PARTS if part.name == "benchmark"]
    assert last[-2:] == ["--out", str(tmp_path)]
    assert "--gpu" in next(part.command("parts", tmp_path) for part in PARTS if part.name == "tests")


def test_what_has_begun_is_kept_before_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def died(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", died)
    with pytest.raises(KeyboardInterrupt):
        first_day.run(tmp_path, Console(), PARTS[:1])
    assert results(tmp_path)["versions"]["outcome"] == "begun"


def test_what_a_late_part_started_ends_with_it(tmp_path: Path, module: Any) -> None:
    script = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', {late!r}])"
    late = f"import time; time.sleep(4); open({str(tmp_path / 'late')!r}, 'w')"
    (tmp_path / "starts.py").write_text(script.format(late=late))
    module()
    assert not first_day.run(tmp_path / "day", Console(), [Part("starts", 1, arguments=("starts",))])
    time.sleep(4)
    assert not (tmp_path / "late").exists()


def test_every_part_has_a_limit_and_something_to_run() -> None:
    assert len({part.name for part in PARTS}) == len(PARTS)
    for part in PARTS:
        assert part.limit > 0
        assert bool(part.function) != bool(part.arguments)


@pytest.mark.parametrize("good", [True, False])
def test_the_command_runs_the_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: bool) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(children, "lines", lambda *_: iter([{"processor": "a GPU", "date": "2026-01-31"}]))

    def run(folder: Path, _console: Console) -> bool:
        asked.append(folder)
        return good

    monkeypatch.setattr(first_day, "run", run)
    with pytest.raises(SystemExit) as ended:
        command_line.main(["cuda", "--first-day", "--out", str(tmp_path)])
    assert ended.value.code == (0 if good else 1)
    assert asked == [tmp_path / "first-day"]
