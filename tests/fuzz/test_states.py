"""Spoilt states are taken whole or refused whole. FUZZ_CASES=10 tries ten times as many."""

import os

import pytest

from . import states

TIMES = int(os.environ.get("FUZZ_CASES", "1"))
SEEDS = 40


@pytest.mark.parametrize("batch", range(8 * TIMES))
def test_spoilt_states(batch: int) -> None:
    for seed in range(batch * SEEDS, (batch + 1) * SEEDS):
        problem = states.failure(seed)
        if problem is not None:
            raise problem
