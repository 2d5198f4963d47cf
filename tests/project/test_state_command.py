"""`rmsprop-jit state FILE`: what is in a file, in a narrow terminal, as JSON, and where it is damaged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rmsprop_jit import RMSprop, files
from rmsprop_jit.cli import main


@pytest.fixture
def path(tmp_path: Path) -> Path:
    optimizer = RMSprop(0.1, momentum=0.9, gradient_accumulation_steps=2)
    variables = {"dense/kernel": np.ones((2, 3), np.float32), "bias": np.ones(3)}
    optimizer.build(variables)
    for _ in range(3):
        optimizer.apply({name: np.ones_like(v) for name, v in variables.items()})
    optimizer.save(tmp_path / "run.safetensors")
    return tmp_path / "run.safetensors"


@pytest.mark.parametrize("columns", [30, 50, 120])
def test_it_shows_what_is_in_a_file(
    path: Path, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["state", str(path)]) == 0
    shown = capsys.readouterr().out
    first, second, *rest = shown.splitlines()
    assert first.startswith(f"{path}: ")
    assert second == "rule rmsprop, 2 variables, 3 calls, 2 open windows"
    assert all(len(line) <= columns for line in rest)
    joined = "".join(shown.split())
    for part in ("0.9", "ok", "F32", "2x3", "24B"):
        assert part in joined
    if columns == 120:
        assert "dense_kernel_momentum" in shown
        assert "gradient_accumulation_steps   2" in shown


def test_it_shows_it_as_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["state", "--json", str(path)]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (told["format_version"], told["iteration"], told["open_windows"]) == (3, 3, 2)
    assert told["bytes"] == path.stat().st_size
    assert told["options"]["momentum"] == 0.9
    assert told["options"]["variables"] == ["dense/kernel", "bias"]
    rows = {row["name"]: row for row in told["arrays"]}
    kernel = rows["dense_kernel_velocity"]
    assert (kernel["dtype"], kernel["shape"], kernel["bytes"], kernel["is_whole"]) == ("F32", [2, 3], 24, True)


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_damaged_array_is_shown_and_an_error(
    path: Path, form: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert main(["state", *form, str(path)]) == 2
    shown = capsys.readouterr()
    assert ("damaged" if not form else '"is_whole": false') in shown.out
    assert "1 of 9 arrays are damaged. Received: ['window']" in shown.err


def test_what_is_no_state_is_one_clear_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("no state at all")
    files.save(tmp_path / "options", {"options": np.array("[1]")}, 1)
    wrong = {
        "text": "its header cannot be as long",
        "options": "no JSON object",
        "none": "No such file",
        ".": "no file",
    }
    for name, message in wrong.items():
        assert main(["state", str(tmp_path / name)]) == 2
        shown = capsys.readouterr()
        assert message in shown.err
        assert "Traceback" not in shown.err
        assert shown.out == ""


def test_nothing_in_a_file_is_markup_or_moves_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"rule": "[red]x\x1b[2J", "\x1b[1A": "[/]", "variables": None}
    files.save(tmp_path / "a", {"\x1b[2J[bold]": np.ones(2), "options": np.array(json.dumps(options))}, 1)
    assert main(["state", str(tmp_path / "a")]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "[red]x?" in shown
    assert "[bold]" in shown
