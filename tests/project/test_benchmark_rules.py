"""All rules are measured: each of the table, in its ordinary step, beside an honest ceiling and torch's own."""

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from every_rule import ALL, some
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import __main__ as command_line
from benchmarks import ceiling, children, peers, readme, report
from benchmarks.inner import inner_seconds
from benchmarks.picture import source
from benchmarks.programs import arrays_of
from benchmarks.rows import Row
from benchmarks.rules import in_torch, measure, run, table
from benchmarks.rules.cases import CEILING, COMPILED, FOREACH, FUSED, IN_TORCH, MANY, ONE, OfRule, cases_of, rules
from benchmarks.rules.steady import Steady, strange
from rmsprop_jit.flags import variable_flags
from rmsprop_jit.rules.table import HOMES, TABLE

SHAPES = [(1000,), (7, 11), (70_000,)]
KEPT = report.RESULTS / "rules.json"


OUTSIDE = {"Muon"}
"""Rules with functions outside, whose time is not that of loads and stores: no ceiling says anything of it."""

RULES = sorted(HOMES.keys() - OUTSIDE)


def test_the_rules_are_those_of_the_table() -> None:
    assert {name for name in HOMES if TABLE[name.lower()][0].rule.functions} == OUTSIDE
    assert sorted(rules()) == sorted(HOMES.keys() - OUTSIDE)
    assert set(IN_TORCH) <= HOMES.keys()
    assert list(run.planned(run.chosen([]), "quick")) == rules()


def test_what_is_hoped_for_follows_from_the_program() -> None:
    bars = {case.rule: (case.target, case.moved) for rule in ("Adam", "Lamb") for case in cases_of(rule)[:2]}
    assert bars == {"Adam": (0.9, 28), "Lamb": (0.8, 44)}
    beside = {(case.against, case.size): case.target for case in cases_of("SGD")}
    assert beside[FOREACH, MANY] == 10.0
    assert beside[COMPILED, ONE] == beside[FUSED, ONE] == 1.0
    assert {case.against for case in cases_of("Lion")} == {CEILING}


@pytest.mark.parametrize("rule", RULES if ALL else some(RULES, "ceilings", 14))
def test_the_ceiling_of_a_rule_reads_and_writes_what_its_step_does_and_changes_nothing(rule: str) -> None:
    steady = Steady(rule)
    usual = variable_flags(steady.rule, (1,), "")
    alike = [shape for shape in SHAPES if variable_flags(steady.rule, shape, "") == usual]
    parameters, gradients = peers.arrays_for(alike)
    steady.warm_up(parameters, gradients)
    assert steady.is_right(parameters, gradients)
    program = steady.program
    (bare,) = ceiling.trivial(program).kernels
    assert (bare.loads, len(bare.stores)) == (program.last.loads, len(program.last.stores))
    *others, last = [one for one, _ in ceiling.passes(program, alike)]
    assert (last.last.loads, last.last.stores) == (program.last.loads, program.last.stores)
    assert not any(one.last.stores for one in others)
    reads = [ceiling.read_table(one, [10], 1).program.kernels[0].loads for one in others]
    loads = sum(map(len, [bare.loads, *reads]))
    assert 4 * (loads + len(bare.stores)) == program.bytes_per_element()
    arrays = arrays_of(program, steady.optimizer, parameters, gradients)
    before = {name: [one.copy() for one in own] for name, own in arrays.items()}
    ceiling.ceiling_of(steady.optimizer, parameters, gradients, threads=2, program=program)()
    for name, own in arrays.items():
        for one, kept in zip(own, before[name], strict=True):
            np.testing.assert_array_equal(one, kept)


@pytest.mark.parametrize(("rule", "off"), [("AdaGC", "warming"), ("Sophia", "due")])
def test_the_ordinary_step_is_past_its_first_ones(rule: str, off: str) -> None:
    parameters, gradients = peers.arrays_for([(10,)])
    steady = Steady(rule)
    steady.warm_up(parameters, gradients)
    assert off not in steady.program.name
    steady.optimizer.apply(gradients)
    assert "rectified" in Steady("RAdam").program.name


def test_a_step_that_is_wrong_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = OfRule("Adam, small", [(1000,)], {}, CEILING, 0.9, rule="Adam")
    assert measure.measure(case, 0.01)["ratio"] > 0
    monkeypatch.setattr(type(Steady("Adam").optimizer), "apply", lambda self, grads, parameters=None: None)
    monkeypatch.setattr(Steady, "warm_up", lambda self, parameters, gradients: self.optimizer.build(parameters))
    assert measure.measure(case, 0.01) == {"correct": False}


def test_numbers_that_training_never_has_are_found() -> None:
    parameters, gradients = peers.arrays_for([(1000,)])
    steady = Steady("Adam")
    steady.warm_up(parameters, gradients)
    assert strange(steady.program, steady.optimizer, parameters, gradients) == []
    parameters[0][7], gradients[0][3] = 1e-40, np.nan
    assert strange(steady.program, steady.optimizer, parameters, gradients) == ["parameter", "gradient"]


TORCH_ADAM: Any = lambda params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, fused=None: None  # noqa: E731
TORCH_RPROP: Any = lambda params, lr=1e-2, etas=(0.5, 1.2), step_sizes=(1e-6, 50): None  # noqa: E731
TORCH_RMSPROP: Any = lambda params, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False: None  # noqa: E731


def test_arithmetic_by_itself_is_that_of_the_steps_own_kernels() -> None:
    cheap, dear = (Steady(rule) for rule in ("SGD", "SGLD"))
    for one in (cheap, dear):
        one.warm_up(*peers.arrays_for([(64,)]))
    assert inner_seconds(dear.program, dear.numbers()) > 5 * inner_seconds(cheap.program, cheap.numbers()) > 0


def test_torch_gets_our_numbers_by_its_names() -> None:
    adam, _ = in_torch.ours("AdamW")
    assert in_torch.arguments(TORCH_ADAM, adam) == {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-7,
        "weight_decay": 0.004,
        "amsgrad": False,
    }
    rprop, _ = in_torch.ours("Rprop")
    assert in_torch.arguments(TORCH_RPROP, rprop) == {"lr": 0.01, "etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0)}
    rmsprop, speaks = in_torch.ours("RMSprop")
    assert speaks
    assert in_torch.arguments(TORCH_RMSPROP, rmsprop)["alpha"] == 0.9
    assert in_torch.arguments(TORCH_RMSPROP, rmsprop)["weight_decay"] == 0.0


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.parametrize("rule", IN_TORCH)
def test_torch_does_the_same(rule: str) -> None:
    (case,) = [case for case in cases_of(rule, "quick") if (case.against, case.size) == (FOREACH, MANY)]
    assert measure.measure(case, 0.01)["correct"]


def row(rule: str, against: str, size: str, ratio: float, target: float) -> Row:
    name = {ONE: "16.7 M", MANY: "200 x 1,000"}[size]
    about = OfRule(f"{rule}, {name}", [], {}, against, target, False, rule, size, 28).about()
    return about | {"correct": True, "ours_s": 2e-3, "theirs_s": 2e-3 * ratio, "ratio": ratio}


ROWS: list[Row] = [
    row("SGD", CEILING, ONE, 0.95, 0.9),
    row("SGD", CEILING, MANY, 0.85, 0.9),
    row("SGD", FOREACH, ONE, 2.0, 1.0),
    row("SGD", FOREACH, MANY, 20.0, 10.0),
    row("SGD", COMPILED, ONE, 0.75, 1.0),
    row("Adam", CEILING, ONE, 0.5, 0.9) | {"ratio_p10_p90": [0.4, 0.6], "inner_s": 6e-4},
    OfRule("Adam, 16.7 M", [], {}, FUSED, 1.0, False, "Adam", ONE, 28).about() | {"missing": "torch has it not fused"},
    row("Lion", CEILING, ONE, 0.97, 0.9),
]
RESULTS: dict[str, Any] = {
    "schema": 2,
    "machine": {"processor": "a processor", "threads": 2, "date": "2026-01-31"},
    "cases": ROWS,
    "sweep": [],
}


def test_a_line_says_what_is_reached_and_where_torch_wins() -> None:
    adam, lion, sgd = table.lines(ROWS)
    assert lion[-1] == "yes"
    assert adam == ["Adam", "28", "2 ms", "0.5 (0.4 to 0.6)", "", "", "0.6", "0.9", "", "", "no: ceiling at 16.7 M"]
    assert sgd[-3:-1] == ["compile: 0.75", "20"]
    assert sgd[-1] == "no: ceiling at 200 x 1,000, torch.compile at 16.7 M"
    text = table.markdown(RESULTS)
    assert "**Torch takes less time** in 1 of 3 rows: SGD, torch.compile at 16.7 M (0.75)." in text
    assert "not in time**: torch has it not fused (Adam)." in text
    failed = ROWS[0] | {"correct": False}
    assert table.lines([failed])[0][-1] == "no: ceiling at 16.7 M failed: wrong result, not timed"


def test_the_readme_and_the_picture_are_of_the_kept_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    readme.README.write_text("A\n<!-- benchmarks rules -->\nold\n<!-- end -->\nB\n")
    report.write(ROWS, [], "rules", RESULTS["machine"], tmp_path)
    command_line.main(["readme"])
    assert readme.README.read_text() == f"A\n<!-- benchmarks rules -->\n{table.markdown(RESULTS)}\n<!-- end -->\nB\n"
    with Image.open(tmp_path / "rules.png") as drawn:
        assert drawn.info["Comment"] == source(ROWS, RESULTS["machine"])


def test_the_readme_has_a_place_for_the_rules() -> None:
    assert readme.updated(readme.README.read_text(encoding="utf-8"), "rules", RESULTS)


@pytest.mark.skipif(not KEPT.exists(), reason="all rules were not measured yet")
def test_the_kept_results_have_every_rule() -> None:
    assert {row["rule"] for row in report.read(KEPT)["cases"]} == HOMES.keys() - OUTSIDE


@pytest.mark.parametrize("arguments", [["--quick", "--only", "sgd", "LION"], ["--only", "SGD", "Lion"]])
def test_the_command_measures_the_rules_that_are_asked_for(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, str, tuple[str, ...]]] = []

    def rows_of(_: str, seconds: float, cases: Any, numbers: Any, until: float, which: tuple[str, ...]) -> Any:
        asked.extend((cases[i].rule, cases[i].against, which) for i in numbers)
        return iter([cases[i].about() | {"correct": True, "ours_s": 1.0, "ratio": 20.0} for i in numbers])

    monkeypatch.setattr(children, "rows_of", rows_of)
    command_line.main(["rules", *arguments, "--out", str(tmp_path)])
    sizes = "quick" if "--quick" in arguments else "full"
    assert {which for *_, which in asked} == {("SGD", sizes), ("Lion", sizes)}
    assert (("SGD", COMPILED, ("SGD", sizes)) in asked) is (sizes == "full")
    assert not list(tmp_path.iterdir())
    assert re.search(r"^ *Lion .* yes *$", capsys.readouterr().out, re.MULTILINE)


def test_a_quick_look_at_a_rule_takes_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    command_line.main(["rules", "--quick", "--seconds", "0.01", "--only", "Tiger"])
    assert re.search(r"^ *Tiger +20 .*us", capsys.readouterr().out, re.MULTILINE)


def test_a_whole_run_is_kept_and_one_that_dies_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def lines(_module: str, *arguments: str, until: float) -> Any:
        if arguments[1] == "SGD":
            raise children.Ended("its process was ended by SIGSEGV")
        yield from (ROWS[-1] for _ in arguments[3:])

    monkeypatch.setattr(children, "lines", lines)
    monkeypatch.setattr(run, "rules", lambda: ["Lion", "SGD"])
    with pytest.raises(SystemExit) as ended:
        command_line.main(["rules", "--out", str(tmp_path)])
    assert ended.value.code == 1
    kept = report.read(tmp_path / "rules.json")["cases"]
    assert [row["rule"] for row in kept if "ratio" in row] == ["Lion", "Lion"]
    assert {row["failed"] for row in kept if row["rule"] == "SGD"} == {"its process was ended by SIGSEGV"}
    assert (tmp_path / "rules.png").exists()


def test_a_rule_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main(["rules", "--only", "adagrat"])
    assert ended.value.code == 2
    assert re.search(r"Received: adagrat\. The rules\s+are: AdaBelief, ", capsys.readouterr().err)


def test_a_process_measures_the_cases_that_it_is_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["measure", "0.01", "Tiger", "quick", "1"])
    measure.main()
    (line,) = capsys.readouterr().out.splitlines()
    assert '"case": "Tiger, 20 x 1,000", "against": "ceiling"' in line
