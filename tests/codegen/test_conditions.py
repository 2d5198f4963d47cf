"""Conditions of conditions, where settling leaves truths as constants: right on every backend."""

import itertools
from typing import Any, Self

import numpy as np
import pytest
from compare import Array
from every_rule import some
from run_rule import defaults, make_tensors, run

from rmsprop_jit.codegen import Expr, Rule, explain, max_abs, specialize, where
from rmsprop_jit.codegen.names import Names

FLAGS = {"extra": False, "other": False}


def settled_to_a_truth(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """What is left of the inner choice is `where(g > 0, p > 0, False)`."""
    return {p: where(where(g > 0, p > 0, on.extra) | (g < -1), p - g, p)}


def of_two_truths(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {p: where(where(g > 0, on.extra, on.other), p - g, p + g)}


def nested(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    inner = where(p > 0, where(g > 1, on.extra, g < -1), ~on.other)
    return {p: where(where(inner, on.other, p > 1) & (g != 0), 2 * p, -g)}


def of_a_tensor(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    large = where(max_abs(g) > 2, max_abs(p) > 1, on.extra)
    return {p: where(large & where(g > 0, on.other, True & (p > 0)), p - g, p)}


def of_a_step(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    early = where(h.step < 3, on.extra, h.learning_rate > 0.01)
    return {p: where(early | where(g > 0, on.other, p > 0), p - h.learning_rate * g, p)}


def over_all(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    calm = where(max_abs(g, over="all") < 100, where(h.step > 1, on.extra, on.other), False)
    return {p: where(~calm, where(calm | (g > 0), p, -p), p * 3)}


RULES = [
    Rule(f.__name__, f, flags=FLAGS)
    for f in (settled_to_a_truth, of_two_truths, nested, of_a_tensor, of_a_step, over_all)
]
SETS = [(), ("extra",), ("other",), ("extra", "other")]


def by_hand(rule: Rule, flags: tuple[str, ...], p: Array, g: Array, numbers: dict[str, float]) -> Array:
    """The equations again, with truths, numbers and NumPy in place of expressions."""

    class On:
        extra, other = (np.bool_(name in flags) for name in ("extra", "other"))

    class H:
        step, learning_rate = numbers["step"], numbers["learning_rate"]

    equations: Any = rule.equations
    names = equations.__globals__
    kept = {name: names[name] for name in ("where", "max_abs")}
    names.update(where=np.where, max_abs=lambda x, over="": np.max(np.abs(x)))
    try:
        key = Key(p)
        value: Array = equations(key, g, None, H, On)[key]
        return value
    finally:
        names.update(kept)


class Key(np.ndarray[tuple[int, ...], np.dtype[Any]]):
    """An array that can be the key of a dict."""

    def __new__(cls, array: Array) -> Self:
        return array.view(cls)

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


@pytest.mark.parametrize(
    ("rule", "flags", "backend"),
    some(list(itertools.product(RULES, SETS, ["reference", "cpu", "cuda"])), "conditions", 31),
)
def test_conditions_that_settle_to_truths(rule: Rule, flags: tuple[str, ...], backend: str) -> None:
    values = np.array(list(itertools.product([-2.5, -1.0, -0.0, 0.5, 1.5], repeat=2)))
    for step, scale in ((1.0, 1.0), (5.0, 0.25)):
        tensors = make_tensors(rule, [len(values)], "float64", np.zeros)
        p, g = values.T * scale
        tensors[0]["parameter"][:], tensors[0]["gradient"][:] = p, g
        numbers = defaults(rule, step=step)
        run(backend, specialize(rule, flags, "float64"), tensors, numbers)
        np.testing.assert_array_equal(tensors[0]["parameter"], by_hand(rule, flags, p, g, numbers))


def test_truths_are_printed_as_truths() -> None:
    rule = RULES[0]
    assert "where(t0, t1, False)" in explain(rule)
    assert "t1 if t0 else False" in explain(rule, form="python")
    assert "arith.constant false" in explain(rule, form="mlir")
