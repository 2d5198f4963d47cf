"""`python -m benchmarks storages`: bytes are those of programs, results are checked, the ceiling changes nothing."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks import readme, report
from benchmarks.rows import Row, Rows
from benchmarks.storages import measure, moved, run, table
from benchmarks.storages.cases import CEILING, FLOAT32, ONE, THEIRS, WAYS, OfStorage, cases
from rmsprop_jit.codegen.axes import size_in
from rmsprop_jit.codegen.dtypes import storage

KEPT = report.RESULTS / "storages.json"
SHAPES: list[tuple[int, ...]] = [(8192,), (70, 100)]
BYTES = {
    ("RMSprop", "bfloat16"): 16,
    ("RMSprop", "int8"): 14.125,
    ("RMSprop", "int8, all else bfloat16"): 8.125,
    ("RMSprop, momentum", "int8, all else bfloat16"): 10.25,
    ("Adam", "int8"): 16.25,
    ("AdamW", "all bfloat16"): 14,
}
"""What a step moves of a parameter."""


def case(rule: str, kept: str, against: str) -> OfStorage:
    found = {(one.rule, one.kept, one.against): one for one in cases() if one.size == ONE}
    return replace(found[rule, kept, against], shapes=SHAPES)


def test_bytes_are_those_of_the_programs() -> None:
    found = {(one.rule, one.kept): one.moved for one in cases()}
    assert {key: found[key] for key in BYTES} == BYTES
    assert {one.kept for one in cases()} == WAYS.keys() - {FLOAT32}
    assert {one.against for one in cases()} == {FLOAT32, CEILING, *THEIRS} == {FLOAT32, CEILING, *measure.PEERS}


@pytest.mark.parametrize("against", [FLOAT32, CEILING])
def test_a_case_is_checked_and_timed(against: str) -> None:
    row = measure.measure(case("RMSprop", "int8", against), 0.01)
    assert row["correct"]
    assert min(row["ours_s"], row["theirs_s"]) > 0


def test_a_wrong_step_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "WITHIN", 1e-6)
    assert measure.measure(case("RMSprop", "bfloat16", FLOAT32), 0.01) == {"correct": False}


def test_the_ceiling_moves_all_that_the_step_does_and_changes_nothing() -> None:
    program = case("RMSprop", "int8", CEILING).program
    rng, arrays = np.random.default_rng(1), dict[str, list[Any]]()
    for array in program.arrays:
        made = [rng.integers(1, 100, size_in(shape, array.space)) for shape in SHAPES]
        arrays[array.name] = [one.astype(storage(array.storage).scalar) for one in made]
    before = {name: [one.copy() for one in own] for name, own in arrays.items()}
    moved.moving(program, arrays, [8192, 7000])()
    for name, own in arrays.items():
        assert all(np.array_equal(one, kept) for one, kept in zip(own, before[name], strict=True))
    text, itemsizes = moved.source(program), {"parameter": 4, "gradient": 4, "velocity": 1}
    for j, array in enumerate(program.arrays):
        count = 1 if array.is_scale else 16 * itemsizes[array.name]
        assert f"words{j}[chunk * {count} + i]" in text
        is_stored = f"words{j}[chunk * {count} + i] = " in text
        assert is_stored == (array.name != "gradient")


def rows() -> Rows:
    times: Row = {"correct": True, "ours_s": 2e-3, "theirs_s": 1e-3, "ratio": 0.5}
    own = [{**one.about(), **times} for one in cases() if (one.rule, one.kept, one.size) == ("RMSprop", "int8", ONE)]
    own[-1] |= {"ratio": 21.0, "theirs_s": 42e-3}
    return [*own, case("AdamW", "int8", "torchao AdamW8bit").about() | {"failed": "torchao is not installed"}]


def test_the_table_has_a_line_for_each_way_and_says_what_is_missing() -> None:
    assert table.lines(rows()) == [
        [
            *("RMSprop", "int8", ONE, "14.125", "2 ms", "0.5", "0.5", "bitsandbytes RMSprop8bit 21"),
            "float32: no (1); ceiling: no (0.8)",
        ],
        [
            *("AdamW", "int8", ONE, "16.25", "", "", "", "torchao AdamW8bit "),
            "torchao AdamW8bit: failed: torchao is not installed (50)",
        ],
    ]
    place = "<!-- benchmarks storages -->\nold\n<!-- end -->"
    results = {"machine": {"processor": "a processor", "date": "2026-01-31"}, "cases": rows(), "sweep": []}
    assert "| AdamW | int8 | 16.7 M |" in readme.updated(place, "storages", results)


def test_each_side_has_a_process_and_an_end() -> None:
    one = case("RMSprop", "int8", FLOAT32)
    assert [row["missing"] for row in run.measured([one], [0], 0.01, limit=0.0)] == ["not reached in time"]


@pytest.mark.skipif(not KEPT.exists(), reason="nothing was measured yet")
def test_the_kept_results_have_a_row_for_every_case() -> None:
    kept = {(row["case"], row["against"]) for row in report.read(KEPT)["cases"]}
    assert kept == {(one.name, one.against) for one in cases()}
