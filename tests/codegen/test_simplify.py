"""Simplification changes no bit: every law is tried on all kinds of numbers, and what is no law is left alone."""

import math
import struct
from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmsprop_jit.codegen import Expr, clip, maximum, minimum, rounded, sign, simplify, sqrt, square, where
from rmsprop_jit.codegen.expansions import expansion
from rmsprop_jit.codegen.expr import Call, Const, Select, Symbol
from rmsprop_jit.codegen.kinds import Kind
from rmsprop_jit.codegen.ops import Fn, scalar
from rmsprop_jit.codegen.simplify import exact
from rmsprop_jit.codegen.walk import walk

X = Symbol(Kind.STEP, "x")
Y = Symbol(Kind.STEP, "y")
ELEMENT = Symbol(Kind.GRADIENT, "gradient")
ON = Symbol(Kind.FLAG, "on")
OTHER = Symbol(Kind.FLAG, "other")
MINUS_X, MINUS_Y = -X, -(Y / 1)
TRUE, FALSE = Const(True), Const(False)

SPECIAL = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 5e-324, -5e-324, 1e308, 1e-308, 3.4e38, 1e-45, 0.1]
NUMBERS = st.sampled_from(SPECIAL) | st.floats(allow_nan=True, allow_infinity=True)

LAWS = {
    "x * 1": (X * 1, X),
    "1 * x": (1 * X, X),
    "x / 1": (X / 1, X),
    "x - 0": (X - 0, X),
    "--x": (-MINUS_X, X),
    "where(True, x, y)": (where(TRUE, X, Y), X),
    "where(False, x, y)": (where(FALSE, X, Y), Y),
    "where(x < y, x, x)": (where(X < Y, X, X), X),
    "True & c": (where(TRUE & (X < Y), 1.0, 2.0), where(X < Y, 1.0, 2.0)),
    "c & True": (where((X < Y) & TRUE, 1.0, 2.0), where(X < Y, 1.0, 2.0)),
    "False & c": (where(FALSE & (X < Y), X, Y), Y),
    "c & False": (where((X < Y) & FALSE, X, Y), Y),
    "True | c": (where(TRUE | (X < Y), X, Y), X),
    "c | True": (where((X < Y) | TRUE, X, Y), X),
    "False | c": (where(FALSE | (X < Y), 1.0, 2.0), where(X < Y, 1.0, 2.0)),
    "c | False": (where((X < Y) | FALSE, 1.0, 2.0), where(X < Y, 1.0, 2.0)),
    "not True": (where(~TRUE, X, Y), Y),
}


def settle(e: Expr, flags: Collection[str]) -> Expr:
    """One expression with its flags replaced."""
    return simplify.settle([e], flags)[e]


def evaluate(e: Expr, values: dict[str, float]) -> float:
    """An expression of numbers of a step, by IEEE rules in float64."""
    if isinstance(e, Call) and e.fn.row.expanded:
        e = expansion(e.fn, e.args, False)
    known: dict[Expr, float | bool] = {}
    for node in walk(e):
        if isinstance(node, Const):
            known[node] = node.value
        elif isinstance(node, Symbol):
            known[node] = values[node.name]
        else:
            assert isinstance(node, Call | Select)
            fn = Fn.WHERE if isinstance(node, Select) else node.fn
            known[node] = scalar(fn, *(known[child] for child in node.children))
    return known[e]


def bits(value: float) -> bool | str | bytes:
    """The 8 bytes of a number; every nan is one nan; a truth value is itself."""
    if isinstance(value, bool):
        return value
    return "nan" if math.isnan(value) else struct.pack("<d", value)


def single(value: float) -> float:
    """The nearest float32, as a float."""
    with np.errstate(all="ignore"):
        return float(np.float32(value))


@pytest.mark.parametrize(("before", "after"), LAWS.values(), ids=LAWS.keys())
@given(x=NUMBERS, y=NUMBERS)
def test_a_law_changes_no_bit(before: Expr, after: Expr, x: float, y: float) -> None:
    for values in ({"x": x, "y": y}, {"x": single(x), "y": single(y)}):
        results = [evaluate(e, values) for e in (before, after, settle(before, ()))]
        assert bits(results[0]) == bits(results[1]) == bits(results[2])


@pytest.mark.parametrize(("before", "after"), LAWS.values(), ids=LAWS.keys())
def test_a_law_is_applied(before: Expr, after: Expr) -> None:
    assert settle(before, ()) is after


@pytest.mark.parametrize("law", ["x * 1", "1 * x", "x / 1", "x - 0", "--x"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_law_of_arithmetic_holds_for_arrays_too(law: str, dtype: type[np.floating[Any]]) -> None:
    with np.errstate(all="ignore"):
        x = np.array(SPECIAL, dtype)
        one, zero = dtype(1), dtype(0)
        result = {
            "x * 1": lambda: Fn.MUL(x, one),
            "1 * x": lambda: Fn.MUL(one, x),
            "x / 1": lambda: Fn.DIV(x, one),
            "x - 0": lambda: Fn.SUB(x, zero),
            "--x": lambda: Fn.NEG(Fn.NEG(x)),
        }[law]()
    number = ~np.isnan(x)
    assert result.dtype == x.dtype
    assert result[number].tobytes() == x[number].tobytes()
    assert np.isnan(result[~number]).all()


NUMERIC = [fn for fn in Fn if not (fn.of_truths or fn.row.in_step or fn.row.in_loop or fn is Fn.WHERE)]
UNARY, BINARY = ([fn for fn in NUMERIC if fn.row.operands == operands] for operands in (1, 2))


@pytest.mark.parametrize("fn", UNARY)
@given(x=NUMBERS)
def test_folding_one_operand_is_computing_it(fn: Fn, x: float) -> None:
    folded = exact(Call(fn, (Const(x),)))
    assert isinstance(folded, Const)
    assert bits(folded.value) == bits(evaluate(Call(fn, (X,)), {"x": x}))


@pytest.mark.parametrize("fn", BINARY)
@given(x=NUMBERS, y=NUMBERS)
def test_folding_two_operands_is_computing_them(fn: Fn, x: float, y: float) -> None:
    folded = exact(Call(fn, (Const(x), Const(y))))
    assert isinstance(folded, Const)
    assert isinstance(folded.value, bool) is fn.is_truth
    second = Const(y) if fn is Fn.POW else Y  # some exponents that are known are products, and x**-1 is 1 / x
    assert bits(folded.value) == bits(evaluate(Call(fn, (X, second)), {"x": x, "y": y}))


@pytest.mark.parametrize(
    "e",
    [
        X + 0,
        0 + X,
        X + -0.0,
        0 * X,
        X * 0,
        X - -0.0,
        0 - X,
        -1 * X,
        X / -1,
        1 / X,
        X - X,
        X / X,
        X / 2,
        X**1,
        X**0,
        X**2,
        (X + Y) - Y,
        (X + 1) + 2,
        (X * 2) * 3,
        X * Y + X * 2,
        sqrt(square(X)),
        maximum(X, X),
        minimum(X, math.inf),
        clip(X, -math.inf, math.inf),
        sign(sign(X)),
        rounded(Const(0.1)),
        where(X < Y, 1.0, 0.0),
    ],
    ids=str,
)
def test_what_is_no_law_is_left_alone(e: Expr) -> None:
    assert settle(e, ()) is e


def test_why_they_are_no_laws() -> None:
    minus_zero = {"x": -0.0}
    assert bits(evaluate(X + 0, minus_zero)) != bits(-0.0)
    assert bits(evaluate(X - -0.0, minus_zero)) != bits(-0.0)
    assert bits(evaluate(0 * X, {"x": -1.0})) != bits(0.0)
    assert math.isnan(evaluate(0 * X, {"x": math.inf}))


@given(x=NUMBERS, y=NUMBERS, z=NUMBERS)
@settings(max_examples=60)
def test_settling_a_whole_expression_changes_no_bit(x: float, y: float, z: float) -> None:
    free = where((X > Y) | FALSE, X * 1 - 0, -MINUS_Y) + where(ON, Const(z) * 3.0, sqrt(Const(z))) * X
    for flags in ((), ("on",)):
        chosen = z * 3.0 if flags else evaluate(sqrt(Y), {"y": z})
        plain = where(X > Y, X, Y) + Const(chosen) * X
        values = {"x": x, "y": y}
        assert bits(evaluate(settle(free, flags), values)) == bits(evaluate(plain, values))


def test_flags_are_replaced_by_their_truth() -> None:
    e = where(ON & ~OTHER, X, where(ON | OTHER, Y, 0.0))
    assert settle(e, {"on"}) is X
    assert settle(e, {"on", "other"}) is Y
    assert settle(e, {"other"}) is Y
    assert settle(e, ()) is Const(0.0)


def test_what_is_not_chosen_does_not_evaluate() -> None:
    assert settle(where(ON, X, Const(1.0) / 0.0), {"on"}) is X
    assert settle(where(ON, X, Const(1.0) / 0.0), ()) is Const(math.inf)


@pytest.mark.parametrize("number", [Y, Const(0.1)], ids=str)
def test_a_choice_by_element_between_the_same_number_is_rounded_where_it_is_made(number: Expr) -> None:
    alike = where(ELEMENT > 0, number, where(ON, number, X))
    assert settle(alike, {"on"}) is where(ELEMENT > 0, number, number)
    assert settle(where(X > 0, number, number), ()) is number
    assert settle(where(X > 0, ELEMENT, ELEMENT), ()) is ELEMENT
