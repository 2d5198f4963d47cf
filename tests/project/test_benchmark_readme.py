"""The README says of speed what the kept results say, and the pictures show both sides of each pair."""

import copy
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import __main__ as command_line
from benchmarks import drawing, picture, readme, report
from benchmarks.cases import CASES, Case
from benchmarks.cuda.cases import SWEEP_PEERS as PEERS_ON_GPU
from benchmarks.rows import Row

KEPT = sorted(report.RESULTS.glob("*.json"))
README = readme.README.read_text(encoding="utf-8")

OKABE_ITO = {"#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}
MACHINE = {"processor": "a processor", "threads": 2, "date": "2026-01-31"}


def figures(ours: float, theirs: float) -> Row:
    ratio = theirs / ours
    spread = {"ours_p10_p90_s": [ours / 2, 2 * ours], "theirs_p10_p90_s": [theirs / 2, 2 * theirs]}
    about = {"ours_s": ours, "theirs_s": theirs, "ratio": ratio, "ratio_p10_p90": [ratio / 4, 4 * ratio]}
    return {"correct": True, **about, **spread}


def case(against: str, row: Row, name: str = "16.7 M, plain") -> Row:
    return Case(name, [], {}, against, 1.0).about() | row


def point(against: str, axis: str, at: int, row: Row) -> Row:
    return {"axis": axis, "at": at, **Case(f"sweep, {axis} {at:,}", [], {}, against, 0.0).about(), **row}


RESULTS: dict[str, Any] = {
    "schema": 2,
    "machine": MACHINE,
    "cases": [
        case("ceiling", figures(7e-3, 7e-3)),
        case("torch.compile", figures(8e-3, 6e-3)),
        case("numpy", {"correct": False}),
        case("optax jitted", {"failed": "its process was ended by SIGSEGV"}),
    ],
    "sweep": [
        point("torch.compile", "size", 10**8, figures(43e-3, 41e-3)),
        point("torch.compile", "size", 10, figures(1e-6, 9e-6)),
        point("torch.compile", "count", 1000, {"missing": "so many tensors compile for many minutes"}),
        point("numpy", "size", 10, figures(2e-6, 8e-6)),
        point("numpy", "count", 10, {"failed": "MemoryError: "}),
    ],
}
PLACE = "# A\n<!-- benchmarks cpu, in short -->\nold\n<!-- end -->\nB\n<!-- benchmarks cpu -->\nold\n<!-- end -->\nC\n"


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_the_readme_is_what_the_kept_results_write(path: Path) -> None:
    results = report.read(path)
    assert readme.updated(README, path.stem, results) == README
    assert f"results/{path.stem}.png" in README
    with Image.open(path.with_suffix(".png")) as drawn:
        assert drawn.info["Comment"] == picture.source(drawing.drawn(path.stem, results), results["machine"])
    for row in results["cases"] if path.stem not in readme.TABLES else ():
        assert report.markdown([row]).splitlines()[-1] in README
    results["cases"][0]["ratio"] += 0.5
    assert readme.updated(README, path.stem, results) != README


def test_the_kept_results_have_a_row_for_every_case() -> None:
    rows = {(row["case"], row["against"]) for row in report.read(report.RESULTS / "cpu.json")["cases"]}
    assert {(case.name, case.against) for case in CASES} <= rows


def test_no_ratio_of_a_benchmark_is_typed_by_hand() -> None:
    """Outside the marks, the README claims no times and no ratios."""
    by_hand = re.sub(r"<!-- benchmarks .*?<!-- end -->", "", README, flags=re.DOTALL)
    assert not re.findall(r"[\d.]+ (?:ms|us|times|x faster)\b", by_hand)


def test_rows_that_are_lost_wrong_or_failed_stand_in_the_table() -> None:
    table = readme.table(RESULTS)
    assert "2 cores, a processor, 2026-01-31" in table
    assert "| 16.7 M, plain | torch.compile | 8 ms (4 to 16) | 6 ms (3 to 12) | 0.75 (0.188 to 3) | 1 | no |" in table
    assert "| 16.7 M, plain | numpy |  |  |  | 1 | failed: wrong result, not timed |" in table
    assert "| 16.7 M, plain | optax jitted |  |  |  | 1 | failed: its process was ended by SIGSEGV |" in table
    assert "| sweep, count 10 | numpy |  |  |  |  | failed: MemoryError: |" in table


def test_what_we_lose_is_said_in_words_too() -> None:
    words = readme.lost(RESULTS["cases"], RESULTS["sweep"])
    assert "3 of 4 rows: 16.7 M, plain, against torch.compile (0.75 of 1); " in words
    assert "less time** in 1 of 2 rows: 16.7 M, plain, against torch.compile (0.75)." in words
    assert (
        "less time** in 1 of 3 points of the picture: sweep, size 100,000,000, against torch.compile (0.953)." in words
    )
    assert "torch.compile, count 1,000 (skipped: so many tensors" in words


def test_the_headline_names_every_side_slower_or_faster() -> None:
    text = readme.headline(RESULTS)
    assert "**7 ms (3.5 to 14)** on 2 cores, a processor, 2026-01-31" in text
    assert "torch.compile 0.75, loads and stores alone 1, numpy without a figure (failed: wrong result" in text


def test_only_what_stands_between_the_marks_is_written() -> None:
    text = readme.updated(PLACE, "cpu", RESULTS)
    assert re.sub(r"(<!-- b[^>]*-->\n).*?(\n<!-- end)", r"\1old\2", text, flags=re.DOTALL) == PLACE
    assert readme.updated(text, "cpu", RESULTS) == text
    with pytest.raises(ValueError, match="no place for these results: a line '<!-- benchmarks cuda -->'"):
        readme.updated(PLACE, "cuda", RESULTS)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results, with a README beside them."""
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    readme.README.write_text(PLACE)
    return tmp_path


def test_the_command_writes_the_readme_and_the_picture(kept: Path) -> None:
    (kept / "cpu.json").write_text(json.dumps(RESULTS))
    command_line.main(["readme"])
    assert readme.README.read_text() == readme.updated(PLACE, "cpu", RESULTS)
    assert (kept / "cpu.png").stat().st_size > 10_000


@pytest.mark.parametrize(("schema", "words"), [(1, "Received: 1. Measure again"), (None, "no results at")])
def test_the_command_refuses_other_results(
    kept: Path, schema: int | None, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if schema is not None:
        (kept / "cpu.json").write_text(json.dumps(RESULTS | {"schema": schema}))
    with pytest.raises(SystemExit) as ended:
        command_line.main(["readme"])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
    assert readme.README.read_text() == PLACE


def test_a_picture_is_of_pairs_and_their_medians() -> None:
    compiled, numpy = picture.lines_of(RESULTS["sweep"], "size")
    assert [(row["at"], row["ours_s"], row["theirs_s"]) for row in compiled.points] == [
        (10, 1e-6, 9e-6),
        (10**8, 43e-3, 41e-3),
    ]
    assert [(row["ours_s"], row["theirs_s"]) for row in numpy.points] == [(2e-6, 8e-6)]


def test_a_line_is_broken_where_a_point_has_no_figures() -> None:
    """A line over the gap would show what was never measured."""
    sweep = [point("numpy", "size", at, figures(1e-6, 2e-6)) for at in (10, 100, 1000)]
    sweep[1] = point("numpy", "size", 100, {"correct": False})
    (line,), drawn = picture.lines_of(sweep, "size"), Drawn()
    line.draw(drawn, "theirs_s", "theirs_p10_p90_s")
    assert drawn.at == [10, 100, 1000]
    assert drawn.values == pytest.approx([2e-6, math.nan, 2e-6], nan_ok=True)
    assert drawn.low == pytest.approx([1e-6, math.nan, 1e-6], nan_ok=True)


class Drawn:
    """Axes that keep what they are told to draw."""

    def plot(self, at: list[int], values: list[float], **_: Any) -> None:
        self.at, self.values = at, values

    def fill_between(self, _at: list[int], low: list[float], _high: list[float], **_: Any) -> None:
        self.low = list(low)

    vlines = fill_between


def test_lines_are_told_apart_without_colours_and_by_colour_blind_eyes() -> None:
    assert set(picture.COLOURS) <= OKABE_ITO
    for look in (picture.COLOURS, picture.MARKERS):
        assert len(set(look)) == len(look) >= max(len(command_line.SWEEP_PEERS), len(PEERS_ON_GPU))


def test_a_peer_without_figures_takes_no_colour_of_another() -> None:
    sweep = copy.deepcopy(RESULTS["sweep"])
    before = [(line.peer, line.look) for line in picture.lines_of(sweep, "size")]
    for row in sweep[:2]:
        row["correct"] = False
    assert [(line.peer, line.look) for line in picture.lines_of(sweep, "size")] == before


def test_a_picture_says_what_it_does_not_show() -> None:
    more = point("torch.compile", "count", 10_000, {"missing": RESULTS["sweep"][2]["missing"]})
    assert report.notes([more, *RESULTS["sweep"]]) == [
        "torch.compile, count 10,000 and count 1,000 (skipped: so many tensors compile for many minutes)",
        "numpy, count 10 (failed: MemoryError: )",
    ]
