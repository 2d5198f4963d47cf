"""Slots over all that are given what a step reduces, in an optimizer: once an update, whoever takes part in it."""

import contextlib
import copy
import pickle
from typing import Any

import numpy as np
import pytest
from compare import Array, assert_same_bits, assert_scaled
from gathering import GATHERED, MEASURED, State, measured_in_numpy
from interrupts import Interrupter

from rmsprop_jit import ArrayError, Optimizer
from rmsprop_jit.codegen import Expr, Flag, Rule, RuleError, Slot, new, sqrt, sum_of, sum_of_squares, where
from rmsprop_jit.codegen.names import Names

SHAPES = [((3,), "float64"), ((0,), "float32"), ((40_000,), "float32"), ((2, 3, 4), "float32"), ((17,), "float64")]


def variables_of() -> list[Array]:
    rng = np.random.default_rng(1)
    return [rng.normal(size=shape).astype(dtype) for shape, dtype in SHAPES]


def gradients_of(step: int) -> list[Array]:
    rng = np.random.default_rng(10 + step)
    return [rng.normal(size=shape).astype(dtype) for shape, dtype in SHAPES]


def numbers(optimizer: Optimizer) -> dict[str, float]:
    """The present values of slots over all."""
    return {name: float(value) for name, value in optimizer.state_dict().items() if name.startswith("all/")}


def trained(steps: int = 3, **options: Any) -> tuple[Optimizer, list[Array]]:
    variables, optimizer = variables_of(), Optimizer(MEASURED, 0.05, **options)
    for step in range(steps):
        optimizer.apply(gradients_of(step), variables)
    return optimizer, variables


def assert_alike(mine: list[Array], yours: list[Array]) -> None:
    for i, (one, other) in enumerate(zip(mine, yours, strict=True)):
        assert_same_bits(one, other, i)


@pytest.mark.parametrize("threads", [1, 2])
def test_variables_of_several_kinds_make_one_number(threads: int) -> None:
    optimizer, variables = trained(6, threads=threads)
    theirs, state = variables_of(), State()
    for step in range(6):
        measured_in_numpy(state, theirs, gradients_of(step), step + 1)
    for i, (mine, other) in enumerate(zip(variables, theirs, strict=True)):
        assert_scaled(mine, other, 1e-5 if mine.dtype == np.float32 else 1e-6, f"variable {i}")
    for name in (*GATHERED, "known"):
        np.testing.assert_allclose(numbers(optimizer)[f"all/{name}"], state[name], 1e-6, err_msg=name)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    (one, ours), (two, theirs) = trained(threads=1), trained(threads=2)
    assert numbers(one) == numbers(two)
    assert_alike(ours, theirs)


def test_a_variable_without_a_gradient_has_no_part_in_it() -> None:
    given: list[list[Array | None]] = [[*gradients_of(step)] for step in range(4)]
    given[1][2] = given[2][0] = given[2][4] = None
    variables, optimizer = variables_of(), Optimizer(MEASURED, 0.05, use_ema=True)
    theirs, state = variables_of(), State()
    for step, gradients in enumerate(given, 1):
        is_missing = any(one is None for one in gradients)
        with pytest.warns(UserWarning, match="Gradients") if is_missing else contextlib.nullcontext():
            optimizer.apply(gradients, variables)
        measured_in_numpy(state, theirs, gradients, step)
    for name in GATHERED:
        np.testing.assert_allclose(numbers(optimizer)[f"all/{name}"], state[name], 1e-6, err_msg=name)
    for i, (mine, other) in enumerate(zip(variables, theirs, strict=True)):
        assert_scaled(mine, other, 1e-5, f"variable {i}")


def total(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Adagrad with one number for all, in the step that already reads it."""
    return {s.total: s.total + sum_of_squares(g, over="all"), p: p - h.learning_rate * g / sqrt(new(s.total))}


TOTAL = Rule("total", total, slots={"total": Slot(0.0, over="all")})


def test_only_updates_advance_it() -> None:
    variables: list[Array] = [np.ones(2), np.ones(3, np.float32)]
    optimizer, seen = Optimizer(TOTAL, 0.1, gradient_accumulation_steps=2), []
    for call in range(5):
        optimizer.apply([np.full(2, call + 1.0), np.full(3, call + 1.0, np.float32)], variables)
        seen.append(numbers(optimizer)["all/total"])
    assert seen == [0.0, 5 * 1.5**2, 5 * 1.5**2, 5 * (1.5**2 + 3.5**2), 5 * (1.5**2 + 3.5**2)]


def test_gradients_that_were_added_up_before_count() -> None:
    variables: list[Array] = [np.ones(2), np.ones(3)]
    optimizer = Optimizer(TOTAL, 0.1, gradient_accumulation_steps=2)
    optimizer.apply([np.full(2, 2.0), np.full(3, 4.0)], variables)
    with pytest.warns(UserWarning, match="variable_1"):
        optimizer.apply([np.full(2, 4.0), None], variables)
    assert numbers(optimizer) == {"all/total": 2 * 3.0**2 + 3 * 2.0**2}


def test_every_option_around_it_leaves_one_update_one() -> None:
    variables: list[Array] = [np.ones(2), np.ones(3, np.float32)]
    optimizer = Optimizer(TOTAL, 0.1, use_ema=True, weight_decay=0.1, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["variable_1"])
    for _ in range(3):
        optimizer.apply([np.full(2, 9.0), np.full(3, 9.0, np.float32)], variables)
    assert numbers(optimizer)["all/total"] == pytest.approx(3.0, rel=1e-6)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_go_on_with_numbers_of_their_own(way: Any) -> None:
    optimizer, variables = trained()
    again, others = way(optimizer), [one.copy() for one in variables]
    before = numbers(optimizer)
    again.apply(gradients_of(5), others)
    assert numbers(optimizer) == before != numbers(again)
    optimizer.apply(gradients_of(5), variables)
    assert numbers(optimizer) == numbers(again)
    assert_alike(variables, others)


def test_a_saved_state_has_them() -> None:
    optimizer, variables = trained()
    state, others = optimizer.state_dict(), [one.copy() for one in variables]
    assert {"all/d", "all/largest", "all/seen", "all/known"} <= state.keys()
    assert all(state[name].shape == () and state[name].dtype == np.float64 for name in numbers(optimizer))
    fresh = Optimizer(MEASURED, 0.05)
    fresh.build(others)
    fresh.load_state_dict(state)
    for side, mine in ((optimizer, variables), (fresh, others)):
        side.apply(gradients_of(5), mine)
    assert numbers(optimizer) == numbers(fresh)
    assert_alike(variables, others)
    with pytest.raises(ArrayError, match=r"'all/d' must have shape \(\)"):
        fresh.load_state_dict({**state, "all/d": np.zeros(2)})
    fresh.load_state_dict({**state, "all/d": np.array(np.nan)})
    fresh.apply(gradients_of(6), others)
    assert np.isnan(numbers(fresh)["all/d"])


def test_they_are_shown_once() -> None:
    optimizer, _ = trained(1)
    shown = {one.path: one for one in optimizer.variables if "all/" in one.path}
    assert {path.rpartition("/")[2] for path in shown} == {*GATHERED, "known"}
    assert shown["measured/all/d"].shape == ()
    assert float(np.asarray(shown["measured/all/d"])) == numbers(optimizer)["all/d"]


def test_an_interrupt_finds_them_as_the_count_says() -> None:
    optimizer, variables = trained(1)
    found, plain = {1: numbers(optimizer)}, copy.deepcopy(optimizer)
    others = [one.copy() for one in variables]
    for step in range(2, 20):
        plain.apply(gradients_of(3), others)
        found[step] = numbers(plain)
    gradients, n = gradients_of(3), 0
    while optimizer.iterations < 19:
        with contextlib.suppress(KeyboardInterrupt), Interrupter(n) as interrupter:
            optimizer.apply([one.copy() for one in gradients], variables)
        assert numbers(optimizer) == found[optimizer.iterations]
        n = n + 11 if interrupter.raised else 0
    assert_alike(variables, others)


def test_update_step_reads_them_and_leaves_them() -> None:
    optimizer, variables = trained()
    before, kept = numbers(optimizer), variables[0].copy()
    optimizer.update_step(np.ones(3), variables[0], 0.1)
    assert numbers(optimizer) == before
    assert not np.array_equal(variables[0], kept)


def test_an_option_that_changes_the_slots_keeps_them() -> None:
    optimizer, variables = trained()
    before = numbers(optimizer)
    optimizer.use_ema = True
    assert numbers(optimizer) == before
    optimizer.apply(gradients_of(5), variables)
    assert numbers(optimizer)["all/seen"] > before["all/seen"]


def first(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    norm = sum_of_squares(g, over="all")
    return {s.n: where(on.first, norm, (s.n + norm) / 2), p: p - h.learning_rate * g / (1 + s.n)}


def test_a_first_update_is_that_of_all_variables() -> None:
    """Where one begins later than others, there is no one number: nothing is written."""
    rule = Rule("first", first, slots={"n": Slot(7.0, over="all")})
    variables: list[Array] = [np.ones(2), np.ones(1)]
    optimizer = Optimizer(rule)
    optimizer.apply([np.full(2, 2.0), np.ones(1)], variables)
    assert numbers(optimizer) == {"all/n": 9.0}
    optimizer.apply([np.full(2, 2.0), np.full(1, 3.0)], variables)
    assert numbers(optimizer) == {"all/n": 13.0}
    late = Optimizer(rule)
    late.build(variables)
    with pytest.warns(UserWarning, match="variable_1"):
        late.apply([np.ones(2), None], variables)
    before = [one.copy() for one in variables]
    with pytest.raises(
        RuleError, match=r"'n', which is over 'all', different values.*h.step == 1 in place of on.first"
    ):
        late.apply([np.ones(2), np.ones(1)], variables)
    assert_alike(variables, before)
    assert numbers(late) == {"all/n": 2.0}
    assert late.iterations == 1


def test_variables_that_would_disagree_are_refused() -> None:
    def split(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {s.n: s.n + where(on.long, 2.0, 1.0) * sum_of(g, over="all"), p: p - s.n * g}

    rule = Rule("split", split, slots={"n": Slot(0.0, over="all")}, flags={"long": Flag(of=lambda shape: shape[0] > 3)})
    variables: list[Array] = [np.ones(3), np.ones(4)]
    with pytest.raises(RuleError, match=r"the slot 'n', which is over 'all', different values for different variables"):
        Optimizer(rule).apply([np.ones(3), np.ones(4)], variables)
    assert variables[0].tolist() == [1.0] * 3


def test_variables_that_reduce_in_different_ways_make_one_number() -> None:
    """What a shape decides within a reduction is joined, as norms are."""

    def lengths(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {s.n: s.n + sum_of(where(on.long, g * 2, g), over="all"), p: p - h.learning_rate * new(s.n) * g}

    flags = {"long": Flag(of=lambda shape: shape[0] > 3)}
    rule = Rule("lengths", lengths, slots={"n": Slot(0.0, over="all")}, flags=flags)
    variables: list[Array] = [np.ones(3), np.ones(4, np.float32)]
    optimizer = Optimizer(rule, 0.125)
    optimizer.apply([np.ones(3), np.ones(4, np.float32)], variables)
    assert numbers(optimizer) == {"all/n": 3.0 + 8.0}
    assert variables[0].tolist() == [1 - 11 / 8] * 3
    assert variables[1].tolist() == [1 - 11 / 8] * 4


@pytest.mark.parametrize("order", [1, -1])
def test_what_only_some_variables_read_is_reduced_over_all(order: int) -> None:
    """Variables that do not read a number have a part in it all the same."""

    def some(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        numbers = {s.n: s.n + sum_of(g, over="all"), s.e: s.e + 2 * s.n + sum_of(g * g, over="all")}
        return {**numbers, p: p - s.n * g - where(on.long, s.e, 0.0)}

    slots = {"n": Slot(1.0, over="all"), "e": Slot(0.0, over="all")}
    rule = Rule("some", some, slots=slots, flags={"long": Flag(of=lambda shape: shape[0] > 3)})
    variables: list[Array] = [np.zeros(3), np.zeros(4), np.zeros(2, np.float32)]
    variables = variables[::order]
    optimizer = Optimizer(rule)
    for _ in range(2):
        optimizer.apply([np.ones_like(one) for one in variables], variables)
    assert numbers(optimizer) == {"all/n": 1 + 9 + 9, "all/e": (2 + 9) + (2 * 10 + 9)}
    short, long = (one for one in variables if one.dtype == np.float64 and one.size > 2)
    if order < 0:
        short, long = long, short
    assert short.tolist() == [-11.0] * 3
    assert long.tolist() == [-11.0 - 11] * 4
