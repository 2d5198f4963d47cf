"""`python -m benchmarks axes`: rules over axes beside a ceiling that moves what they move, and beside others."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from every_rule import ALL, some

from benchmarks import __main__ as command_line
from benchmarks import axes, ceiling, children, peers, readme, report
from benchmarks.inner import inner_seconds
from benchmarks.programs import arrays_of
from benchmarks.rows import has_figures
from benchmarks.rules import in_torch
from benchmarks.rules.cases import CEILING, FOREACH, OfRule
from benchmarks.rules.steady import Steady
from rmsprop_jit.codegen.axes import Axes, Shape, places
from rmsprop_jit.codegen.dtypes import storage
from rmsprop_jit.codegen.kinds import Space
from rmsprop_jit.codegen.program import Kernel, Program

ROOT = Path(__file__).parents[2]
KEPT = report.RESULTS / "axes.json"
SMALL: dict[str, Shape] = dict(zip(axes.SHAPES, [(24, 40), (4, 6, 10), (50, 1)], strict=True))


def small(rule: str, against: str = CEILING, name: str = "4096 x 4096") -> OfRule:
    """A case of the command's, of few elements."""
    (case,) = [one for one in axes.CASES if (one.rule, one.against, one.size) == (rule, against, name)]
    return dataclasses.replace(case, shapes=[SMALL[name]])


def is_by_columns(program: Program, shape: Shape) -> bool:
    """Whether elements that follow one another have numbers that do, again and again."""
    over = [array.space for array in program.arrays if isinstance(array.space, Axes)]
    return any(1 < found.c < found.a for found in (places(shape, Space.ELEMENT, space) for space in over))


@pytest.mark.parametrize("name", axes.SHAPES)
@pytest.mark.parametrize("rule", axes.RULES)
def test_what_is_hoped_for_follows_from_the_program(rule: str, name: str) -> None:
    program = Steady(rule, SMALL[name]).program
    hoped = axes.ALONG_COLUMNS if is_by_columns(program, SMALL[name]) else axes.ALONG_ROWS
    assert small(rule, name=name).target == hoped
    assert program.is_by_axes or (rule, name) == ("clip_adaptive RMSprop", "16.7 M x 1")


def accesses(kernel: Kernel) -> list[str]:
    """What it loads, and what it stores."""
    return [load.array for load in kernel.loads] + [store.array for store in kernel.stores]


def moved(program: Program, shape: Shape) -> int:
    """Bytes that a program's passes load and store of a tensor, counted array by array."""
    found = 0
    for kernel in program.kernels:
        over = [reduce.over for reduce in kernel.reductions if isinstance(reduce.over, Axes)]
        found += sum(8 * math.prod(space.shape_of(shape)) for space in over)
        for name in accesses(kernel):
            space = program.space_of(name)
            count = math.prod(space.shape_of(shape) if isinstance(space, Axes) else shape)
            found += count * storage(program.storage(name)).itemsize
    return found


MOVING = ("Adafactor", "SM3", "clip_adaptive RMSprop")
ALONG = [
    (rule, [*axes.SHAPES][(i + j) % len(axes.SHAPES)]) for j in range(len(axes.SHAPES)) for i, rule in enumerate(MOVING)
]
"""Each rule with each shape; of as many that follow one another as there are rules, all of both."""


@pytest.mark.parametrize(("rule", "name"), ALONG if ALL else some(ALONG, "ceilings", len(MOVING)))
def test_the_ceiling_moves_the_same_bytes_and_changes_nothing(rule: str, name: str) -> None:
    shape = SMALL[name]
    steady = Steady(rule, shape)
    parameters, gradients = peers.arrays_for([shape])
    steady.warm_up(parameters, gradients)
    assert steady.is_right(parameters, gradients)
    program, bytes_of_all = steady.program, 0
    for one, (count,) in ceiling.passes(program, [shape]):
        kernel = one.last
        bytes_of_all += count * sum(storage(one.storage(name)).itemsize for name in accesses(kernel))
        run = ceiling.trivial(one).last if kernel.stores else ceiling.read_table(one, [count], 1).program.last
        assert [load.array for load in run.loads] == [load.array for load in kernel.loads]
        assert [store.array for store in run.stores] == [store.array for store in kernel.stores]
    assert bytes_of_all == moved(program, shape)
    arrays = arrays_of(program, steady.optimizer, parameters, gradients)
    assert {array.name for array in program.arrays if not array.is_made} <= {*arrays, "whole"}
    before = {kind: own[0].copy() for kind, own in arrays.items()}
    ceiling.ceiling_of(steady.optimizer, parameters, gradients, threads=2, program=program)()
    for kind, kept in before.items():
        np.testing.assert_array_equal(arrays[kind][0], kept)


def test_numbers_of_other_widths_are_read_whole() -> None:
    """A sum of all words that are read, of arrays of 4 and of 8 bytes a number."""
    source = ceiling.read_source([4, 8])
    assert [f"values0[i * 1 + {word}]" in source for word in range(2)] == [True, False]
    assert [f"values1[i * 2 + {word}]" in source for word in range(3)] == [True, True, False]


@pytest.mark.parametrize("rule", axes.RULES if ALL else some(axes.RULES, "cases", 3))
def test_a_case_is_checked_and_timed(rule: str) -> None:
    row = axes.measure(small(rule), 0.01)
    assert row["correct"]
    assert min(row["ratio"], row["inner_s"]) > 0


def test_a_step_that_is_wrong_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "agree", lambda *_: False)
    assert axes.measure(small("AdamMini"), 0.01) == {"correct": False}


@pytest.mark.parametrize("name", axes.SHAPES)
def test_arithmetic_alone_is_of_tensors_with_the_same_lines(name: str) -> None:
    steady = Steady("AdamMini", SMALL[name])
    steady.warm_up(*peers.arrays_for([SMALL[name]]))
    assert 0 < inner_seconds(steady.program, steady.numbers(), SMALL[name]) < 1e-4


HERE = [one for one in axes.CASES if one.against not in (CEILING, axes.KERAS)]


@pytest.mark.parametrize("case", HERE, ids=lambda one: f"{one.name} {one.against}")
def test_others_do_the_same(case: OfRule) -> None:
    needed = {axes.OPTAX: "optax", axes.PRODUCTS: "numpy"}.get(case.against, "torch")
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    shape = SMALL.get(case.size, (16, 24))
    assert axes.measure(dataclasses.replace(case, shapes=[shape]), 0.01)["correct"]


KERAS = """
import dataclasses
from benchmarks import axes
for case in axes.CASES:
    if case.against == axes.KERAS:
        assert axes.measure(dataclasses.replace(case, shapes=[(16, 24)]), 0.01)["correct"]
        print("the same")
"""


def test_keras_does_the_same() -> None:
    """In a process of its own: Keras has one backend a process, and other tests ask for NumPy's."""
    done = subprocess.run([sys.executable, "-c", KERAS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "the same" in done.stdout.splitlines(), done.stderr


def results(rows: list[Any]) -> dict[str, Any]:
    return {"schema": 2, "machine": {"processor": "a processor", "date": "2026-01-31"}, "cases": rows, "sweep": []}


def test_the_table_names_what_bounds_a_row_that_falls_short() -> None:
    figures = {"correct": True, "ours_s": 4e-2, "theirs_s": 1e-2, "ratio": 0.25, "inner_s": 3.9e-2}
    text = readme.table(results([small("SM3").about() | figures]))
    assert "| SM3, 4096 x 4096 | ceiling | 40 ms | 10 ms | 39 ms | 0.25 | 0.6 | no |" in text
    assert "SM3, 4096 x 4096, against ceiling (0.25 of 0.6; arithmetic alone takes 3.9 of theirs)" in text


def test_a_whole_run_is_kept_and_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    def rows_of(_: str, seconds: float, cases: Any, numbers: Any) -> Any:
        return iter([cases[i].about() | {"correct": True, "ours_s": seconds, "ratio": 20.0} for i in numbers])

    monkeypatch.setattr(children, "rows_of", rows_of)
    command_line.main(["axes", "--out", str(tmp_path)])
    assert len(report.read(tmp_path / "axes.json")["cases"]) == len(axes.CASES)
    assert (tmp_path / "axes.png").exists()
    command_line.main(["axes", "--only", FOREACH, "--out", str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()


@pytest.mark.skipif(not KEPT.exists(), reason="not measured yet")
def test_the_kept_results_have_a_row_for_every_case() -> None:
    rows = {(row["case"], row["against"]): row for row in report.read(KEPT)["cases"]}
    assert {(case.name, case.against) for case in axes.CASES} == {*rows}
    assert all(map(has_figures, rows.values()))


def test_torch_is_told_how_large_steps_of_muon_are() -> None:
    muon, _ = in_torch.ours("Muon")
    known: Any = lambda params, lr=1e-3, weight_decay=0.1, momentum=0.95, ns_steps=5: None  # noqa: E731
    given = in_torch.arguments(known, muon)
    assert given["adjust_lr_fn"] == "match_rms_adamw"
    assert type(given["ns_steps"]) is int
