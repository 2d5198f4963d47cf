"""The commands where things are odd: narrow terminals, full disks, Control-C, no store, other rules."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rmsprop_jit import cli, codegen
from rmsprop_jit.codegen import backends, store
from rmsprop_jit.rules.row import Row, optimizer_class
from rmsprop_jit.rules.table import Table

ROOT = Path(__file__).parents[2]


def command(*arguments: str, cwd: Path, before: Any = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rmsprop_jit", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "40", **environment},
        preexec_fn=before,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_no_command_prints_the_help(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = command(*arguments, cwd=tmp_path)
    assert result.returncode == 0
    assert result.stderr == ""
    assert result.stdout.startswith("usage: rmsprop-jit")
    assert all(name in result.stdout for name in ("demo", "explain", "cache"))


def help_of(name: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit):
        cli.main([*name.split(), "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ["", "demo", "explain", "cache"])
@pytest.mark.parametrize("columns", [1, 20, 40])
def test_lines_of_the_help_break_between_words_only(
    name: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = help_of(name, 400, monkeypatch, capsys)
    narrow = help_of(name, columns, monkeypatch, capsys)
    assert set(narrow.split()) == set(wide.split())
    if columns == 40:
        assert max(map(len, narrow.splitlines())) <= 40


def test_every_option_has_a_help_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of("explain", 400, monkeypatch, capsys)
    options = re.findall(r"^  (-\S.*\n(?: {10,}.*)?)", text, re.MULTILINE)
    assert len(options) >= 18
    assert [option for option in options if not re.search(r"\S\s{2,}\S", option)] == []


def small(name: str) -> Row:
    rule = codegen.Rule(name, lambda p, g, s, h, on: {p: p - h.learning_rate * g * len(name)})
    return Row(rule, "A small rule.", {}, "this test.")


ROWS = [small("first"), small("second")]
RULES: Table = {row.rule.name: (row, optimizer_class(row.rule.name, row, __name__)) for row in ROWS}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "store"))
    return tmp_path / "store"


def test_the_store_is_warmed_with_every_rule(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    warmed: list[codegen.Program] = []
    monkeypatch.setattr(backends, "warm", warmed.append)
    assert cli.main(["cache", "--warm"], RULES) == 0
    assert "24 option sets are compiled" in capsys.readouterr().out
    assert {(program.name.split("+")[0], program.compute) for program in warmed} == {
        (f"{name}{averaged}", dtype)
        for name in RULES
        for averaged in ("", "_averaged")
        for dtype in ("float32", "float64")
    }


def test_the_store_is_warmed_with_chosen_rules(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    warmed: list[codegen.Program] = []
    monkeypatch.setattr(backends, "warm", warmed.append)
    assert cli.main(["cache", "--warm", "--rule", "second"], RULES) == 0
    assert "12 option sets are compiled" in capsys.readouterr().out
    assert {program.name.split("+")[0] for program in warmed} == {"second", "second_averaged"}
    assert cli.main(["cache", "--rule", "second"], RULES) == 2
    assert "--rule without --warm" in " ".join(capsys.readouterr().err.split())


def test_what_is_kept_is_sorted_with_age_and_size(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    long = "rule" + "+a_long_flag" * 8
    for key, source, hours in (("a", long, 3), ("b", "two\x1b[31m", 0), ("c", "[red]three", 50)):
        store.write(key, {"source": source.encode(), "object": os.urandom(2000)})
        then = time.time() - 3600 * hours - 1
        os.utime(folder / f"{key}.step", (then, then))
    assert cli.main(["cache", "--show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [entry["key"] for entry in shown["entries"]] == ["b", "a", "c"]
    assert [entry["kernel"] for entry in shown["entries"]] == ["two?[31m", long, "[red]three"]
    assert [round(entry["age_seconds"] / 3600) for entry in shown["entries"]] == [0, 3, 50]
    assert sum(entry["bytes"] for entry in shown["entries"]) == shown["bytes"] > 6000
    assert cli.main(["cache"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:3] for line in lines[1:4]] == [["1", "s"], ["3", "h"], ["2", "d"]]
    assert long in lines[2]
    assert "512 MiB" in lines[4]


def test_json_is_a_form_of_show_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.write("a", {"source": b"1"})
    assert cli.main(["cache", "--clear", "--json"]) == 2
    assert "--json" in capsys.readouterr().err
    assert store.contains("a")


posix = pytest.mark.skipif(os.name != "posix", reason="needs limits, signals and devices of POSIX")


def no_file_can_grow() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@posix
def test_a_store_on_a_full_disk_is_said_before_anything_is_compiled(tmp_path: Path) -> None:
    result = command("cache", "--warm", cwd=tmp_path, before=no_file_can_grow, **{store.VARIABLE: str(tmp_path / "s")})
    assert result.returncode == 2
    assert "nothing can be kept" in result.stderr
    assert result.stderr.count("\n") == 1
    assert list((tmp_path / "s").iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's full device")
def test_output_to_a_full_disk_is_one_message(tmp_path: Path) -> None:
    for arguments in ("explain", "cache", "explain --form asm"):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "rmsprop_jit", *arguments.split()],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
            )
        assert done.returncode == 2
        assert done.stderr == "rmsprop-jit: No space left on device\n"


START = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from rmsprop_jit import cli
from rmsprop_jit.codegen.backends.cpu import worker
worker.HERE = 0
from rich.progress import Progress
enter = Progress.__enter__
def entered(self):
    print("entered", file=sys.stderr, flush=True)
    return enter(self)
Progress.__enter__ = entered
sys.exit(cli.main(sys.argv[1:]))
"""


@posix
@pytest.mark.parametrize("arguments", [("demo",), ("cache", "--warm")], ids=" ".join)
def test_control_c_is_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", START, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), store.VARIABLE: str(tmp_path / "store")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stderr is not None
    assert child.stderr.readline() == "entered\n"
    time.sleep(0.2)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does
    assert child.communicate(timeout=60)[1] == "rmsprop-jit: interrupted\n"
    assert child.returncode == 130
