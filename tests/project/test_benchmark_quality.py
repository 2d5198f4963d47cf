"""The benchmark of quality: runs of one seed begin alike and differ by their storage alone; a table and a picture."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import quality, quality_picture


def test_runs_of_one_seed_differ_by_their_storage_alone(tmp_path: Path) -> None:
    training = quality.Digits()
    names = ("float32", "bfloat16, to nearest")
    curves = {name: quality.trained(training, quality.WAYS[name], 0, steps=20) for name in names}
    assert curves["float32"] == quality.trained(training, quality.Way(), 0, steps=20)
    assert curves["float32"] != quality.trained(training, quality.Way(), 1, steps=20)
    (step, ours), (_, theirs) = curves["float32"][-1], curves["bfloat16, to nearest"][-1]
    assert step == 20
    assert ours != theirs
    assert abs(ours / theirs - 1) < 0.01
    results: quality.Results = {"digits": {name: {"0": curve} for name, curve in curves.items()}}
    lines = [*quality.rows(results)]
    assert [line[1] for line in lines] == [*names]
    assert all(len(line) == len(quality.HEAD) for line in lines)
    assert quality_picture.draw(results, tmp_path / "picture.png").stat().st_size > 1000


def test_the_kept_results_are_of_known_ways_and_have_float32_for_each_seed() -> None:
    for training, ways in quality.read().items():
        assert training in quality.TRAININGS
        assert {*ways} <= {*quality.WAYS}
        assert all({*curves} <= {*ways["float32"]} for curves in ways.values())
