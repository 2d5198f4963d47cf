"""Long and deep rules: lowering and printing take linear time and never recur over the depth of an expression."""

import itertools
import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from run_rule import copied, defaults, make_tensors, run

from rmsprop_jit.codegen import Expr, Rule, explain, max_abs, new, rounded, specialize, sqrt, sum_of, where
from rmsprop_jit.codegen.backends import mlir
from rmsprop_jit.codegen.backends.cpu import frame as cpu_frame
from rmsprop_jit.codegen.backends.cuda import frame
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.codegen.scalars import compile_scalars


def grown(x: Expr) -> Expr:
    """A value that is used twice, so that its text as a tree would double."""
    return x * x + x


def chain(
    steps: int, start: Callable[[Expr, Expr, Names], Expr], grow: Callable[[Expr], Expr] = grown
) -> Callable[[], Rule]:
    """A rule in which a value goes through an operation again and again."""

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        x = start(p, g, h)
        for _ in range(steps):
            x = grow(x)
        return {p: p - x * g}

    return lambda: Rule("chain", equations)


def nested(steps: int) -> Callable[[], Rule]:
    """A choice in a choice in a choice."""

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        x = h.learning_rate
        for i in range(steps):
            x = where(h.step > i, x * 0.5, x + i)
        return {p: p - x * g}

    return lambda: Rule("nested", equations)


def news(slots: int) -> Callable[[], Rule]:
    """New values that need each other, from the last to the first."""
    names = [f"x{i}" for i in range(slots)]

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Iterator[tuple[Expr, Expr]]:
        yield p, p - new(getattr(s, names[-1]))
        yield s.x0, s.x0 + g
        for before, after in itertools.pairwise(names):
            yield getattr(s, after), new(getattr(s, before)) * 0.5 + getattr(s, after)

    return lambda: Rule("news", equations, slots=dict.fromkeys(names, 0.0))


CASES = {
    "16 doublings of a step's number": chain(16, lambda p, g, h: h.learning_rate),
    "150 of a step's number": chain(150, lambda p, g, h: h.learning_rate),
    "900 of a step's number": chain(900, lambda p, g, h: h.learning_rate),
    "4000 of a step's number": chain(4000, lambda p, g, h: h.learning_rate),
    "4000 rounded remainders": chain(4000, lambda p, g, h: h.step, lambda x: rounded(x % 7.0 + 1.0)),
    "600 nested choices": nested(600),
    "500 over a tensor's sum": chain(500, lambda p, g, h: sum_of(g)),
    "500 over a sum of all": chain(500, lambda p, g, h: sum_of(g, over="all")),
    "500 choices over a maximum": chain(500, lambda p, g, h: max_abs(g), lambda x: where(x > 1, x, x + 1)),
    "4000 of an element": chain(4000, lambda p, g, h: g),
    "1000 new values": news(1000),
}
SECONDS = 5.0
"""Far more than any takes, and far less than what is not linear did: minutes, or for ever."""


@pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())
def test_a_deep_rule_is_lowered_and_printed_in_linear_time(make: Callable[[], Rule]) -> None:
    begin = time.process_time()
    rule = make()
    program = specialize(rule)
    compile_scalars(program)
    for text in (cpu_frame.source(program), mlir.source(program), str(program), explain(rule, form="rule")):
        assert len(text) < 1_000_000
    assert all(len(kernel.text) < 1_000_000 for kernel in frame.sources(program))
    assert time.process_time() - begin < SECONDS


@pytest.mark.parametrize("steps", [16, 900])
def test_twice_as_deep_takes_twice_as_long(steps: int) -> None:
    def seconds(n: int) -> float:
        best = math.inf
        for _ in range(3):
            begin = time.process_time()
            specialize(chain(n, lambda p, g, h: h.learning_rate + sum_of(p))())
            best = min(best, time.process_time() - begin)
        return best

    assert seconds(4 * steps) < 8 * seconds(steps) + 0.01


def test_the_numbers_of_a_deep_step_are_right() -> None:
    rule = chain(150, lambda p, g, h: h.learning_rate, lambda x: sqrt(x * x + x))()
    value = 0.05
    for _ in range(150):
        value = math.sqrt(value * value + value)
    assert compile_scalars(specialize(rule))(defaults(rule)) == (value,)


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_a_deep_rule_over_a_reduction_runs(backend: str) -> None:
    rule = chain(60, lambda p, g, h: sum_of(g, over="all"), lambda x: where(x > 2.0, x / 2.0, x + x * 0.25))()
    tensors = make_tensors(rule, [3, 5], "float64", np.ones)
    expected = copied(tensors)
    run(backend, specialize(rule, dtype="float64"), tensors, defaults(rule))
    run("reference", specialize(rule, dtype="float64"), expected, defaults(rule))
    for ours, theirs in zip(tensors, expected, strict=True):
        np.testing.assert_array_equal(ours["parameter"], theirs["parameter"])
