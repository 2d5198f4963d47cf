"""The tables and the picture of a first day, of made-up results; and the sweep of row lengths, without a clock."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.cases import Case
from benchmarks.cuda import day_report, measure, row_lengths
from benchmarks.rows import Row
from rmsprop_jit.codegen.backends.cuda import tables


def row(elements: int, length: int, ratio: float) -> Row:
    about = Case(f"{elements:,}, rows of {length:,}", [], {}, "copy", 0.0).about()
    figures = {"correct": True, "ratio": ratio, "ratio_p10_p90": [ratio - 0.1, ratio + 0.1]}
    return {**about, **figures, "size": f"{elements:,}", "elements": elements, "length": length}


def keep(folder: Path, part: str, found: dict[str, Any], outcome: str = "passed") -> None:
    (folder / f"{len(list(folder.iterdir())):02}-{part}.json").write_text(
        json.dumps({"part": part, "outcome": outcome, "why": "", "found": found})
    )


def test_the_tables_and_the_picture_are_written_of_what_there_is(tmp_path: Path) -> None:
    rows = [row(n, length, n / length / 1e4) for n in (10_000, 10**6) for length in (1024, 4096)]
    rows[-1] |= {"correct": False}
    keep(tmp_path, "rows", {one["case"]: one for one in rows}, "failed")
    keep(tmp_path, "beside a copy", {"1e8, plain": {**row(10**8, 1, 0.93), "case": "1e8, plain"}})
    written = day_report.write(tmp_path)
    assert [path.name for path in written] == [day_report.TABLE, day_report.PICTURE]
    text = written[0].read_text()
    assert "| elements | 1,024 | 4,096 |" in text
    assert "| 1,000,000 | **0.10** | wrong result |" in text
    assert "1e8, plain" in text
    assert written[1].read_bytes().startswith(b"\x89PNG")


def test_where_nothing_was_measured_nothing_is_written(tmp_path: Path) -> None:
    keep(tmp_path, "rows", {}, "skipped")
    assert day_report.write(tmp_path) == []


def test_each_length_of_a_row_is_measured_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[tuple[int, int]] = []

    def measured(case: Case, budget: float) -> Row:
        bounds.append((tables.SHORTEST, tables.LONGEST))
        return {"correct": True, "ratio": 1.0}

    monkeypatch.setattr(measure, "measure", measured)
    monkeypatch.setattr(row_lengths, "needs_a_gpu", lambda: None)
    before = tables.SHORTEST, tables.LONGEST
    found = [value for _, value in row_lengths.row_lengths()]
    assert (tables.SHORTEST, tables.LONGEST) == before
    assert bounds == [(one["length"], one["length"]) for one in found]
    assert {(one["size"], one["length"]) for one in found} == {
        (size, length)
        for size in ("10,000", "100,000", "1,000,000", "10,000,000", "100,000,000", "ResNet-50")
        for length in (1024, 2048, 4096, 8192, 16_384)
    }
    assert before == (min(row_lengths.LENGTHS), max(row_lengths.LENGTHS))
