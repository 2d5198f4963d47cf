"""Rules and dialects against torch and optax: against what they have answered once, and themselves where they are."""

import importlib.util
from typing import Any

import numpy as np
import pytest
from compare import Array
from every_rule import ALL
from judges import JUDGES, RECORD, Case, Judged, cases, key
from record_judges import ANSWERS

import rmsprop_jit

DTYPES = {"float64": 1e-9, "float32": 5e-5}
"""How far a result may be from the judge's, as a part of the largest weight."""

EVERY = [(judge, judged) for judge, each in JUDGES.items() for judged in each]
each_judged = pytest.mark.parametrize(("judge", "judged"), EVERY, ids=[key(*one) for one in EVERY])

OVER_AXES = {("optax", "Adafactor"), ("optax", "SM3"), ("torch", "Adafactor")}
"""Of which kernels compile for seconds."""


def recorded(judge: str, judged: Judged) -> Array:
    """A row for each case."""
    with np.load(RECORD, allow_pickle=False) as record:
        found: Array = record[key(judge, judged)]
        return found


def trained(case: Case, dtype: str) -> Array:
    """What ours makes of the variables of a case, as one array."""
    own = {"dialect": case.judged.dialect} if case.judged.dialect else {}
    optimizer: Any = getattr(rmsprop_jit, case.judged.ours)(**case.options, **own)
    variables = [one.astype(dtype) for one in case.variables()]
    for gradients in case.gradients():
        optimizer.apply([one.astype(dtype) for one in gradients], variables)
    return np.concatenate([one.ravel() for one in variables])


def off(case: Case, answer: Array, dtype: str) -> float:
    """How far ours is from an answer."""
    return float(np.max(np.abs(trained(case, dtype) - answer)) / np.max(np.abs(answer)))


@pytest.mark.parametrize("dtype", DTYPES)
@each_judged
def test_its_numbers_are_the_judges(judge: str, judged: Judged, dtype: str) -> None:
    if not ALL and (judge, judged.ours) in OVER_AXES and (judge, dtype) != ("torch", "float64"):
        pytest.skip("kernels over axes compile for seconds: RMSPROP_JIT_ALL_RULES=1 tries all")
    answers = recorded(judge, judged)
    asked = cases(judged)
    assert len(asked) == len(answers)
    for case, answer in zip(asked, answers, strict=True):
        start = np.concatenate([one.ravel() for one in case.variables()])
        assert np.abs(answer - start).max() > 1e-2
        found = off(case, answer, dtype)
        assert found <= DTYPES[dtype], f"{case.options}: off by {found}"


@each_judged
def test_the_record_is_what_the_judge_says(judge: str, judged: Judged) -> None:
    if importlib.util.find_spec(judge) is None:
        pytest.skip(f"{judge} is not installed")
    for case, answer in [*zip(cases(judged), recorded(judge, judged), strict=True)][-3:]:
        np.testing.assert_allclose(ANSWERS[judge](case), answer, rtol=1e-11, atol=1e-12)


def test_nothing_else_is_recorded() -> None:
    with np.load(RECORD, allow_pickle=False) as record:
        assert {*record} == {*JUDGES, *(key(*one) for one in EVERY)}
        assert (str(record["optax"]), str(record["torch"]).split("+")[0]) == ("0.2.8", "2.14.1")
    assert RECORD.stat().st_size < 300_000


APART = {"Muon"}
"""Judged in tests/tensors/test_torch_muon.py: its iteration is in bfloat16, and has to be kept from that."""


def test_every_dialect_of_torch_is_judged() -> None:
    from rmsprop_jit.rules.table import TABLE

    speaking = {made.__name__ for row, made in TABLE.values() if "torch" in row.dialects}
    assert speaking == {judged.ours for judged in JUDGES["torch"] if judged.dialect} | APART
