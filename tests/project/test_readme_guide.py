"""The README's guide from a blank page: its files, its commands and each of its constructs do what it says."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rmsprop_jit import Optimizer, cli
from rmsprop_jit.codegen import Rule

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
GUIDE = README.partition("## A rule from a blank page\n")[2].partition("\n## ")[0]
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
WORDS = ("OPTION", "FOLLOWS", "WHEN", "OF", "FIRST", "INPUT", "OVER", "PER", "NORM", "ROUNDED", "OUTSIDE", "APPLIED")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the guide's `lion.py`, from which commands are run."""
    (tmp_path / "lion.py").write_text(EXAMPLES[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("lion", None)


@pytest.fixture
def names(folder: Path) -> dict[str, Any]:
    """What is known after the file was written and checked."""
    names: dict[str, Any] = {**vars(importlib.import_module("lion"))}
    exec(EXAMPLES[1], names)
    return names


def test_the_rule_is_what_the_paper_says(names: dict[str, Any]) -> None:
    assert np.array_equal(names["paper"], names["compiled"])
    assert not np.array_equal(names["paper"], names["start"])


def test_the_commands_print_what_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"\$ rmsprop-jit (explain .*)\n((?:[^$`].*\n)*)", GUIDE)
    assert len(shown) == 2
    for command, text in shown:
        assert cli.main(command.split()) == 0
        printed = capsys.readouterr().out
        assert re.sub(r"\d+ (elements|bits)", r"N \1", printed) == re.sub(r"\d+ (elements|bits)", r"N \1", text)
    (demo,) = re.findall(r"\$ rmsprop-jit (demo .*)", GUIDE)
    assert cli.parser(demo.split()).parse_args(demo.split()).rule == "lion:LION"


def test_the_ceiling_moves_as_much(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    exec(EXAMPLES[2].replace("2**24", "2**10"), names)
    assert re.match(r"\d+\.\d\d of the ceiling, \d+\.\d ms", capsys.readouterr().out)
    moved = [Optimizer(names[rule]).explain("summary").split(", ")[:3] for rule in ("LION", "CEILING")]
    assert [part.split(": ")[-1] for part in moved[0]] == [part.split(": ")[-1] for part in moved[1]]


@pytest.fixture
def rules(names: dict[str, Any]) -> dict[str, Rule]:
    exec(EXAMPLES[3], names)
    return {name: names[name] for name in WORDS}


def test_each_construct_runs(rules: dict[str, Rule]) -> None:
    assert {*re.findall(r"^([A-Z]+) = Rule", EXAMPLES[3], re.MULTILINE)} == {*WORDS}
    for rule in rules.values():
        variables = {"kernel": np.ones((2, 3), np.float32), "bias": np.ones(3, np.float32)}
        gradients = {name: np.full_like(value, 0.5) for name, value in variables.items()}
        optimizer = Optimizer(rule, 0.1)
        optimizer.build(variables)
        for _ in range(3):
            optimizer.apply(gradients, **dict.fromkeys(rule.inputs, gradients))
        assert all((value != 1).any() for value in variables.values())


def moved(rule: Rule, gradient: Any, steps: int = 1, **options: Any) -> Any:
    value = np.zeros_like(gradient)
    optimizer = Optimizer(rule, 1.0, **options)
    optimizer.build({"bias": value})
    for _ in range(steps):
        optimizer.apply({"bias": gradient})
    return -value


def test_constructs_mean_what_their_lines_say(rules: dict[str, Rule]) -> None:
    g = np.array([0.5, 3.0, -2.0])
    assert np.array_equal(moved(rules["OPTION"], g, signed=True), np.sign(g))
    assert "momentum=0" in Optimizer(rules["FOLLOWS"]).explain("summary")
    assert np.array_equal(moved(rules["WHEN"], g, 2), g - g)
    assert "odd: on in steps where " in Optimizer(rules["WHEN"]).explain("programs")
    assert np.array_equal(moved(rules["OF"], g), g)
    assert np.array_equal(moved(rules["OF"], g[None]), np.sign(g[None]))
    assert np.array_equal(moved(rules["FIRST"], g), g)
    assert np.array_equal(moved(rules["PER"], g, scale={"bias": 0.5}), g / 2)
    np.testing.assert_allclose(moved(rules["NORM"], g), g / (np.linalg.norm(g) + 1))
    np.testing.assert_allclose(moved(rules["OVER"], g), g / (np.sqrt((1 + np.mean(g * g)) / 2) + 1))
    assert np.array_equal(moved(rules["OUTSIDE"], g), g[::-1])
    assert np.array_equal(moved(rules["APPLIED"], g), np.sign(g))
