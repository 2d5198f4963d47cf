"""What heads make of tensors' own numbers is computed for all tensors at once, with the bits of the interpreter."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compare import assert_same_bits
from run_rule import copied, run

from rmsprop_jit.codegen import Expr, Hyper, Program, Rule, max_abs, rounded, specialize, sqrt, where
from rmsprop_jit.codegen.backends.cpu import ahead, axes_frame, jit, llvm
from rmsprop_jit.rules.by_tensor import by_tensor

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 5e-324, 1e-310, 1e308, np.inf, -np.inf, np.nan]

EQUATIONS: dict[str, Callable[[Any, Any], Expr]] = {
    "bias": lambda h, g: g * (1 - h.x) * sqrt(1 - h.x**h.step) / (1 - h.y**h.step),
    "rounded": lambda h, g: g * rounded(h.x**h.y) + h.x,
    "twice": lambda h, g: max_abs(g * h.x**h.y) * h.y**h.x,  # two heads, which call different numbers the same
    "reduced": lambda h, g: g * where((h.x**h.y > 0.5) & (max_abs(g) > 0.1), 2.0, max_abs(g) * h.x**h.y + h.y),
}


def program_of(name: str, dtype: str) -> Program:
    rule = Rule("trial", lambda p, g, h: {p: p - EQUATIONS[name](h, g)}, hypers={"x": 1.0, "y": 1.0})
    return specialize(by_tensor(rule, ["x", "y"]), (), dtype)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("bias", "float32"),
        ("bias", "float64"),
        ("rounded", "float32"),
        ("reduced", "float64"),
        ("twice", "float32"),
        ("twice", "float64"),
    ],
)
def test_what_is_ahead_has_the_bits_of_the_interpreter(name: str, dtype: str) -> None:
    program = program_of(name, dtype)
    assert ahead.ahead_of(program).lets
    rng = np.random.default_rng(11)
    drawn = np.exp(rng.normal(size=(100, 2)) * 15) * rng.choice([-1.0, 1.0], (100, 2))
    pairs = [*itertools.product(SPECIAL, SPECIAL), *drawn.tolist()]
    own = {"x": [x for x, _ in pairs], "y": [y for _, y in pairs]}
    tensors = [{"parameter": np.zeros(2, dtype), "gradient": np.array([0.5, 0.1], dtype)} for _ in pairs]
    ours, theirs = copied(tensors), copied(tensors)
    numbers = {"step": 3.0, "learning_rate": 0.1}
    run("cpu", program, ours, numbers, own)
    run("reference", program, theirs, numbers, own)
    for mine, known, (x, y) in zip(ours, theirs, pairs, strict=True):
        assert_same_bits(mine["parameter"], known["parameter"], f"{name} of {x!r}, {y!r}")


def test_heads_have_no_power_and_the_loop_over_tensors_is_vectorised() -> None:
    program = program_of("bias", "float32")
    found = ahead.ahead_of(program)
    assert "exponent" in str(program)
    assert "bits_of" not in axes_frame.source(program)
    assert len(found.lets) > 2 * 100
    assert len(found.columns) <= 3
    assert llvm.vector_bits(jit.from_fixed_loops(ahead.source(program, found), "trial").ir) >= 128


def test_few_numbers_stay_in_heads() -> None:
    rule = Rule("few", lambda p, g, h: {p: p - (1 - h.x) * g}, hypers={"x": Hyper(1.0, per="tensor")})
    assert ahead.ahead_of(specialize(rule)) == ahead.Ahead()
