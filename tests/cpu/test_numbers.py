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


def test_few_numbers_are_left_to_python() -> None:
    program = specialize(number(lambda h: 1 - h.x))
    given = {"x": 5.0, "y": 3.0, "rate": 0.5, "step": 3.0, "learning_rate": 0.1}
    assert numbers.entry_of(program, program.scalars) is None
    assert numbers.numbers(program)(given).tolist() == list(compile_scalars(program)(given))


def test_a_remainder_is_that_of_python() -> None:
    """Exact, whatever the quotient; with the sign of what is divided by, also of a zero."""
    program, rng = specialize(number(lambda h: h.x % h.y), (), "float64"), np.random.default_rng(7)
    whole = np.round(np.exp(rng.random((200, 2)) * 30)) * rng.choice([-1.0, 1.0], (200, 2))
    drawn = np.exp(rng.normal(size=(300, 2)) * 200) * rng.choice([-1.0, 1.0], (300, 2))
    halves = rng.integers(0, 1 << 51, (100, 2)).view(np.float64)  # denormals
    given, found = np.zeros(2), np.zeros(1)
    entry = numbers.Entry(numbers.code_of(program, program.scalars).address)
    pairs = [*itertools.product(SPECIAL, SPECIAL), *whole.tolist(), *drawn.tolist(), *halves.tolist(), (1e308, 5e-324)]
    for x, y in pairs:
        given[:] = [{"x": x, "y": y}[name] for name in program.hypers]
        entry(given.ctypes.data, found.ctypes.data)
        with np.errstate(all="ignore"):
            assert_same_bits(found, np.array([np.mod(x, y)]), f"{x!r} % {y!r}")


def test_a_truth_is_one_or_zero() -> None:
    program = specialize(Rule("trial", lambda p, h: {p: where(h.step % h.x == 0, p, 2 * p)}, hypers={"x": 3.0}))
    given, found = np.zeros(len(program.hypers)), np.zeros(1)
    entry = numbers.Entry(numbers.code_of(program, program.scalars).address)
    for step in range(1, 8):
        given[:] = [{"x": 3.0, "step": step}[name] for name in program.hypers]
        entry(given.ctypes.data, found.ctypes.data)
        assert found[0] == (step % 3 == 0)


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
