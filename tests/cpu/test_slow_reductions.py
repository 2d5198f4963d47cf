"""Divisions and roots of what is reduced are done in whole vectors of float32, though sums are of float64."""

import numpy as np
import pytest
import run_rule

from rmsprop_jit.buckets import program_of
from rmsprop_jit.codegen import Expr, Rule, backends, specialize, sqrt, square, sum_of_squares
from rmsprop_jit.codegen.backends.cpu import frame
from rmsprop_jit.codegen.backends.cpu.vectors import loops
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.rules.table import TABLE


def by_a_norm(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """A step as long as the rate, of a direction that takes a root and a division to find."""
    direction = g / (sqrt(square(g) + 1) + p)
    return {p: p - h.learning_rate * direction / sqrt(sum_of_squares(direction))}


RULE = Rule("by_a_norm", by_a_norm)


@pytest.mark.parametrize(
    "rule", [TABLE["lamb"][0].rule, TABLE["stableadamw"][0].rule, RULE], ids=lambda rule: rule.name
)
def test_no_division_or_root_is_done_half_a_vector_at_a_time(rule: Rule) -> None:
    program = program_of(rule, (), "float32") if rule is not RULE else specialize(RULE)
    found = loops(program, str(backends.get("cpu").explain(program, "llvm", {})))
    assert [loop.elements * 32 for loop in found.values()] == [loop.bits for loop in found.values()]


@pytest.mark.parametrize(("dtype", "is_apart"), [("float32", True), ("float64", False)])
def test_only_what_is_narrower_than_the_sum_goes_through_a_buffer(dtype: str, is_apart: bool) -> None:
    assert ("singles(" in frame.source(specialize(RULE, (), dtype))) is is_apart
    norm = Rule("norm", lambda p, g, s, h, on: {p: p - g / sqrt(sum_of_squares(g))})
    assert "singles(" not in frame.source(specialize(norm, (), dtype))


@pytest.mark.parametrize("count", [1, 127, 128, 129, 5000])
def test_the_bits_are_those_of_the_interpreter(count: int) -> None:
    program, rng = specialize(RULE, ()), np.random.default_rng(count)
    tensors = run_rule.make_tensors(RULE, [count, 3], "float32", lambda size: rng.random(size))
    others = run_rule.copied(tensors)
    run_rule.run("cpu", program, tensors, run_rule.defaults(RULE))
    run_rule.run("reference", program, others, run_rule.defaults(RULE))
    for tensor, other in zip(tensors, others, strict=True):
        np.testing.assert_array_equal(tensor["parameter"], other["parameter"])
