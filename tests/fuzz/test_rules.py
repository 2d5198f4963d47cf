"""Random rules give what their equations say, on every backend.

FUZZ_CASES=10 runs ten times as many as by default; `python tests/fuzz` runs any number.
"""

import os
from collections import Counter

import numpy as np
import pytest

from rmsprop_jit import codegen

from . import equations, ranges, rules
from .equations import operations
from .grammar import spec
from .trees import COMPARISONS, INFIX, LIBRARY, LOGIC, REDUCTIONS

TIMES = int(os.environ.get("FUZZ_CASES", "1"))
BATCHES = {"reference": (12, 15), "cpu": (8, 3), "cuda": (8, 2), "mlir": (3, 1)}
"""Batches of each backend, and seeds of a batch."""


@pytest.mark.parametrize(
    ("backend", "batch"),
    [(backend, batch) for backend, (count, _) in BATCHES.items() for batch in range(count * TIMES)],
)
def test_random_rules(backend: str, batch: int) -> None:
    if backend == "mlir":
        pytest.importorskip("iree.compiler", reason="the extra `mlir` is not installed")
        pytest.importorskip("iree.runtime", reason="the extra `mlir` is not installed")
    size, seen = BATCHES[backend][1], Counter[str]()
    for seed in range(batch * size, (batch + 1) * size):
        made = rules.case(seed, backend)
        if rules.failure(made, backend, seen) is not None:
            pytest.fail(f"seed {seed} on {backend}: {rules.report(made, backend)}")
    assert seen["unchecked"] <= max(seen["exact"], seen["not compiled"])


def test_every_operation_occurs() -> None:
    found: set[str] = set().union(*(operations(spec(seed, rules.ANYTHING)) for seed in range(60)))
    functions = {"sqrt", "square", "sign", "abs", "neg", "minimum", "maximum", "clip", "where", "rounded", "not"}
    leaves = {"parameter", "gradient", "slot", "new", "step", "own", "flag", "const"}
    assert found == {*INFIX, *COMPARISONS, *LOGIC, *LIBRARY, *REDUCTIONS, *functions, *leaves}


@pytest.mark.parametrize("spoil", ["add", "maximum", "sign", "where", "sum_of", "rounded"])
def test_a_wrong_operation_is_found_and_made_small(spoil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"where": lambda c, a, b: b, "sum_of": lambda x, over: 2 * x, "rounded": lambda x: x + 1e-3}
    if spoil in equations.OPERATORS:
        monkeypatch.setitem(equations.OPERATORS, spoil, wrong.get(spoil, lambda x, *y: x * 1.001))
    else:
        monkeypatch.setattr(codegen, spoil, wrong[spoil])
    for seed in range(200):
        made = rules.case(seed, "reference")
        if spoil in operations(made) and isinstance(rules.failure(made, "reference"), rules.Wrong):
            break
    small = rules.shrunk(made, lambda one: rules.failure(one, "reference"))
    assert spoil in operations(small)
    assert len(operations(small)) <= max(8, len(operations(made)) // 2)


def test_ranges_hold_what_can_come_out() -> None:
    rng = np.random.default_rng(0)
    for fn, op in {np.add: ranges.add, np.subtract: ranges.subtract, np.multiply: ranges.multiply,
                   np.divide: ranges.divide}.items():  # fmt: skip
        ends = [np.sort(rng.choice([-np.inf, -2.0, -1e-30, -0.0, 0.0, 0.5, 3e38, np.inf], (2, 4000)), 0) for _ in "xy"]
        x, y = (ranges.Range(lo, hi, np.zeros(4000, bool)) for lo, hi in ends)
        with np.errstate(all="ignore"):
            found = op(x, y)
            for _ in range(20):
                a, b = (np.clip(rng.choice([*ends[0][0], *ends[1][1]], 4000), lo, hi) for lo, hi in ends)
                result = fn(a, b)
                inside = found.wild | ((found.lo <= result) & (result <= found.hi)) | (np.isnan(result) & found.is_nan)
                assert inside.all()
