"""Numbers of a step that machine code computes have the bits of those that Python does."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compare import assert_same_bits

from rmsprop_jit.codegen import (
    Expr,
    Rule,
    exp,
    log,
    maximum,
    minimum,
    ops,
    rounded,
    sign,
    specialize,
    sqrt,
    tanh,
    where,
)
from rmsprop_jit.codegen.backends.cpu import numbers
from rmsprop_jit.codegen.ops import Fn
from rmsprop_jit.codegen.scalars import compile_scalars

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 3.0, -2.5, 5e-324, 1e-310, 1e308, np.inf, -np.inf, np.nan]

EQUATIONS: dict[str, Callable[[Any], Expr]] = {
    "power": lambda h: h.x**h.y,
    "exp": lambda h: exp(h.x) + exp(h.y),
    "log": lambda h: log(h.x) / log(h.y),
    "tanh": lambda h: tanh(h.x) - tanh(h.y),
    "rounded": lambda h: rounded(h.x**h.y) * h.x,
    "choices": lambda h: (
        where((h.x > h.y) & ~(h.x == 2.0), sign(h.x), minimum(h.x, -h.y)) + exp(maximum(h.y, abs(h.x)))
    ),
    "bias": lambda h: h.rate * sqrt(1 - h.x**h.step) / (1 - h.y**h.step),
}


def number(equation: Callable[[Any], Expr]) -> Rule:
    return Rule("trial", lambda p, h: {p: p - equation(h)}, hypers={"x": 1.0, "y": 1.0, "rate": 0.5})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EQUATIONS)
def test_machine_code_gives_the_bits_of_python(name: str, dtype: str) -> None:
    program = specialize(number(EQUATIONS[name]), (), dtype)
    ours, theirs = numbers.numbers(program), compile_scalars(program)
    assert len(program.step) >= numbers.MANY
    rng = np.random.default_rng(11)
    drawn = np.exp(rng.normal(size=(300, 2)) * 15) * rng.choice([-1.0, 1.0], (300, 2))
    for x, y in [*itertools.product(SPECIAL, SPECIAL), *drawn.tolist()]:
        given = {"x": x, "y": y, "rate": 0.5, "step": 3.0, "learning_rate": 0.1}
        assert_same_bits(np.array(ours(given)), np.array(theirs(given)), f"{name} of {x!r}, {y!r}")


def test_few_numbers_and_remainders_are_left_to_python() -> None:
    few = specialize(number(lambda h: 1 - h.x))
    some = specialize(number(lambda h: exp(h.x % h.y)))
    assert len(few.step) < numbers.MANY <= len(some.step)
    for program in (few, some):
        given = {"x": 5.0, "y": 3.0, "rate": 0.5, "step": 3.0, "learning_rate": 0.1}
        assert numbers.numbers(program)(given).tolist() == list(compile_scalars(program)(given))


def test_a_root_in_python_is_not_numpys_and_has_its_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's takes twenty times as long, most of it to be told not to warn."""
    program = specialize(number(lambda h: sqrt(h.x)))
    asked: list[Fn] = []
    scalar = ops.scalar

    def noted(fn: Fn, *values: float) -> float | bool:
        asked.append(fn)
        return scalar(fn, *values)

    monkeypatch.setattr(ops, "scalar", noted)
    fast = compile_scalars(program)
    for x in SPECIAL:
        asked.clear()
        given = {"x": x, "y": 3.0, "rate": 0.5, "step": 3.0, "learning_rate": 0.1}
        found = fast(given)
        assert (Fn.SQRT in asked) == (x < 0), "only where Python has no answer"
        with np.errstate(invalid="ignore"):
            assert_same_bits(np.array(found), np.sqrt(np.array([x])), f"root of {x!r}")
