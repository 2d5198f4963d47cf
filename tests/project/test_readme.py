"""What the README shows is true: its examples run, and its output is what the program prints."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import simulated_cupy as cupy

import rmsprop_jit
from rmsprop_jit.rules.table import HOMES, TABLE

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_first_example_trains() -> None:
    names: dict[str, Any] = {}
    exec(EXAMPLES[0], names)
    assert len(EXAMPLES[0].splitlines()) <= 10
    assert np.all(names["weights"]["w"] < 1)
    assert names["optimizer"].iterations == 10


def test_the_example_of_groups_runs() -> None:
    names: dict[str, Any] = {"rmsprop_jit": rmsprop_jit}
    exec(re.sub(r"^  ", "", EXAMPLES[1], flags=re.MULTILINE), names)
    variables = {name: np.ones(2, np.float32) for name in ("head/bias", "body/bias", "body/kernel")}
    names["optimizer"].apply({name: np.full(2, 0.5, np.float32) for name in variables}, variables)
    np.testing.assert_allclose(variables["head/bias"], 1 - 1e-4 - 1e-6, rtol=1e-6)
    np.testing.assert_allclose(variables["body/bias"], 1 - 1e-3, rtol=1e-6)
    np.testing.assert_allclose(variables["body/kernel"], 1 - 1e-3 - 1e-5, rtol=1e-6)


def test_the_example_of_minimize_gives_the_documented_number() -> None:
    names: dict[str, Any] = {"rmsprop_jit": rmsprop_jit}
    exec(re.sub(r"^  ", "", EXAMPLES[2], flags=re.MULTILINE), names)
    assert round(float(names["x"]), 6) == 9.683772


def test_the_example_on_a_gpu_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    ones, zeros = (lambda *which, make=make: cupy.asarray(make(*which)) for make in (np.ones, np.zeros))
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(ones=ones, zeros=zeros))
    names: dict[str, Any] = {"rmsprop_jit": rmsprop_jit}
    exec(EXAMPLES[3].replace("784, 128", "7, 12"), names)
    assert np.all(names["weights"]["w"].get() < 1)


def test_the_example_of_a_rule_is_adam() -> None:
    names: dict[str, Any] = {}
    exec(EXAMPLES[4], names)
    variable, gradient = np.ones(3, np.float32), np.array([0.1, -0.2, 0.3], np.float32)
    names["optimizer"].apply([gradient], [variable])
    np.testing.assert_allclose(variable, 1 - 1e-3 * np.sign(gradient), rtol=1e-6)


def test_the_example_of_numbers_runs() -> None:
    names: dict[str, Any] = {}
    for example in EXAMPLES[4:9]:
        exec(example, names)
    state = names["optimizer"].state_dict()
    assert state["all/product"] == 0.95
    assert state["bias_v"] == pytest.approx(0.02 * 3)
    assert state["dense_kernel_v"] == pytest.approx(0.02 * 5)


ROW = re.compile(r"^\| `(\w+)`( \*)? \| (.*?) \| (.*?) \| (\d+) \|$", re.MULTILINE)


def test_the_table_of_rules_has_each_with_its_paper_slots_and_bytes() -> None:
    shown = ROW.findall(README)
    assert [name for name, *_ in shown] == sorted(HOMES, key=str.lower)
    for name, star, source, slots, moved in shown:
        row, made = TABLE[name.lower()]
        optimizer = made()  # type: ignore[call-arg]
        optimizer.build([np.zeros(1, np.float32)])
        kept = {one.name.removeprefix("variable_0_").removeprefix("all/") for one in optimizer.variables}
        assert row.source.startswith(source)
        assert bool(star) == ("order as Keras 3" in row.source)
        wanted = [slot if slot in kept else f"[{slot}]" for slot in row.rule.slots]
        assert slots == (", ".join(wanted) or "none")
        assert f" {moved} bytes per parameter" in optimizer.explain("summary")


def test_explain_prints_what_the_readme_shows() -> None:
    shown = re.search(r"\$ rmsprop-jit explain\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    assert rmsprop_jit.RMSprop().explain() + "\n" == shown[1]


def test_every_error_and_schedule_of_the_package_is_importable_as_shown() -> None:
    for name in re.findall(r"rmsprop_jit\.([A-Z]\w+)", README):
        assert hasattr(rmsprop_jit, name), name
