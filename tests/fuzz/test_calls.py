"""Random sequences of calls leave what a model in NumPy leaves. FUZZ_CASES=10 runs ten times as many."""

import os

import pytest

from . import calls

TIMES = int(os.environ.get("FUZZ_CASES", "1"))
SEEDS = 2


@pytest.mark.parametrize("batch", range(10 * TIMES))
def test_random_calls(batch: int) -> None:
    for seed in range(batch * SEEDS, (batch + 1) * SEEDS):
        if calls.failure(seed) is not None:
            pytest.fail(f"seed {seed}: {calls.report(seed)}")


@pytest.mark.parametrize("spoil", ["apply", "change", "load", "alone"])
def test_a_model_that_differs_is_noticed(spoil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from .model import Model

    monkeypatch.setattr(Model, spoil, lambda self, *_: None)
    assert any(calls.failure(seed) is not None for seed in range(20))


def test_a_power_whose_last_bit_is_not_that_of_c_is_the_model_s_too() -> None:
    """0.9 to the fourth: six calls with it, of another seed than those above."""
    assert calls.failure(31) is None, calls.report(31)
