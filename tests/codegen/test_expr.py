"""Expressions: interning, rates, conditions, and the mistakes that must be answered where they are written."""

import gc
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from operations import REDUCTIONS

from rmsprop_jit.codegen import (
    Expr,
    Rate,
    RuleError,
    all_finite,
    clip,
    exp,
    interned,
    log,
    max_abs,
    maximum,
    minimum,
    rounded,
    sign,
    sqrt,
    square,
    sum_of,
    sum_of_squares,
    where,
)
from rmsprop_jit.codegen.expr import Call, Const, Symbol
from rmsprop_jit.codegen.kinds import Kind
from rmsprop_jit.codegen.ops import Fn
from rmsprop_jit.codegen.walk import rewrite, walk

X = Symbol(Kind.SLOT, "x")
Y = Symbol(Kind.SLOT, "y")
P = Symbol(Kind.PARAMETER, "parameter")
G = Symbol(Kind.GRADIENT, "gradient")
RHO = Symbol(Kind.STEP, "rho")
OWN = Symbol(Kind.TENSOR, "decays")
ON = Symbol(Kind.FLAG, "centered")
DEEP = 2000


def deep_dag() -> Expr:
    """A chain in which every node is used twice: 2**DEEP paths, DEEP nodes."""
    e: Expr = X
    for _ in range(DEEP):
        e = e + e
    return e


# Interning.


def test_equal_expressions_are_one_object() -> None:
    assert X + Y is X + Y
    assert (X + Y) * 2 is (X + Y) * 2.0
    assert sqrt(square(X) + RHO) is sqrt(square(X) + RHO)
    assert where(X > Y, X, 0) is where(X > Y, X, 0.0)
    assert sum_of(X) is sum_of(X, over="tensor")


def test_different_expressions_are_different_objects() -> None:
    assert X + Y is not Y + X
    assert X - Y is not Y - X
    assert (X + Y) + RHO is not X + (Y + RHO)
    assert sum_of(X) is not sum_of(X, over="all")
    assert Symbol(Kind.SLOT, "x") is not Symbol(Kind.NEW, "x")


def test_constants_are_told_apart_by_their_bits() -> None:
    assert Const(0.0) is not Const(-0.0)
    assert X + 0.0 is not X + -0.0
    assert Const(math.nan) is Const(math.nan)
    assert X + math.nan is X + math.nan
    assert Const(1.0) is not Const(True)
    assert Const(0.0) is not Const(False)
    assert 1 + X is 1.0 + X
    assert X * np.float64(2.0) is X * 2.0


def test_unused_nodes_are_forgotten_and_their_places_are_safe() -> None:
    for _ in range(3):
        made = [sqrt(X * (i + 0.5)) for i in range(2000)]
        assert len({id(e) for e in made}) == 2000
        assert all(e is sqrt(X * (i + 0.5)) for i, e in enumerate(made))
        del made
        gc.collect()


def test_nodes_that_went_leave_nothing_behind() -> None:
    X * 0.5  # the next node takes their entries out
    before = len(interned._KEPT)
    made = [sqrt(X * (i + 0.25)) for i in range(2000)]
    assert len(interned._KEPT) >= before + 4000
    del made
    gc.collect()
    assert X * 0.75 is X * 0.75
    assert len(interned._KEPT) <= before + 5
    assert len(interned._GONE) <= 5


def test_threads_get_the_same_nodes() -> None:
    made: list[list[object]] = [[] for _ in range(4)]

    def work(i: int) -> None:
        made[i].extend(sqrt(X * float(k) + Y) for k in range(500))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for nodes in zip(*made, strict=True):
        assert all(node is nodes[0] for node in nodes)


def test_nodes_can_be_keys() -> None:
    table = {X: 1, Y: 2, X + Y: 3}
    assert table[X] == 1
    assert table[X + Y] == 3


def test_nodes_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        (X + Y).fn = Fn.SUB


# Rates and conditions.


@pytest.mark.parametrize(
    ("e", "rate"),
    [
        (Const(2.0), Rate.CONST),
        (ON, Rate.CONST),
        (RHO, Rate.STEP),
        (OWN, Rate.TENSOR),
        (P, Rate.ELEMENT),
        (G, Rate.ELEMENT),
        (X, Rate.ELEMENT),
        (Symbol(Kind.NEW, "x"), Rate.ELEMENT),
        (1 - RHO, Rate.STEP),
        (1 - RHO * OWN, Rate.TENSOR),
        (RHO * X, Rate.ELEMENT),
        (sum_of(X), Rate.TENSOR),
        (sum_of(X, over="all"), Rate.STEP),
        (sqrt(sum_of_squares(X, over="all")) + RHO, Rate.STEP),
        (where(ON, RHO, 0.0), Rate.STEP),
        (where(sum_of(X) > 0, RHO, 0.0), Rate.TENSOR),
        (where(X > 0, RHO, 0.0), Rate.ELEMENT),
        (rounded(1 - RHO), Rate.STEP),
        (all_finite(G), Rate.TENSOR),
        (all_finite(G, over="all"), Rate.STEP),
    ],
    ids=str,
)
def test_rate_is_that_of_the_fastest_leaf(e: Expr, rate: Rate) -> None:
    assert e.rate is rate


@pytest.mark.parametrize("e", [X < Y, X <= Y, X > Y, X >= Y, X == Y, X != Y, ON, ~ON, ON & (X < 0), ON | (X < 0)])
def test_conditions(e: Expr) -> None:
    assert e.is_condition


def test_equality_builds_a_condition() -> None:
    equal, unequal = X == Y, X != 0
    assert isinstance(equal, Call)
    assert equal.fn is Fn.EQ
    assert equal.args[0] is X
    assert equal.args[1] is Y
    assert isinstance(unequal, Call)
    assert unequal.fn is Fn.NE


def test_numbers_are_no_conditions() -> None:
    assert not (X + Y).is_condition
    assert not where(ON, X, Y).is_condition
    assert where(ON, X > 0, Y > 0).is_condition
    assert all_finite(G).is_condition


def test_text_reads_like_the_equation() -> None:
    e = where(ON, (RHO * X + (1 - RHO) * square(G)) / sqrt(Y), -X)
    assert str(e) == "where(on.centered, ((h.rho * s.x) + ((1 - h.rho) * square(gradient))) / sqrt(s.y), -s.x)"
    assert str(sum_of_squares(G, over="all")) == "sum_of_squares(gradient, over='all')"
    assert str(~(X > 0.1)) == "~(s.x > 0.1)"


def test_reflected_operators_keep_their_order() -> None:
    assert str(1 - X) == "1 - s.x"
    assert str(2 / X) == "2 / s.x"
    assert str(2**X) == "2 ** s.x"
    assert str(abs(X) ** 0.5) == "abs(s.x) ** 0.5"


# Misuse.


def misuse_if() -> Symbol:
    if X > 0:
        return X
    return Y


def misuse_chained() -> Expr:
    return 0 < X < 1


def wrong(value: object) -> Any:
    """What stands where its type does not belong."""
    return value


MISUSES: dict[str, Callable[[], object]] = {
    "if": misuse_if,
    "and": lambda: (X > 0) and (Y > 0),
    "not": lambda: not X,
    "chained comparison": misuse_chained,
    "max of Python": lambda: max(X, Y),
    "in": lambda: X in [Y],
    "float": lambda: float(X),
    "int": lambda: int(X),
    "index": lambda: [1, 2][X],
    "math.sqrt": lambda: math.sqrt(X),
    "math.floor": lambda: math.floor(X),
    "where of a number": lambda: where(X, 1.0, 0.0),
    "where of a constant": lambda: where(wrong(1.0), X, Y),
    "where of condition and number": lambda: where(ON, X > 0, 1.0),
    "where of number and condition": lambda: where(ON, 1.0, X > 0),
    "sum with a condition": lambda: X + (Y > 0),
    "sum with a flag": lambda: ON * X,
    "sum with True": lambda: X + True,
    "sqrt of a condition": lambda: sqrt(X > 0),
    "comparison of a condition": lambda: (X > 0) > Y,
    "and of numbers": lambda: X & Y,
    "or with a number": lambda: (X > 0) | Y,
    "invert a number": lambda: ~X,
    "array": lambda: X * wrong(np.ones(3)),
    "array on the left": lambda: np.ones(3) * wrong(X),
    "list": lambda: X * [1.0],
    "string": lambda: X + wrong("1"),
    "None": lambda: where(ON, X, wrong(None)),
    "complex": lambda: X * wrong(1j),
    "array as condition": lambda: where(wrong(np.ones(3) > 0), X, Y),
    "rounded of an element": lambda: rounded(X * RHO),
    "rounded of a tensor's number": lambda: rounded(sum_of(X)),
    "rounded of a reduction over all": lambda: rounded(sum_of(X, over="all")),
    "reduction of a scalar": lambda: sum_of(RHO),
    "reduction of a number": lambda: sum_of_squares(2.0),
    "reduction of a reduction": lambda: max_abs(sum_of(X)),
    "reduction of a total": lambda: sum_of(sum_of(X, over="all")),
    "reduction of a condition": lambda: sum_of(X > 0),
    "over a list": lambda: sum_of(X, over=["all"]),
    "over everything": lambda: sum_of(X, over="everything"),
}


@pytest.mark.parametrize("mistake", MISUSES.values(), ids=MISUSES.keys())
def test_misuse_is_a_rule_error(mistake: Callable[[], object]) -> None:
    with pytest.raises(RuleError):
        mistake()


@pytest.mark.parametrize("reduce", REDUCTIONS.values(), ids=REDUCTIONS.keys())
@pytest.mark.parametrize("over", ["", "tensors", None, 1.5])
def test_a_bad_scope_is_named(reduce: Callable[..., Expr], over: str | float | None) -> None:
    with pytest.raises(RuleError, match=r"'tensor' or 'all'. Received: over="):
        reduce(X, over=over)


def test_messages_name_the_expression_and_a_remedy() -> None:
    with pytest.raises(RuleError, match=r"`s.x > 0` has no truth value.*where\(condition, a, b\)"):
        bool(X > 0)
    with pytest.raises(RuleError, match=r"`s.x` has no value.*sqrt, exp"):
        math.sqrt(X)
    with pytest.raises(RuleError, match=r"Write `where\(\(s.x \+ 1\) != 0, a, b\)`"):
        where(X + 1, X, Y)
    with pytest.raises(RuleError, match=r"Received: array\(.*ndarray.*slots"):
        X + wrong(np.ones(2))
    with pytest.raises(RuleError, match=r"`\+` needs a number. Received: `s.y > 0`"):
        X + (Y > 0)
    with pytest.raises(RuleError, match=r"`&` needs a condition.*Received: `s.x`"):
        (Y > 0) & X


def test_numpy_functions_do_not_take_expressions() -> None:
    with pytest.raises(RuleError, match=r"numpy.sqrt is not part of a rule. Received: `s.x`. Write sqrt"):
        np.sqrt(wrong(X))


def test_functions_build_their_operation() -> None:
    for function, fn in ((sqrt, Fn.SQRT), (square, Fn.SQUARE), (sign, Fn.SIGN), (exp, Fn.EXP), (log, Fn.LOG)):
        built = function(X)
        assert isinstance(built, Call)
        assert built.fn is fn
    for built, fn in ((minimum(X, Y), Fn.MINIMUM), (maximum(X, Y), Fn.MAXIMUM)):
        assert isinstance(built, Call)
        assert built.fn is fn
    assert clip(X, -1.0, 1.0) is minimum(maximum(X, -1.0), 1.0)


# Walking.


def test_walk_visits_operands_first_and_everything_once() -> None:
    e = sqrt(X * Y) + X * Y
    nodes = list(walk(e, X))
    assert len(nodes) == len({id(node) for node in nodes}) == 5
    place = {id(node): i for i, node in enumerate(nodes)}
    assert all(place[id(child)] < place[id(node)] for node in nodes for child in node.children)


def test_walk_and_rewrite_of_a_deep_shared_dag() -> None:
    begin = time.perf_counter()
    e = deep_dag()
    assert sum(1 for _ in walk(e)) == DEEP + 1
    assert rewrite([e], lambda node: node)[e] is e
    other = rewrite([e], lambda node: Y if node is X else node)[e]
    assert time.perf_counter() - begin < 2
    leaves = [node for node in walk(other) if isinstance(node, Symbol)]
    assert len(leaves) == 1
    assert leaves[0] is Y


def test_rewrite_visits_shared_nodes_once() -> None:
    seen: list[Expr] = []

    def kept(node: Expr) -> Expr:
        seen.append(node)
        return node

    rewrite([deep_dag()], kept)
    assert len(seen) == DEEP + 1


def test_a_mistake_in_a_deep_expression_is_answered_too() -> None:
    e: Expr = X
    for _ in range(DEEP):
        e = e + 1.0
    with pytest.raises(RuleError, match="has no truth value"):
        bool(e)
