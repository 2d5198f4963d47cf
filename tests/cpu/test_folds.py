"""Runs, columns and whole tensors as one number each: what vectors make of them is what the interpreter does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from run_rule import copied, run

from rmsprop_jit.codegen import (
    Expr,
    Rule,
    Slot,
    all_finite,
    explain,
    max_abs,
    max_of,
    min_of,
    specialize,
    sum_of,
    sum_of_squares,
    where,
)
from rmsprop_jit.codegen.backends.cpu.folds import WIDE
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.rules.table import TABLE


def all_are_finite(g: Expr, over: Any = "tensor") -> Expr:
    """As a number that is not 0 where some are not, too."""
    return where(all_finite(g, over=over), 1.0, 2.0)


WHAT = (sum_of, sum_of_squares, max_abs, max_of, min_of, all_are_finite)
EACH = [*((what, "float32") for what in WHAT), (sum_of, "float64"), (max_of, "float64")]
SHAPES = [(3, 1), (2, WIDE - 1), (WIDE, WIDE), (5, WIDE + 1), (40, 2 * WIDE + 7), (3, 700), (700, 3), (9, 600)]
STRANGE = (math.nan, math.inf, -math.inf, -0.0, 0.0)
SLOTS = {"rows": Slot(over=-1), "columns": Slot(over=-2), "all": Slot(over="tensor")}


def rule_of(what: Any) -> Rule:
    def equations(p: Expr, g: Expr, s: Names) -> dict[Expr, Expr]:
        found = {s.rows: what(g, over=-1), s.columns: what(g, over=-2), s.all: what(g)}
        return {**found, p: p - g * (s.rows + s.columns + s.all)}  # a slot that nobody reads is not kept

    return Rule(what.__name__, equations, slots=SLOTS)


def tensor_of(shape: tuple[int, ...], dtype: str, is_strange: bool) -> dict[str, Any]:
    """Whole numbers, so that sums are the same in any order; here and there what is none."""
    rng = np.random.default_rng(math.prod(shape))
    gradient = rng.integers(-90, 90, shape).astype(dtype)
    if is_strange:
        places = rng.integers(gradient.size, size=1 + gradient.size // 40)
        gradient.flat[places] = rng.choice(STRANGE, len(places))
    slots = {"rows": np.zeros(shape[0], dtype), "columns": np.zeros(shape[1], dtype), "all": np.zeros(())}
    return {"parameter": np.zeros(shape, dtype), "gradient": gradient, **slots}


@pytest.mark.parametrize("is_strange", [False, True], ids=["usual", "strange"])
@pytest.mark.parametrize(("what", "dtype"), EACH)
def test_what_is_reduced_is_what_the_interpreter_reduces(what: Any, dtype: str, is_strange: bool) -> None:
    program = specialize(rule_of(what), (), dtype)
    ours = [tensor_of(shape, dtype, is_strange) for shape in SHAPES]
    theirs = copied(ours)
    run("cpu", program, ours, {})
    run("reference", program, theirs, {})
    for one, other, shape in zip(ours, theirs, SHAPES, strict=True):
        for name in SLOTS:
            assert one[name].any(), shape
            np.testing.assert_array_equal(one[name], other[name], f"{name} of {shape}")


def ir_of(what: Any) -> str:
    rule = Rule("rows", lambda p, g, s: {s.r: what(g, over=-1), p: p - g * s.r}, slots={"r": Slot(over=-1)})
    return explain(rule, form="llvm")


def test_choices_are_made_in_the_type_of_the_numbers() -> None:
    """As float64, which sums need, they would take twice as many vectors."""
    assert f"fadd <{WIDE} x double>" in ir_of(sum_of)
    assert f"fcmp oge <{WIDE} x float>" in ir_of(max_of)


def test_what_is_reduced_twice_is_kept_once() -> None:
    """Along rows and along columns, as Adafactor's squares are."""
    source = explain(TABLE["adafactor"][0].rule, ("factored", "relative_step"), form="python")
    first = source.partition("def pass_0(")[2].partition("\ndef ")[0]
    assert first.count("[lane] = ") == 2
    assert first.count("sum_of_float32(beside_float32_0, ") == 2
