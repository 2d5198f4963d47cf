"""Spoilt entries of the store are never run. FUZZ_CASES=10 tries ten times as many."""

import os

import pytest

from . import entries

TIMES = int(os.environ.get("FUZZ_CASES", "1"))
SEEDS = 34

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has no modes, pipes and owners of files")


@pytest.mark.parametrize("batch", range(3 * TIMES))
def test_spoilt_entries_are_made_anew(batch: int) -> None:
    assert entries.failures(range(batch * SEEDS, (batch + 1) * SEEDS)) == []


def test_a_process_that_ends_is_the_failure_of_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "BATCH_CODE", entries.BATCH_CODE + "\nimport os; os.abort()")
    (first, second) = entries.failures(range(1))
    assert "the process ended with -6 at 0" in first
    assert "the process ended with -6 at 0" in second
