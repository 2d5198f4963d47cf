"""The commands, as a user runs them: from another folder, in a narrow terminal, with wrong input."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rmsprop_jit.cli import main

ROOT = Path(__file__).parents[2]


def command(*arguments: str, cwd: Path, columns: int = 50, **environment: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rmsprop_jit.cli", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": str(columns), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_demo_learns_the_digits_and_draws_the_loss(tmp_path: Path) -> None:
    result = command("demo", "--plot", "loss.png", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    accuracy = re.search(r"test accuracy +([\d.]+) %", result.stdout)
    assert accuracy is not None
    assert float(accuracy[1]) >= 97
    assert "5 loads, 4 stores, 36 bytes per parameter" in result.stdout
    assert re.search(r"one step +\d+ us; in plain NumPy \d+ us", result.stdout)
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


STAGES = {
    **dict.fromkeys(("rule", "kernel", "mlir"), "average"),
    "summary": "6 loads, 5 stores",
    "llvm": "define",
    "asm": "sqrt",
    "python": "def step(table, ",
    "launches": "1 launch in a step",
}


def test_explain_prints_every_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["explain", "--centered", "--momentum", "0.9", "--use-ema", "--form"]
    result = command(*asked, "asm", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert STAGES["asm"] in result.stdout
    for form, expected in STAGES.items():
        assert main([*asked, form]) == 0
        assert expected in capsys.readouterr().out, form


def test_explain_takes_every_option_that_shapes_a_kernel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--no-centered --clipnorm 1 --weight-decay 0.1 --gradient-accumulation-steps 2",
        "--rule rmsprop --loss-scale-factor 8 --use-ema --ema-momentum 0.5 --ema-overwrite-frequency 3",
        "--learning-rate 0.5 --rho 0.5 --epsilon 1e-3 --clipvalue 1",
    ]
    flags = ["+clipnorm", "+use_ema+ema_overwrite_frequency", "+clipvalue"]
    for given, expected in zip(options, flags, strict=True):
        assert main(["explain", *given.split()]) == 0
        assert expected in capsys.readouterr().out.splitlines()[0]


MINE = """
from rmsprop_jit.codegen import Hyper, Rule, sign


def lion(p, g, s, h):
    '''Chen et al. 2023, program 1.'''
    step = sign(h.beta_1 * s.mean + (1 - h.beta_1) * g)
    return {s.mean: h.beta_2 * s.mean + (1 - h.beta_2) * g, p: p - h.learning_rate * step}


LION = Rule("lion", lion, slots={"mean": 0.0}, hypers={"beta_1": Hyper(0.9, 0, 1), "beta_2": Hyper(0.99, 0, 1)})
NUMBER = 3
"""


def test_explain_takes_a_rule_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    explained = command("explain", "--rule", "mine:LION", "--form", "summary", "--beta-1", "0.5", cwd=tmp_path)
    assert explained.returncode == 0, explained.stderr
    assert explained.stdout.startswith("lion float32: 3 loads, 2 stores, 20 bytes per parameter")
    assert "--beta-2 X" in command("explain", "--rule", "mine:LION", "--help", cwd=tmp_path).stdout
    for name, message in (
        ("mine:LIONS", "cannot import 'mine:LIONS' (AttributeError"),
        ("other:LION", "cannot import 'other:LION' (ModuleNotFoundError"),
        ("mine:NUMBER", "takes a codegen.Rule. Received: 'mine:NUMBER', which is of type int"),
    ):
        wrong = command("explain", "--rule", name, cwd=tmp_path, columns=200)
        assert wrong.returncode == 2
        assert message in wrong.stderr, wrong.stderr
        assert "Traceback" not in wrong.stderr


WRONG = [
    (("explain", "--momentum", "2"), "momentum"),
    (("explain", "--clipnorm", "1", "--clipvalue", "1"), "Only one of"),
    (("explain", "--form", "prose"), "prose"),
    (("explain", "--rule", "prose"), "prose"),
    (("explain", "--rule"), "--rule"),
    (("explain", "--ema-momentum", "2"), "ema_momentum"),
    (("demo", "--plot", "missing/loss.png"), "missing/loss.png"),
    (("demo", "--plot", "loss.txt"), "loss.txt"),
    (("dmo",), "dmo"),
    (("explain", "--groups", "{head"), "groups are JSON"),
    (("explain", "--groups", '{"head": {"raet": 1}}'), "raet"),
    (("demo", "inverse", "--groups", "{}"), "an example has its own rule and rates"),
]


@pytest.mark.parametrize(("arguments", "culprit"), WRONG[::4], ids=lambda value: str(value))
def test_wrong_input_ends_with_one_clear_message(tmp_path: Path, arguments: tuple[str, ...], culprit: str) -> None:
    result = command(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert culprit in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("arguments", "culprit"), WRONG, ids=lambda value: str(value))
def test_wrong_input_is_one_clear_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    culprit: str,
) -> None:
    """The same of all in this process: what is no message leaves it as an exception."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "50")
    try:
        status = main(arguments)
    except SystemExit as ended:  # argparse's own
        status = ended.code if isinstance(ended.code, int) else 1
    assert status == 2
    assert culprit in capsys.readouterr().err.replace("\n", " ")


def test_the_store_is_warmed_shown_and_cleared(tmp_path: Path) -> None:
    store: dict[str, Any] = {"RMSPROP_JIT_CACHE_DIR": str(tmp_path / "store")}
    assert "0 entries" in command("cache", cwd=tmp_path, **store).stdout
    warmed = command("cache", "--warm", "--rule", "lion", cwd=tmp_path, **store)
    assert "12 option sets are compiled" in warmed.stdout, warmed.stderr
    shown = command("cache", "--show", cwd=tmp_path, columns=100, **store).stdout
    assert "lion+weight_decay" in shown
    assert "14 entries" in shown
    assert "14 entries removed" in command("cache", "--clear", cwd=tmp_path, **store).stdout
    assert "switched off" in command("cache", cwd=tmp_path, RMSPROP_JIT_CACHE_DIR="off").stdout


def test_odd_entries_of_the_store_are_shown_too(tmp_path: Path) -> None:
    store: dict[str, Any] = {"RMSPROP_JIT_CACHE_DIR": str(tmp_path)}
    (tmp_path / "old.step").write_bytes(b"rmsprop_jit 1\n")
    body = json.dumps({"key": "bare", "sizes": {}}).encode() + b"\n"
    (tmp_path / "bare.step").write_bytes(b"rmsprop_jit 2\n" + hashlib.sha256(body).digest() + body)
    for path in tmp_path.glob("*.step"):
        path.chmod(0o600)
    shown = command("cache", "--show", cwd=tmp_path, **store).stdout
    assert "another version" in shown
    assert "bare" in shown
    assert "2 entries removed" in command("cache", "--clear", cwd=tmp_path, **store).stdout


def test_explain_shows_each_program_of_a_rule(tmp_path: Path) -> None:
    listed = command("explain", "--rule", "sophia", "--form", "programs", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "due: on in steps where (h.step - 1) % h.every == 0" in listed.stdout
    off = command("explain", "--rule", "sophia", "--off", "due", cwd=tmp_path)
    assert off.stdout.startswith("program sophia: float32")
    wrong = command("explain", "--rule", "sophia", "--off", "deu", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "Did you mean 'due'?" in wrong.stderr


def test_explain_shows_what_groups_compile_to(tmp_path: Path) -> None:
    groups = '{".*/bias": {"weight_decay": 0}, "head/.*": {"beta_1": 0.5}}'
    listed = command("explain", "--rule", "adamw", "--groups", groups, "--form", "programs", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "groups['.*/bias']" in listed.stdout
    shown = command("explain", "--rule", "adamw", "--groups", groups, cwd=tmp_path)
    assert shown.stdout.startswith("program adamw+weight_decay: float32")


def test_explain_prints_latex(tmp_path: Path) -> None:
    printed = command("explain", "--rule", "lion", "--form", "latex", cwd=tmp_path)
    assert printed.stdout.splitlines()[-1] == r"\end{align*}"
    assert r"\operatorname{sign}" in printed.stdout
    near = command("explain", "--rule", "adm", "--form", "latex", cwd=tmp_path)
    assert near.returncode == 2
    assert "Did you mean 'adam'?" in near.stderr


def test_a_rule_may_have_an_argument_that_the_command_has_too(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from rmsprop_jit.codegen import Rule\n"
        "RULE = Rule('clash', lambda p, g, h: {p: p - g * h.on * h.form}, hypers={'on': 0.5, 'form': 1.0})\n"
    )
    done = command("explain", "--rule", "mine:RULE", "--form", "rule", cwd=tmp_path)
    assert done.stdout == "parameter <- parameter - ((gradient * h.on) * h.form)\n", done.stderr
