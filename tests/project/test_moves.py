"""A call like the last one stays short for its reader; `moves.py` says how it is counted."""

import functools
from dataclasses import asdict
from typing import Any

import moves
import numpy as np
import pytest

import rmsprop_jit

MOST = {
    "steady": moves.Count(calls=11, files=5, moves=6),
    "fresh gradients": moves.Count(calls=19, files=8, moves=12),
}
"""Lower these when the code gets shorter. Every call looks at its arrays: they may have been changed in place."""

counts = functools.cache(moves.counts)


@pytest.mark.parametrize("name", MOST)
def test_a_call_takes_no_more_than_it_did(name: str) -> None:
    found, most = asdict(counts()[name]), asdict(MOST[name])
    assert all(0 < found[key] <= most[key] for key in most), f"found {found}, at most {most}"


def test_a_call_that_brings_no_inputs_is_like_others_though_its_rule_takes_some() -> None:
    variables, grads = ([np.ones(1000) for _ in range(moves.TENSORS)] for _ in range(2))
    optimizer = rmsprop_jit.Sophia(every=1e9)
    optimizer.apply(grads, variables, hessian=[np.ones(1000) for _ in variables])
    for _ in range(moves.SETTLING):
        optimizer.apply(grads)
    found = asdict(moves.count(lambda: optimizer.apply(grads)))
    most = asdict(moves.Count(calls=18, files=9, moves=12))  # the step decides a flag, and has other numbers
    assert all(0 < found[key] <= most[key] for key in most), f"found {found}, at most {most}"


def test_a_move_is_a_call_in_another_file_than_the_call_before() -> None:
    path, other = moves.PACKAGE / "a.py", moves.PACKAGE / "b.py"
    made: dict[str, Any] = {}
    for file, text in (
        (path, "def outer(inner):\n    inner(), inner()\n    [own() for _ in 'ab']\n\ndef own(): pass"),
        (other, "def inner(): return sum(i for i in steps())\n\ndef steps():\n    yield 1\n    yield 2"),
        (path.parent.parent / "c.py", "def outside(): pass"),
    ):
        exec(compile(text, str(file), "exec"), made)

    def call() -> None:
        made["outside"]()
        made["outer"](made["inner"])

    assert moves.count(call) == moves.Count(calls=7, files=2, moves=3)
