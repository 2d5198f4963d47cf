"""The demo with any rule: bundled ones, one's own, and those that it cannot show."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rmsprop_jit import cli, demo
from rmsprop_jit.rules.table import TABLE

ROOT = Path(__file__).parents[2]

MINE = """
from rmsprop_jit.codegen import Rule, sign

LION = Rule("lion", lambda p, g, s, h: {s.m: s.m * 0.9 + 0.1 * g, p: p - h.learning_rate * sign(s.m + g)},
            slots={"m": 0.0})
CURVED = Rule("curved", lambda p, g, h, x: {p: p - h.learning_rate * g / x.curvature}, inputs=["curvature"])
"""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "EPOCHS", 2)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["demo", *arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("rule", TABLE)
def test_every_bundled_rule_learns_something(rule: str, short: None) -> None:
    weights, data = demo.new_weights(), demo.digits()
    optimizer = demo.new_optimizer(TABLE[rule])
    optimizer.build(weights)
    wants = demo.HESSIAN in TABLE[rule][0].rule.inputs
    losses = list(demo.train(weights, optimizer, data, wants))
    assert len(losses) == demo.batches(data)
    assert np.mean(losses[-20:]) < 0.98 * losses[0], losses[0]


def test_rates_are_those_of_rules() -> None:
    assert demo.RATES.keys() <= {*TABLE}


def test_a_rule_is_shown_with_its_loops(short: None, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--rule", "lamb", "--learning-rate", "0.002")
    assert re.search(r"^rule +Lamb\(learning_rate=0\.002\)$", text, re.MULTILINE)
    assert re.search(r"^kernel +lamb float32: 8 loads, 3 stores, 44 bytes per parameter$", text, re.MULTILINE)
    assert re.search(r"^ +lamb\.1: 4 loads, 3 stores, \d+ elements at a time", text, re.MULTILINE)
    assert "NumPy" not in text, "RMSprop is what NumPy does beside it"


def test_a_rule_that_reads_a_hessian_is_brought_an_estimate(short: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert "sophia+due float32: 5 loads" in shown(capsys, "--rule", "sophia")
    weights, (images, *_) = demo.new_weights(), demo.digits()
    draws = [demo.hessian_of(weights, images[:32], np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert all((estimate["weight_0"] >= 0).all() for estimate in draws)
    assert np.array_equal(draws[0]["weight_1"], draws[1]["weight_1"])
    assert not np.array_equal(draws[0]["weight_1"], draws[2]["weight_1"])


def test_a_rate_that_is_too_large_is_told(short: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert "the loss became nan: try a smaller --learning-rate" in shown(
        capsys, "--rule", "sgd", "--learning-rate", "1e6"
    )


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rmsprop_jit", "demo", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "50", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_rule_of_ones_own_is_trained_from_another_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    done = command("--rule", "mine:LION", "--plot", "loss.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"test accuracy +9\d\.\d %", done.stdout)
    assert "lion float32: 3 loads, 2 stores, 20 bytes per parameter" in done.stdout
    assert "\x1b" not in done.stdout
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rule", "Lions"), "Received: 'Lions'. Did you mean 'lion'?"),
        (("--rule", "mine:LYON"), "Did you mean 'LION'?"),
        (("--rule", "mine:CURVED"), "rule 'curved' with the inputs curvature. Train it in a program of your own"),
        (("--learning-rate", "fast"), "fast"),
        (("--learning-rate=nan",), "nan"),
    ],
)
def test_what_cannot_be_shown_is_one_clear_message(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert "training" not in done.stdout
