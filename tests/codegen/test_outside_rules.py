"""Functions outside of kernels: what rules may say, what becomes of it, and the same numbers on every backend."""

import functools
import re
from typing import Any

import numpy as np
import outside_rules
import pytest
from compare import Array, assert_same_bits, cast, ordinary
from outside_rules import ALL, ONCE, WITHIN, Made, reversed_
from run_rule import copied, defaults, make_tensors, run, run_together

from rmsprop_jit.codegen import (
    Expr,
    Rule,
    RuleError,
    all_finite,
    explain,
    outside,
    size,
    specialize,
    sum_of,
    sum_of_squares,
    where,
)
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.codegen.program import Program
from rmsprop_jit.codegen.schedule import schedule

SIZES = [0, 1, 7, 129, 1000, 20_001]
each_rule = pytest.mark.parametrize("made", ALL.values(), ids=ALL)


@each_rule
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_every_backend_has_the_bits_of_the_interpreter(made: Made, dtype: str, backend: str) -> None:
    if (backend, made, dtype) == ("cuda", WITHIN, "float64"):
        pytest.skip("as float32, and the simulator is slow")
    sizes, steps = (SIZES, 3) if backend == "cpu" else ([0, 7], 1)
    program = specialize(made.rule, made.flags, dtype)
    make = cast(ordinary(3), dtype)
    ours = make_tensors(made.rule, sizes, dtype, make)
    theirs = copied(ours)
    for step in range(1, steps + 1):
        for mine, other in zip(ours, theirs, strict=True):
            mine["gradient"][...] = other["gradient"][...] = make(mine["gradient"].size)
        numbers = {**defaults(made.rule), "step": float(step)}
        run(backend, program, ours, numbers)
        run("reference", program, theirs, numbers)
    for mine, other in zip(ours, theirs, strict=True):
        for name, array in other.items():
            if made is WITHIN:  # sums of other order
                np.testing.assert_allclose(mine[name], array, rtol=1e-6 if dtype == "float32" else 1e-14, atol=1e-7)
            else:
                assert_same_bits(mine[name], array, name)


@each_rule
def test_the_interpreter_is_what_numpy_says(made: Made) -> None:
    program = specialize(made.rule, made.flags, "float64")
    tensors = make_tensors(made.rule, SIZES, "float64", ordinary(5))
    own = [{"m": np.zeros(size)} for size in SIZES]
    wanted = [tensor["parameter"].copy() for tensor in tensors]
    for step in range(1, 4):
        numbers = {**defaults(made.rule), "step": float(step)}
        matrices = [one[:, None] if made.flags else one for one in wanted]  # so that the shape says it
        for i, tensor in enumerate(tensors):
            g = tensor["gradient"]
            slots: dict[str, Array] = {"m": own[i]["m"].reshape(matrices[i].shape)}
            wanted[i] = made.update(matrices[i], g.reshape(matrices[i].shape), slots, numbers).reshape(-1)
        run("reference", program, tensors, numbers)
    for tensor, value, slots in zip(tensors, wanted, own, strict=True):
        np.testing.assert_allclose(tensor["parameter"], value, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(tensor["m"], slots["m"], rtol=1e-12, atol=1e-14)


def kernels(program: Program) -> list[tuple[int, int, int, int]]:
    """Of each kernel what it loads, stores, reduces and calls."""
    return [(len(k.loads), len(k.stores), len(k.reductions), len(k.detours)) for k in program.kernels]


def test_each_depth_is_a_kernel_and_what_is_off_is_one_pass_again() -> None:
    assert kernels(specialize(ONCE.rule)) == [(2, 1, 0, 1), (4, 2, 0, 0)]
    assert kernels(specialize(outside_rules.BESIDE.rule)) == [(2, 3, 0, 3), (6, 2, 0, 0)]
    by_shape = outside_rules.BY_SHAPE.rule
    assert kernels(specialize(by_shape, ["matrix"])) == [(2, 1, 0, 1), (4, 2, 0, 0)]
    assert kernels(specialize(by_shape)) == [(3, 2, 0, 0)]
    assert kernels(specialize(WITHIN.rule)) == [
        (1, 0, 1, 0),  # the norm of g
        (1, 1, 0, 1),  # the inner function
        (1, 0, 1, 0),  # the mean of what it returned
        (2, 1, 0, 1),  # the outer function, of that and a slot
        (1, 0, 1, 0),
        (3, 2, 0, 0),
    ]


def test_until_the_last_function_has_returned_nothing_but_scratch_is_stored() -> None:
    plain = Rule("plain", lambda p, g, s, h: {s.m: s.m + g, p: p - s.m}, slots={"m": 0.0})
    programs = [specialize(plain), specialize(WITHIN.rule), specialize(ONCE.rule)]
    turns = schedule(programs)
    last = max(i for i, turn in enumerate(turns) if turn.detours(programs))
    writing = [i for i, turn in enumerate(turns) for j, k in turn.kernels if programs[j].kernels[k].writes]
    assert min(writing) > last
    assert sorted(k for turn in turns for k in turn.kernels) == [
        (i, k) for i, program in enumerate(programs) for k in range(len(program.kernels))
    ]


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_programs_with_and_without_functions_make_a_step_together(backend: str) -> None:
    def shared(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        u = g / (1 + sum_of_squares(g, over="all"))
        return {p: p - h.learning_rate * where(on.turned, outside(reversed_, u), u)}

    rule = Rule("shared", shared, flags={"turned": False})
    tensors = make_tensors(rule, [5, 300], "float64", ordinary(1))
    turned, plain = tensors[:1], tensors[1:]
    total = sum(float(np.sum(np.square(one["gradient"]))) for one in tensors)
    wanted = [one["parameter"] - 0.05 * one["gradient"] / (1 + total) for one in plain]
    wanted += [one["parameter"] - 0.05 * one["gradient"][::-1] / (1 + total) for one in turned]
    run_together(backend, [(specialize(rule, (), "float64"), plain), (specialize(rule, ["turned"], "float64"), turned)],
                 defaults(rule))  # fmt: skip
    for tensor, value in zip([*plain, *turned], wanted, strict=True):
        np.testing.assert_allclose(tensor["parameter"], value, rtol=1e-14)


def test_every_form_shows_it() -> None:
    rule = WITHIN.rule
    assert "outside(scaled, " in str(rule)
    assert "  outside o.1 <- scaled(o.1, h.beta, h.step)\n" in explain(rule)
    assert r"\operatorname{scaled}" in explain(rule, form="latex")
    assert "6 loads" not in explain(rule, form="summary")
    launches = explain(rule, form="launches")
    assert re.search(r"for +stores o\.0; then reversed_\(o\.0\)", launches)
    assert "func.func @step_5" in explain(rule, form="mlir"), "functions are called by who calls these"


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self, array: Array) -> Array:
        return array


anything: Any = outside
"""As it is called by who gets it wrong."""

WRONG: dict[str, tuple[Any, str]] = {
    "a_number": (lambda g, h, on: anything(reversed_, h.beta), r"is one number\. Received: .*outside\(reversed_, g, h"),
    "a_constant": (lambda g, h, on: anything(reversed_, 2.0), r"is one number"),
    "a_sum": (lambda g, h, on: anything(reversed_, sum_of(g)), r"is one number.*numbers behind it"),
    "a_condition": (lambda g, h, on: anything(reversed_, g > 0), r"Pass where\(condition, 1\.0, 0\.0\)"),
    "what_it_returns": (
        lambda g, h, on: anything(-g, g),
        r"calls a function\. Received: `-gradient`.*not what it returns",
    ),
    "a_name": (lambda g, h, on: anything("reversed", g), r"calls a function\. Received: `'reversed'`"),
    "an_array": (lambda g, h, on: anything(np.ones(3), g), r"calls a function"),
    "the_other_way_round": (lambda g, h, on: anything(g, reversed_), r"calls a function\. Received: `gradient`"),
    "no_value": (lambda g, h, on: anything(reversed_), r"other arguments.*Write outside\(function, value, "),
    "by_words": (
        lambda g, h, on: anything(reversed_, g, steps=5),
        r"other arguments.*Write outside\(function, value, ",
    ),
    "an_array_as_value": (lambda g, h, on: anything(reversed_, np.ones(3)), r"Arrays enter a rule as slots"),
    "two_values": (lambda g, h, on: anything(reversed_, g, g), r"known before the step\. Received: `gradient`"),
    "a_sum_as_number": (lambda g, h, on: anything(reversed_, g, sum_of(g)), r"known before the step"),
    "a_flag_as_number": (lambda g, h, on: anything(reversed_, g, on.fast), r"a condition, for reversed_.*1\.0, 0\.0"),
    "a_text_as_number": (lambda g, h, on: anything(reversed_, g, "fro"), r"an expression or a number is needed"),
    "a_lambda": (lambda g, h, on: anything(lambda a: a, g), r"anew each time.*'<lambda>'.*with `def` at the top"),
    "a_partial": (lambda g, h, on: anything(functools.partial(reversed_), g), r"anew each time.*'reversed_'"),
    "without_a_hash": (lambda g, h, on: anything(Unhashable(), g), r"by their hash\. Received: a Unhashable"),
    "a_tuple": (lambda g, h, on: anything(reversed_, (g, g)), r"an expression or a number is needed"),
    "a_list": (lambda g, h, on: anything(reversed_, [g]), r"an expression or a number is needed"),
    "nothing": (lambda g, h, on: anything(reversed_, None), r"an expression or a number is needed"),
    "no_function": (lambda g, h, on: anything(None, g), r"calls a function\. Received: `None`"),
    "an_operator_of_text": (lambda g, h, on: anything("np.linalg.svd", g), r"calls a function\. Received: `'np\.lin"),
    "of_a_flag": (lambda g, h, on: anything(reversed_, on.fast), r"Pass where\(condition, 1\.0, 0\.0\)"),
    "the_step": (lambda g, h, on: anything(reversed_, h.step), r"is one number"),
    "a_size": (lambda g, h, on: anything(reversed_, size()), r"is one number"),
    "a_size_as_number": (lambda g, h, on: anything(reversed_, g, size()), r"known before the step\. Received: `size"),
    "itself_as_number": (lambda g, h, on: anything(reversed_, g, anything(reversed_, g)), r"known before the step"),
    "an_array_as_number": (lambda g, h, on: anything(reversed_, g, np.ones(2)), r"Arrays enter a rule as slots"),
    "a_condition_as_number": (lambda g, h, on: anything(reversed_, g, h.beta > 0), r"of conditions where\(condition"),
    "a_function_as_number": (lambda g, h, on: anything(reversed_, g, abs), r"an expression or a number is needed"),
    "by_name": (lambda g, h, on: anything(function=reversed_), r"Write outside\(function, value, "),
    "a_part_of_it": (lambda g, h, on: anything(reversed_, g)[0], r"a rule says what happens to one element"),
    "its_shape": (lambda g, h, on: anything(reversed_, g).shape[0], r"a rule says what happens to one element"),
    "its_sum": (lambda g, h, on: anything(reversed_, g).sum(), r"Write sum_of\(x\)"),
    "two_results": (lambda g, h, on: sum(anything(reversed_, g)), r"a rule says what happens to one element"),
    "a_truth": (lambda g, h, on: g if anything(reversed_, g) > 0 else h.beta, r"where\(condition, a, b\)"),
    "called_at_once": (lambda g, h, on: reversed_(g), r"a rule says what happens to one element"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_is_told_what_to_write(name: str) -> None:
    value, remedy = WRONG[name]

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {p: p - value(g, h, on)}

    with pytest.raises(RuleError, match=f"(?s){remedy}") as told:
        Rule("wrong", equations, hypers={"beta": 0.5}, flags={"fast": False})
    assert "Received" in str(told.value)
    assert "test_outside_rules.py" in str(told.value), "the place"


def test_a_slot_of_one_number_takes_no_whole_tensor() -> None:
    from rmsprop_jit.codegen import Slot

    def equations(p: Expr, g: Expr, s: Names) -> dict[Expr, Expr]:
        return {s.norm: outside(reversed_, g), p: p - s.norm * g}

    with pytest.raises(RuleError, match=r"a number an element in `s\.norm`.*Make it one, as sum_of\(x\)"):
        Rule("wrong", equations, slots={"norm": Slot(0.0, over="tensor")})


def test_what_is_finite_is_known_before_a_function_is_called() -> None:
    def equations(p: Expr, g: Expr) -> dict[Expr, Expr]:
        return {p: where(all_finite(g), p - outside(reversed_, g), p)}

    first, *_ = specialize(Rule("guarded", equations)).kernels
    assert first.reductions
    assert not first.detours
