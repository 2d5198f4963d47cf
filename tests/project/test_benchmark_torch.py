"""`python -m benchmarks torch`: what it measures is right, and kept results have a row for every case."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from benchmarks import of_torch, report
from benchmarks.of_torch import BOUND, CEILING, FOREACH, OfTorch
from benchmarks.rows import has_figures

with_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")


@with_torch
@pytest.mark.parametrize("against", [CEILING, FOREACH, BOUND])
def test_a_case_is_checked_and_timed(against: str) -> None:
    row = of_torch.measure(OfTorch("small", [(3, 4), (5,)], {}, against, 1.0, shown=against == FOREACH), 0.02)
    assert row["correct"]
    assert row["ours_s"] > 0
    assert row["theirs_s"] == of_torch.MOST or against != BOUND


@with_torch
def test_a_wrong_step_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    class Other(torch.optim.RMSprop):  # type: ignore[misc]
        def __init__(self, parameters: Any, **options: Any) -> None:
            super().__init__(parameters, **{**options, "alpha": 0.5})

    monkeypatch.setattr(torch.optim, "RMSprop", Other)
    assert of_torch.measure(OfTorch("small", [(3,)], {}, FOREACH, 1.0), 0.02) == {"correct": False}


@with_torch
def test_the_ceiling_changes_nothing_and_runs_on_the_same_memory() -> None:
    import torch

    from rmsprop_jit.torch import RMSprop

    made = [torch.nn.Parameter(torch.ones(5))]
    made[0].grad = torch.ones(5)
    optimizer = RMSprop(made)
    optimizer.step()
    before = made[0].detach().clone()
    of_torch.ceiling(optimizer, made)()
    assert torch.equal(made[0], before)


def test_the_kept_results_have_a_row_for_every_case() -> None:
    kept = report.read(report.RESULTS / "torch.json")
    rows = {(row["case"], row["against"]): row for row in kept["cases"]}
    assert {(case.name, case.against) for case in of_torch.CASES} == {*rows}
    assert all(map(has_figures, rows.values()))
    assert {row["against"] for row in kept["sweep"]} == {of_torch.PEER}
