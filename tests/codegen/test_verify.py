"""verify(): a broken result of any stage of lowering is named, with the stage and the node."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rmsprop_jit.buckets import program_of
from rmsprop_jit.codegen import (
    Expr,
    LoweringError,
    Program,
    Rule,
    Slot,
    exp,
    log,
    specialize,
    square,
    sum_of,
    tanh,
    verify,
    where,
)
from rmsprop_jit.codegen.expand import expanded
from rmsprop_jit.codegen.expr import Const, Reduction, Select, Symbol, call
from rmsprop_jit.codegen.kinds import Kind, Space
from rmsprop_jit.codegen.lower import live
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.codegen.ops import Fn, ReduceOp
from rmsprop_jit.codegen.program import Array, Given, Let, Load, Reduce, Store
from rmsprop_jit.codegen.rule import GRADIENT, PARAMETER
from rmsprop_jit.codegen.stages import split
from rmsprop_jit.codegen.walk import walk
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.rmsprop import RMSPROP

X = Symbol(Kind.SLOT, "x")
FLAGS = ("global_clipnorm", "use_ema", "ema_overwrite_frequency", "weight_decay", "weight_decay_exclusions")
PROGRAM = program_of(RMSPROP, FLAGS, "float32")
FIRST, LAST = PROGRAM.kernels
NUMBER = Let("t99", Fn.ADD, ("p", 1.0))
WIDE = Let("t98", Fn.WIDE, ("g",))


def test_what_lowering_makes_is_in_order() -> None:
    verify.numbered(PROGRAM)
    stores, _ = live(step_of(RMSPROP), FLAGS)
    nodes = [*walk(*stores.values())]
    verify.split(nodes, split(nodes))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (where(Symbol(Kind.FLAG, "on"), PARAMETER, GRADIENT), r"after settle, in trial: a flag is left.*`on.on`"),
        (PARAMETER + Symbol(Kind.NEW, "x"), r"after settle.*a new is left.*`new s.x`"),
        (Select(Const(True), PARAMETER, GRADIENT), r"after settle.*a constant choice is left.*`where\(True"),
    ],
    ids=["flag", "new value", "choice"],
)
def test_what_settling_left_is_named(value: Expr, message: str) -> None:
    with pytest.raises(LoweringError, match=message):
        verify.settled("trial", {PARAMETER: value})


def test_a_dead_store_is_named() -> None:
    rule = Rule("trial", lambda p, g, s, h, on: {p: p - g}, slots={"x": 0.0, "y": Slot(0.0, result=True)})
    verify.pruned(rule, {PARAMETER: PARAMETER - X, X: square(GRADIENT), Symbol(Kind.SLOT, "y"): GRADIENT})
    with pytest.raises(LoweringError, match=r"after prune, in trial: nothing reads.*`s.x`"):
        verify.pruned(rule, {PARAMETER: PARAMETER - GRADIENT, X: square(GRADIENT)})


@pytest.mark.parametrize(
    ("value", "compute", "symbol"),
    [
        (exp(GRADIENT), "float32", "exp"),
        (PARAMETER + log(square(GRADIENT)), "float32", "log"),
        (where(tanh(GRADIENT) > 0, PARAMETER, GRADIENT), "float64", "tanh"),
        (sum_of(PARAMETER**GRADIENT) * GRADIENT, "float64", r"\*\*"),
        (call(Fn.NARROW, call(Fn.WIDE, GRADIENT)), "float64", "wide"),
    ],
    ids=["exp", "log", "tanh", "power", "conversion"],
)
def test_a_function_that_was_not_expanded_is_named(value: Expr, compute: str, symbol: str) -> None:
    with pytest.raises(LoweringError, match=rf"after expand, in trial: {symbol} is left. Received: `"):
        verify.expanded("trial", walk(value), compute)
    verify.expanded("trial", walk(*expanded({PARAMETER: exp(value)}, "float32").values()), "float32")


def test_a_reduction_in_the_wrong_kernel_is_named() -> None:
    inner = Reduction(ReduceOp.SUM, GRADIENT, Space.TENSOR, None)
    outer = Reduction(ReduceOp.SUM, GRADIENT * inner, Space.TENSOR, None)
    stores = {PARAMETER: PARAMETER - outer}
    verify.split(walk(*stores.values()), [[inner], [outer], []])
    for stages in ([[outer], [inner], []], [[inner, outer], []], [[inner], [outer]], [[inner], []]):
        with pytest.raises(LoweringError, match=r"after split, in its kernels: kernel -?\d is too early, too late"):
            verify.split(walk(*stores.values()), stages)


def with_last(**changes: Any) -> Program:
    """The program with another last kernel."""
    return replace(PROGRAM, kernels=(FIRST, replace(LAST, **changes)))


def with_first(**changes: Any) -> Program:
    return replace(PROGRAM, kernels=(replace(FIRST, **changes), LAST))


def with_let(let: Let) -> Program:
    return with_last(body=(*LAST.body, let))


def with_step(*lets: Let) -> Program:
    return replace(PROGRAM, step=(*PROGRAM.step, *lets))


def with_array(i: int, array: Array | None) -> Program:
    arrays = list(PROGRAM.arrays)
    arrays[i : i + 1] = [array] if array else []
    return replace(PROGRAM, arrays=tuple(arrays))


def total_of(e: Expr) -> Reduction:
    """The sum over all tensors."""
    total = sum_of(e, over="all")
    assert isinstance(total, Reduction)
    return total


REDUCE = FIRST.reductions[0]
OTHER = total_of(PARAMETER)

BROKEN = {
    "a name twice": (lambda: with_let(Let("t0", Fn.ADD, ("p", 1.0))), "'t0' is defined twice"),
    "a name that is loaded already": (lambda: with_let(Let("p", Fn.NEG, ("g",))), "'p' is defined twice"),
    "a name before its definition": (lambda: with_last(body=LAST.body[::-1]), "is undefined"),
    "an unknown name": (lambda: with_let(Let("t99", Fn.ADD, ("p", "nothing"))), "'nothing' is undefined"),
    "too few operands": (lambda: with_let(Let("t99", Fn.ADD, ("p",))), "an operand is wrong"),
    "a truth in a sum": (lambda: with_let(Let("t99", Fn.ADD, ("p", True))), "True is a truth"),
    "a number as a truth": (lambda: with_let(Let("t99", Fn.AND, ("c0", 1.0))), "1.0 is a number"),
    "a choice by a number": (lambda: with_let(Let("t99", Fn.WHERE, ("p", "g", "p"))), "'p' is a number"),
    "a choice of truth and number": (lambda: with_let(Let("t99", Fn.WHERE, ("c0", True, "p"))), "True is a truth"),
    "a remainder in a loop": (lambda: with_let(Let("t99", Fn.MOD, ("p", 2.0))), "% is left to the host"),
    "rounding in a loop": (lambda: with_let(Let("t99", Fn.ROUNDED, ("p",))), "rounded is left to the host"),
    "a function": (lambda: with_let(Let("t99", Fn.EXP, ("p",))), "exp is no operation of such a program"),
    "a wide number beside others": (
        lambda: with_last(body=(*LAST.body, WIDE, Let("t99", Fn.ADD, ("t98", "p")))),
        "'t98' is a wide number, 'p' is a number",
    ),
    "a choice of a wide number and another": (
        lambda: with_last(body=(*LAST.body, WIDE, Let("t99", Fn.WHERE, ("c0", "p", "t98")))),
        "'p' is a number, 't98' is a wide number",
    ),
    "a wide number that is widened": (
        lambda: with_last(body=(*LAST.body, WIDE, Let("t99", Fn.WIDE, ("t98",)))),
        "'t98' is a wide number",
    ),
    "a number that is narrow already": (lambda: with_let(Let("t99", Fn.NARROW, ("p",))), "'p' is a number"),
    "the bits of a number that is not wide": (lambda: with_let(Let("t99", Fn.EXPONENT, ("p",))), "'p' is a number"),
    "a store of a wide number": (
        lambda: with_last(body=(*LAST.body, WIDE), stores=(Store("parameter", "t98"),)),
        "'t98' is no number",
    ),
    "a wide number in a head": (lambda: with_last(head=(*LAST.head, Let("u99", Fn.WIDE, ("r0",)))), "wide is no"),
    "a wide number in float64": (
        lambda: replace(with_let(WIDE), compute="float64"),
        "wide is no operation of such a program",
    ),
    "rounding in a head": (
        lambda: with_last(head=(*LAST.head, Let("u99", Fn.ROUNDED, ("r0",)))),
        "rounded is left to the host",
    ),
    "a truth that enters the loop": (
        lambda: with_last(
            head=(*LAST.head, Let("u98", Fn.LT, ("r0", 1.0))), body=(*LAST.body, Let("t99", Fn.NOT, ("u98",)))
        ),
        "a truth enters the loop",
    ),
    "a load of nothing": (lambda: with_last(loads=(*LAST.loads, Load("s.other", "other"))), "an unknown array"),
    "a load by another name": (lambda: with_last(loads=(Load("s.p", "parameter"), *LAST.loads[1:])), "a name that is"),
    "a load twice": (lambda: with_last(loads=(*LAST.loads, LAST.loads[0])), "wrong or taken"),
    "a store in an early kernel": (lambda: with_first(stores=(Store("velocity", "g"),)), "not the last kernel"),
    "a store to nothing": (lambda: with_last(stores=(*LAST.stores, Store("other", "p"))), "an unknown array"),
    "a store twice": (lambda: with_last(stores=(*LAST.stores, LAST.stores[0])), "stored or defined twice"),
    "a store of nothing": (lambda: with_last(stores=(Store("parameter", "t99"),)), "'t99' is no number"),
    "a store of a truth": (lambda: with_last(stores=(Store("parameter", "c0"),)), "'c0' is no number"),
    "a reduction of nothing": (lambda: with_first(reductions=(replace(REDUCE, value="t99"),)), "'t99' is no number"),
    "a reduction twice": (lambda: with_first(reductions=(REDUCE, replace(REDUCE, name="r1"))), "reduced twice"),
    "two reductions of one name": (
        lambda: with_first(reductions=(REDUCE, replace(REDUCE, op=ReduceOp.SUM, what=OTHER))),
        "stored or defined twice",
    ),
    "another reduction than was written": (
        lambda: with_first(reductions=(replace(REDUCE, what=OTHER),)),
        "it is not what the rule wrote",
    ),
    "a result over another space": (
        lambda: with_last(givens=(LAST.givens[0]._replace(over=Space.TENSOR), *LAST.givens[1:])),
        "no earlier kernel",
    ),
    "a result that is not there yet": (
        lambda: replace(PROGRAM, kernels=(replace(FIRST, reductions=()), LAST)),
        "no earlier kernel",
    ),
    "a given twice": (lambda: with_last(givens=(*LAST.givens, LAST.givens[0])), "it is there twice"),
    "a number for all as a tensor's own": (
        lambda: with_last(givens=(*LAST.givens, Given("h.x", Space.ALL, "x"))),
        "no earlier kernel and no tensor has it",
    ),
    "a step that uses an element": (lambda: with_step(Let("k99", Fn.NEG, ("p",))), "'p' is undefined"),
    "a step too early": (lambda: replace(PROGRAM, step=PROGRAM.step[::-1]), "is undefined"),
    "a step twice": (lambda: with_step(PROGRAM.step[0]), "'k0' is defined twice"),
    "an array out of order": (lambda: replace(PROGRAM, arrays=PROGRAM.arrays[::-1]), "out of order"),
    "an array twice": (lambda: replace(PROGRAM, arrays=(*PROGRAM.arrays, PROGRAM.arrays[0])), "twice"),
    "an array that is not declared": (lambda: with_array(1, None), "an unknown array"),
    "an unknown array": (lambda: with_array(0, Array("other", "float32")), "arrays are unknown"),
    "an unknown storage": (lambda: with_array(0, Array("parameter", "int4")), "no such storage"),
    "an unknown type": (lambda: replace(PROGRAM, compute="float8"), "no such type"),
    "an array for all": (lambda: with_array(0, Array("parameter", "float32", Space.ALL)), "storage or space"),
}


@pytest.mark.parametrize(("broken", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_program_is_named(broken: Callable[[], Program], message: str) -> None:
    program = broken()
    with pytest.raises(LoweringError, match=rf"after number, in .*{message}.*Received: `.*fault of the compiler"):
        verify.numbered(program)


def test_reductions_are_compared_without_asking_expressions_for_a_truth() -> None:
    assert Reduce("r0", ReduceOp.SUM, "g", Space.ALL, total_of(GRADIENT)) == Reduce(
        "r0", ReduceOp.SUM, "g", Space.ALL, total_of(PARAMETER)
    )


def numbers(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """A number a tensor, and one for all."""
    return {s.own: s.own + sum_of(g), s.all: s.all * h.rho, p: p - s.own * s.all * g}


SLOTS = {"own": Slot(0.0, over="tensor"), "all": Slot(1.0, over="all")}
NUMBERS = specialize(Rule("numbers", numbers, slots=SLOTS, hypers={"rho": 0.9}), (), "float32")
SUMS, STORES, PUTS = NUMBERS.kernels
PUT = PUTS.puts[0]


def with_puts(**changes: Any) -> Program:
    """The program with another last kernel."""
    return replace(NUMBERS, kernels=(SUMS, STORES, replace(PUTS, **changes)))


BROKEN_NUMBERS = {
    "a put in an early kernel": (
        lambda: replace(NUMBERS, kernels=(replace(SUMS, puts=(PUT,)), STORES, PUTS)),
        "not the last kernel",
    ),
    "a put beside a loop": (lambda: with_puts(loads=STORES.loads), "other things to do"),
    "a put to an array": (lambda: with_puts(puts=(Store("parameter", PUT.value),)), "an unknown array"),
    "a put of nothing": (lambda: with_puts(puts=(Store("own", "u99"),)), "no number that is defined"),
    "a put twice": (lambda: with_puts(puts=(PUT, PUT)), "stored or defined twice"),
    "a number that is loaded": (
        lambda: replace(NUMBERS, kernels=(SUMS, replace(STORES, loads=(*STORES.loads, Load("s.own", "own"))), PUTS)),
        "an unknown array",
    ),
    "a number of no array": (
        lambda: with_puts(givens=(PUTS.givens[0]._replace(array="other"), *PUTS.givens[1:])),
        "no earlier kernel and no tensor has it",
    ),
    "a number of another storage": (
        lambda: replace(NUMBERS, arrays=(*NUMBERS.arrays[:-1], Array("own", "float32", Space.TENSOR))),
        "no such storage or space",
    ),
    "an element for all": (lambda: replace(NUMBERS, shared=(Store("own", "h.rho"),)), "no slot over all"),
    "nothing for all": (lambda: replace(NUMBERS, shared=(Store("all", "k99"),)), "no number of the step"),
}


@pytest.mark.parametrize(("broken", "message"), BROKEN_NUMBERS.values(), ids=BROKEN_NUMBERS.keys())
def test_a_broken_program_of_numbers_is_named(broken: Callable[[], Program], message: str) -> None:
    verify.numbered(NUMBERS)
    program = broken()
    with pytest.raises(LoweringError, match=rf"after number, in .*{message}.*Received: `.*fault of the compiler"):
        verify.numbered(program)
