"""Runs, columns and whole tensors as one number each: what vectors make of them is what the interpreter does."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from compare import Array, assert_same_bits
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
from rmsprop_jit.codegen.backends.cpu import axes_frame, jit
from rmsprop_jit.codegen.backends.cpu.folds import FEW, WIDE
from rmsprop_jit.codegen.backends.cpu.frame import LANES
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


def in_lanes(elements: Array, join: Any, start: float) -> float:
    """What elements come to in LANES lanes, which are then joined as a binary tree."""
    lanes = np.full(LANES, start)
    with np.errstate(all="ignore"):
        for begin in range(0, elements.size, LANES):
            block = elements[begin : begin + LANES].astype(np.float64)
            lanes[: block.size] = join(lanes[: block.size], block)
        while lanes.size > 1:
            lanes = join(lanes[: lanes.size // 2], lanes[lanes.size // 2 :])
    return float(lanes[0])


JOINED: list[tuple[Any, Any, Any, float]] = [
    (sum_of, lambda x: x, np.add, 0.0),
    (sum_of_squares, np.square, np.add, 0.0),
    (max_abs, np.abs, np.maximum, 0.0),
    (max_of, lambda x: x, np.maximum, -math.inf),
    (min_of, lambda x: x, np.minimum, math.inf),
]
"""A reduction, what becomes of an element in float64, how two are joined, and what lanes begin as."""


@pytest.mark.parametrize(("what", "element", "join", "start"), JOINED)
def test_rows_of_few_elements_have_the_bits_of_all_lanes(what: Any, element: Any, join: Any, start: float) -> None:
    program = specialize(Rule("few", lambda p, g: {p: 0 * p + what(g)}), (), "float64")
    sizes, rng = [1, 2, FEW - 1, FEW, FEW + 1, LANES - 1, LANES, LANES + 1, 3 * LANES], np.random.default_rng(4)
    gradients = [rng.normal(size=size) for size in sizes for _ in range(len(STRANGE) + 1)]
    for gradient, strange in zip(gradients, itertools.cycle([1.0, *STRANGE]), strict=False):
        gradient[gradient.size // 2] = strange
    gradients.append(np.full(3, -0.0))
    tensors = [{"parameter": np.zeros(one.size), "gradient": one} for one in gradients]
    run("cpu", program, tensors, {})
    for gradient, tensor in zip(gradients, tensors, strict=True):
        with np.errstate(all="ignore"):
            expected = 0.0 + in_lanes(element(gradient), join, start)
        assert_same_bits(tensor["parameter"][:1], np.array([expected]), f"{what.__name__} of {gradient!r}")


def test_lanes_of_few_elements_are_folded_alone() -> None:
    program = specialize(Rule("few", lambda p, g: {p: p + sum_of(g)}))
    assert f"phi <{FEW} x double>" in jit.code(axes_frame.source(program)).machine_code.ir
