"""A training that is saved and loaded, here or in another process, copied or pickled, has the bits of one that is not.

FUZZ_CASES=10 tries ten times as many.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from every_rule import some
from interrupted import KINDS, WAYS, Elsewhere, Training, elsewhere, moved, seen

TIMES = int(os.environ.get("FUZZ_CASES", "1"))


@pytest.fixture(scope="module")
def other() -> Iterator[Elsewhere]:
    with elsewhere() as process:
        yield process


def assert_same(kind: str, seed: int, ways: list[str], path: Path, other: Elsewhere) -> None:
    """One training as a whole, and in as many parts as there are ways, each gone on with in that way."""
    training = Training(kind, seed)
    variables = {name: v.copy() for name, v in training.first.items()}
    whole = training.optimizer(variables)
    training.do(whole, 0, len(training.acts))
    parts = {name: v.copy() for name, v in training.first.items()}
    optimizer = training.optimizer(parts)
    cuts = np.linspace(0, len(training.acts), len(ways) + 2).astype(int).tolist()
    training.do(optimizer, 0, cuts[1])
    for way, begin, end in zip(ways, cuts[1:-1], cuts[2:], strict=True):
        optimizer, parts = moved(way, training, optimizer, parts, path, begin, end, other)
    one, two = seen(whole, variables), seen(optimizer, parts)
    assert one.keys() == two.keys()
    wrong = [name for name in one if one[name] != two[name]]
    assert not wrong, f"{kind}, seed {seed}, {ways}: {training.options}, {training.acts}"


@pytest.mark.parametrize("kind", some(KINDS, "interrupted", 20))
def test_every_rule_resumes_in_another_process(kind: str, tmp_path: Path, other: Elsewhere) -> None:
    assert_same(kind, KINDS.index(kind), ["process"], tmp_path / "state.safetensors", other)


@pytest.mark.parametrize("batch", range(4 * TIMES))
def test_any_sequence_of_interruptions(batch: int, tmp_path: Path, other: Elsewhere) -> None:
    for seed in range(batch * 5, batch * 5 + 5):
        rng = np.random.default_rng([seed, 8])
        ways = [WAYS[int(i)] for i in rng.integers(len(WAYS), size=3)]
        kind = "rmsprop" if seed % 2 else KINDS[int(rng.integers(len(KINDS)))]
        assert_same(kind, 1000 + seed, ways, tmp_path / "state.safetensors", other)
