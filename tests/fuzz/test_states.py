"""Spoilt states are taken whole or refused whole. FUZZ_CASES=10 tries ten times as many."""

import os
import subprocess
import sys
from pathlib import Path

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


def test_any_number_of_cases_is_run_by_a_command() -> None:
    folder = Path(__file__).parent
    command = [sys.executable, str(folder), "--what", "states", "--cases", "3", "--seed", "77"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder.parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 states from seed 77: 0 wrong" in done.stdout
