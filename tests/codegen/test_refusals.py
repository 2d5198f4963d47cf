"""Habits of NumPy, torch and Python in a rule: a RuleError with what to write instead, or (numbers) what was meant."""

import math
import pickle
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rmsprop_jit import codegen
from rmsprop_jit.codegen import Expr, Rule, RuleError, Slot, functions, sum_of, sum_of_squares, where
from rmsprop_jit.codegen.expr import Symbol
from rmsprop_jit.codegen.kinds import Kind
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.codegen.refusals import SAME

P: Any = Symbol(Kind.PARAMETER, "parameter")
G: Any = Symbol(Kind.GRADIENT, "gradient")

HABITS: dict[str, tuple[Callable[[], object], str]] = {
    "np.sqrt": (lambda: np.sqrt(G), r"numpy\.sqrt .* Received: `gradient`\. Write sqrt\(\.\.\.\) of rmsprop_jit"),
    "np.maximum": (lambda: np.maximum(G, 0), r"Write maximum\(\.\.\.\)"),
    "np.where": (lambda: np.where(G > 0, G, P), r"numpy\.where .*Write where\(\.\.\.\)"),
    "np.clip": (lambda: np.clip(G, -1, 1), r"Write clip\(\.\.\.\)"),
    "np.abs": (lambda: np.abs(G), r"Write abs\(x\)"),
    "np.multiply": (lambda: np.multiply(G, G), r"Write x \* y"),
    "np.add with out": (lambda: np.add(np.float32(1), G, out=np.zeros(1)), r"Write x \+ y"),
    "np.maximum.reduce": (lambda: np.maximum.reduce(G), r"numpy\.maximum\.reduce .*functions of rmsprop_jit"),
    "np.arctan": (lambda: np.arctan(G), r"Write it with the operators .*functions of rmsprop_jit"),
    "np.sum": (lambda: np.sum(G), r"Write sum_of\(x\)"),
    "np.mean": (lambda: np.mean(G), r"Write mean_of\(x\)"),
    "np.linalg.norm": (lambda: np.linalg.norm(G), r"Write sqrt\(sum_of_squares\(x\)\)"),
    "np.dot": (lambda: np.dot(G, P), r"Write sum_of\(x \* y\)"),
    "np.zeros_like": (lambda: np.zeros_like(G), r"Write 0\.0"),
    "np.asarray": (lambda: np.asarray(G), r"Use the expression itself"),
    "np.array of two": (lambda: np.array([G, P]), r"Use the expression itself"),
    "array on the left": (lambda: np.ones(3) * G, r"Received: array\(.*Arrays enter a rule as slots"),
    "array on the right": (lambda: G * np.ones(3), r"Received: array\(.*Arrays enter a rule as slots"),
    "array compared": (lambda: np.ones(3) < G, r"Arrays enter a rule as slots"),
    "complex of NumPy": (lambda: np.complex64(1j) * G, r"an expression or a number is needed"),
    "truth of NumPy": (lambda: np.True_ * G, r"needs a number"),
    "//": (lambda: P // 2, r"division with // .*Received: `parameter`\. Write x / y"),
    "// on the right": (lambda: 2 // P, r"Write x / y"),
    "// of NumPy's": (lambda: np.float32(2) // P, r"Write x / y"),
    "divmod": (lambda: divmod(P, 2), r"Write x / y"),
    "%": (lambda: P % 2, r"known before the step\. Received: `parameter`\. Use hyperparameters"),
    "@": (lambda: G @ P, r"Write sum_of\(x \* y\)"),
    "@ of an array": (lambda: np.ones((2, 2)) @ G, r"Arrays enter a rule as slots"),
    "^": (lambda: P ^ 2, r"Write x \*\* y"),
    "<<": (lambda: P << 2, r"Write x \* 2\.0\*\*n"),
    "[0]": (lambda: G[0], r"taking elements out .* one element, whatever the array's shape"),
    "[0] = 1": (lambda: G.__setitem__(0, 1), r"one element, whatever"),
    "list": (lambda: list(G), r"one element, whatever"),
    "unpacking": (lambda: [*G], r"one element, whatever"),
    "in": (lambda: P in G, r"one element, whatever"),
    "len": (lambda: len(G), r"len\(\.\.\.\) .*one element, whatever"),
    "float": (lambda: float(G), r"`gradient` has no value while a rule is being written"),
    "complex": (lambda: complex(G), r"has no value while"),
    "round": (lambda: round(G), r"rounding .*a rule has no rounding to whole numbers"),
    "round to digits": (lambda: round(G, 2), r"a rule has no rounding"),
    "math.floor": (lambda: math.floor(G), r"a rule has no rounding"),
    "math.ceil": (lambda: math.ceil(G), r"a rule has no rounding"),
    "math.trunc": (lambda: math.trunc(G), r"a rule has no rounding"),
    "shape": (lambda: P.shape, r"no attribute 'shape'\. Received: `parameter`, then \.shape\. Leave it out"),
    "mean": (lambda: G.mean(), r"no attribute 'mean'.*Write mean_of\(x\)"),
    "size": (lambda: G.size, r"no attribute 'size'.*Write size\(\.\.\.\) of rmsprop_jit.codegen"),
    "sum": (lambda: G.sum(axis=0), r"Write sum_of\(x\)"),
    "norm": (lambda: (G * 2).norm(), r"Received: `gradient \* 2`, then \.norm\. Write sqrt\(sum_of_squares"),
    "in place": (lambda: P.add_(G), r"no attribute 'add_'.*Write x \+ y"),
    "detach": (lambda: G.detach(), r"Use the expression itself"),
    "an unknown one": (lambda: G.velocity, r"no attribute 'velocity'.*Write it with the operators"),
    "axis": (lambda: sum_of_squares(G, axis=-1), r"sum_of_squares\(x, over=\) has no argument 'axis'.*axis=-1.*Leave"),
    "an array of axes": (lambda: sum_of(G, np.array([0, 1])), r"is 'tensor' or 'all'"),
    "too large an int": (lambda: 10**400 * P, r"float64, .*Received: an integer of 1329 bits\. Write math\.inf"),
    "far too large an int": (lambda: P + 10**5000, r"Received: an integer of 16610 bits"),
}


@pytest.mark.parametrize(("habit", "message"), HABITS.values(), ids=HABITS.keys())
def test_a_habit_is_answered_with_what_to_write(habit: Callable[[], object], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        habit()


def test_functions_of_the_same_name_are_known_as_such() -> None:
    assert set(SAME) == {name for name in functions.__all__ if hasattr(np, name)}


def test_other_objects_may_be_asked_what_they_have() -> None:
    assert not hasattr(G, "shape")
    assert getattr(G, "value", None) is None
    assert not hasattr(G, "_repr_html_")


NUMBERS: list[Any] = [
    np.float32(2),
    np.float64(2),
    np.float16(2),
    np.int64(2),
    np.uint8(2),
    np.longdouble(2),
    np.array(2),
]
OPERATORS: dict[str, Callable[[Any, Any], object]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "**": lambda x, y: x**y,
    "<": lambda x, y: x < y,
    "<=": lambda x, y: x <= y,
    ">": lambda x, y: x > y,
    ">=": lambda x, y: x >= y,
    "==": lambda x, y: x == y,
    "!=": lambda x, y: x != y,
}


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.dtype.name + str(number.shape))
@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())
def test_numbers_of_numpy_are_numbers(operator: Callable[[Any, Any], object], number: Any) -> None:
    assert operator(G, number) is operator(G, 2)
    assert operator(number, G) is operator(2, G)


def test_truths_of_numpy_are_truths() -> None:
    condition = G > 0
    assert (condition & np.True_) is (condition & True)
    assert str(np.True_ & condition) == "True & (gradient > 0)"
    assert str(np.False_ | condition) == "False | (gradient > 0)"
    assert where(condition, np.float32(1), np.int32(0)) is where(condition, 1.0, 0.0)


def test_a_plus_sign_changes_nothing() -> None:
    assert +G is G


# Equations.


def two(p: Expr, gradient: Expr) -> dict[Expr, Expr]:
    return {p: p - gradient}


def an_expression(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Expr:
    return p - g


def nothing(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> None:
    pass


def six(p: Expr, g: Expr, s: Names, h: Names, on: Names, t: Expr) -> dict[Expr, Expr]:
    return {p: p - g}


def sgd(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {p: p - h.learning_rate * g}


EQUATIONS: dict[str, tuple[Any, str]] = {
    "two arguments": (
        two,
        r"rule 'trial': equations are a function of some of \(p, g, s, h, on, x\).*two\(p.*Write `def",
    ),
    "six arguments": (six, r"missing a required argument: 't'"),
    "no function": ({"p": 1}, r"Received: dict\. Write `def equations\(p, g, s, h, on\)"),
    "an expression": (an_expression, r"Received: Call\(parameter - gradient\)\. Return \{p: new_value\}"),
    "nothing": (nothing, r"Received: None\. Return \{p: new_value\}"),
}


@pytest.mark.parametrize(("equations", "message"), EQUATIONS.values(), ids=EQUATIONS.keys())
def test_equations_of_another_form_are_refused(equations: Any, message: str) -> None:
    with pytest.raises(RuleError, match=message):
        Rule("trial", equations)


def test_equations_may_have_defaults_and_any_arguments() -> None:
    for equations in (lambda p, g, s, h, on, more=1: {p: p}, lambda *names: {names[0]: names[0] - names[1]}):
        Rule("trial", equations)


@pytest.mark.parametrize("initial", [np.zeros(3), np.zeros(()) > 0, True, np.True_, 10**400, [0.0], None, 1j])
def test_a_slot_starts_as_one_number(initial: Any) -> None:
    with pytest.raises(RuleError, match=r"a slot starts as a number or as \"parameter\"\. Received: initial="):
        Rule("trial", sgd, slots={"a": initial})


@pytest.mark.parametrize("wrong", ["yes", None, 1, 0.0])
def test_whether_a_slot_is_never_below_zero_is_said_by_a_truth(wrong: Any) -> None:
    with pytest.raises(RuleError, match=r"a slot is never below zero, or may be\. Received: nonnegative="):
        Slot(nonnegative=wrong)


def test_what_is_never_below_zero_does_not_start_there() -> None:
    with pytest.raises(RuleError, match=r"does not start there\. Received: initial=-1\.0, nonnegative=True"):
        Slot(-1.0, nonnegative=True)
    assert Slot(1.0, nonnegative=True).nonnegative
    assert Slot(-1.0).initial == -1.0


@pytest.mark.parametrize("initial", [2, np.float32(2), np.int64(2)])
def test_a_slot_may_start_as_a_number_of_numpy(initial: Any) -> None:
    assert Slot(initial) == Slot(2.0)
    assert type(Slot(initial).initial) is float


# Pickling.


def test_a_lambda_cannot_be_pickled_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def inner(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {p: p - g}

    for name in [name for name in sys.modules if name.rpartition(".")[2] in ("cloudpickle", "dill")]:
        monkeypatch.delitem(sys.modules, name)
    rules = [Rule("trial", lambda p, g, s, h, on: {p: p - g}), Rule("trial", inner)]
    for rule in rules:
        with pytest.raises(RuleError, match=r"rule 'trial' cannot be pickled.*Received: .*<.*Define them with `def`"):
            pickle.dumps(rule)
    assert pickle.loads(pickle.dumps(Rule("trial", sgd))).equations is sgd
    monkeypatch.setitem(sys.modules, "parallel.cloudpickle", types.ModuleType("cloudpickle"))
    for rule in rules:  # a package that pickles functions by value does what it can
        assert rule.__reduce__()[1][1] is rule.equations


def test_what_a_rule_refuses_it_refuses_where_it_is_written() -> None:
    def root(p: Any, g: Any, s: Names, h: Names, on: Names) -> dict[Expr, Any]:
        return {p: p - np.sqrt(g)}

    def half(p: Any, g: Any, s: Names, h: Names, on: Names) -> dict[Expr, Any]:
        return {p: p - np.float32(0.5) * g}

    with pytest.raises(RuleError, match=r"numpy\.sqrt"):
        Rule("trial", root)
    assert "0.5 * gradient" in codegen.explain(Rule("trial", half), form="rule")
