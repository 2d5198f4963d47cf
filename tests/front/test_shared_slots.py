"""Slots over all: recurrences on the host, which become state exactly when a call is counted."""

import contextlib
import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from coarse import NADAM, NOSADAM, SHARED, Case, State
from compare import Array, assert_scaled
from interrupts import Interrupter
from run_rule import defaults, make_tensors, run

from rmsprop_jit import ArrayError, Optimizer
from rmsprop_jit.codegen import Expr, Flag, Rule, RuleError, Slot, rounded, specialize, sum_of, where
from rmsprop_jit.codegen.names import Names

SIZES = [3, 0, 70_000, 17]
SLOT = {"nadam": "product", "nosadam": "total"}


def variables_of(dtype: str = "float64") -> list[Array]:
    rng = np.random.default_rng(1)
    return [rng.normal(size=size).astype(dtype) for size in SIZES]


def gradients_of(variables: list[Array], step: int) -> list[Array]:
    rng = np.random.default_rng(step)
    return [rng.normal(size=one.size).astype(one.dtype) for one in variables]


def number(optimizer: Optimizer) -> float:
    """The present value of the slot over all."""
    return float(optimizer.state_dict()["all/product"])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", SHARED, ids=lambda case: case.rule.name)
def test_a_rule_does_what_its_paper_says(case: Case, dtype: str, threads: int) -> None:
    ours, theirs = variables_of(dtype), variables_of(dtype)
    optimizer, state = Optimizer(case.rule, 0.05, threads=threads), State()
    hypers = {name: hyper.default for name, hyper in case.rule.hypers.items()} | {"learning_rate": 0.05}
    for step in range(1, 13):
        gradients = gradients_of(ours, step)
        optimizer.apply(gradients, ours)
        case.update(state, theirs, gradients, step, hypers)
    for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        assert_scaled(mine, other, {"float32": 3e-6, "float64": 1e-12}[dtype], f"variable {i}")
    slot = SLOT[case.rule.name]
    np.testing.assert_allclose(optimizer.state_dict()[f"all/{slot}"], state[slot], 1e-14)


@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda"])
@pytest.mark.parametrize("case", SHARED, ids=lambda case: case.rule.name)
def test_every_backend_reads_the_number(case: Case, backend: str) -> None:
    program, slot = specialize(case.rule, (), "float64"), f"s.{SLOT[case.rule.name]}"
    tensors = make_tensors(case.rule, [3, 129], "float64", np.ones)
    theirs: list[Array] = [tensor["parameter"].copy() for tensor in tensors]
    hypers, state = defaults(case.rule), State()
    value = float(case.rule.slots[SLOT[case.rule.name]].initial)
    for step in range(1, 11):
        brought = {**hypers, "step": float(step), slot: value}
        following = run("reference", program, [], brought)[f"{slot}'"]
        run(backend, program, tensors, brought)
        case.update(state, theirs, [tensor["gradient"] for tensor in tensors], step, hypers)
        value = following
    assert value == pytest.approx(state[SLOT[case.rule.name]], rel=1e-14)
    for ours, other in zip(tensors, theirs, strict=True):
        assert_scaled(ours["parameter"], other, 1e-12, case.rule.name)


def test_the_number_is_shown_once() -> None:
    optimizer = Optimizer(NADAM)
    optimizer.build(variables_of())
    (shown,) = [one for one in optimizer.variables if "product" in one.name]
    assert (shown.name, shown.path, shown.shape) == ("all/product", "nadam/all/product", ())
    assert shown.dtype == np.float64
    assert "product" in str(specialize(NADAM, (), "float32"))


def test_micro_steps_do_not_advance_it() -> None:
    variables, optimizer = variables_of(), Optimizer(NADAM, gradient_accumulation_steps=3)
    seen = []
    for call in range(7):
        optimizer.apply(gradients_of(variables, call), variables)
        seen.append(number(optimizer))
    assert seen[0] == seen[1] == 1
    assert seen[2] == seen[3] == seen[4] < 1
    assert seen[5] == seen[6] < seen[4]
    twice, plain = variables_of(), Optimizer(NADAM)
    for call in range(2):
        plain.apply(gradients_of(twice, call), twice)
    assert number(plain) == seen[6]


def test_it_advances_once_a_call_whoever_takes_part() -> None:
    variables: list[Array] = [np.ones(3), np.ones(3, np.float32), np.ones(5)]
    optimizer = Optimizer(NOSADAM, use_ema=True)
    with pytest.warns(UserWarning, match="variable_2"):
        optimizer.apply([np.ones(3), np.ones(3, np.float32), None], variables)
    assert float(optimizer.state_dict()["all/total"]) == 1.0


def trained(steps: int = 3) -> tuple[Optimizer, list[Array]]:
    variables, optimizer = variables_of(), Optimizer(NADAM)
    for step in range(1, steps + 1):
        optimizer.apply(gradients_of(variables, step), variables)
    return optimizer, variables


@pytest.mark.parametrize("way", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_go_on_with_numbers_of_their_own(way: Any) -> None:
    optimizer, variables = trained()
    again, others = way(optimizer), [one.copy() for one in variables]
    again.apply(gradients_of(others, 5), others)
    assert number(again) < number(optimizer)
    optimizer.apply(gradients_of(variables, 5), variables)
    assert number(again) == number(optimizer)
    assert all(one.tobytes() == other.tobytes() for one, other in zip(variables, others, strict=True))


def test_a_saved_state_has_it() -> None:
    optimizer, variables = trained()
    state, others = optimizer.state_dict(), [one.copy() for one in variables]
    fresh = Optimizer(NADAM)
    fresh.build(others)
    fresh.load_state_dict(state)
    for side, mine in ((optimizer, variables), (fresh, others)):
        side.apply(gradients_of(mine, 5), mine)
    assert number(fresh) == number(optimizer)
    assert all(one.tobytes() == other.tobytes() for one, other in zip(variables, others, strict=True))
    with pytest.raises(ArrayError, match=r"'all/product' must have shape \(\)"):
        fresh.load_state_dict({**state, "all/product": np.zeros(2)})
    with pytest.raises(ArrayError, match="all/product"):
        fresh.load_state_dict({name: value for name, value in state.items() if name != "all/product"})


def test_a_number_from_a_state_is_not_overwritten_by_what_was_prepared_before() -> None:
    """A call whose numbers were made of another value does nothing, and is made anew."""
    optimizer, variables = trained(1)
    calls = optimizer._calls
    kept = calls.state.shared["product"]
    (plan,) = calls._plans.values()
    before = [one.copy() for one in variables]
    kept[...] = 0.25
    assert not plan.run(plan.bound, calls.state.ledger.calls)
    assert float(kept) == 0.25
    assert all(one.tobytes() == other.tobytes() for one, other in zip(variables, before, strict=True))


def test_numbers_that_compiled_code_makes_follow_from_the_present_one() -> None:
    """From the second update on nothing is made of the number before the call has the ledger's word."""
    (optimizer, variables), (other, others) = trained(), trained()
    calls = optimizer._calls
    (plan,) = calls._plans.values()
    bound = plan.prepared(plan.bound.passed, plan.bound.read, None, calls.settings, 0.001, 4, plan.bound)
    for one in (optimizer, other):
        one._calls.state.shared["product"][...] = 0.25
    assert plan.run(bound, 3)
    other.apply(gradients_of(others, 3), others)
    assert 0 < number(optimizer) == number(other) < 0.25
    assert all(one.tobytes() == mine.tobytes() for one, mine in zip(variables, others, strict=True))


def test_an_interrupt_finds_it_as_the_count_says() -> None:
    """Wherever a signal comes, the number is that of the calls that were counted."""
    products, one = [1.0], variables_of()
    plain = Optimizer(NADAM)
    for call in range(40):
        plain.apply(gradients_of(one, call), one)
        products.append(number(plain))
    variables, optimizer = variables_of(), Optimizer(NADAM)
    gradients = gradients_of(variables, 1)
    optimizer.apply(gradients, variables)  # the second call is where it is asked who makes numbers
    n = 0
    while optimizer.iterations < 30:
        with contextlib.suppress(KeyboardInterrupt), Interrupter(n) as interrupter:
            optimizer.apply([one.copy() for one in gradients], variables)
        assert number(optimizer) == products[optimizer.iterations]
        n = n + 7 if interrupter.raised else 0


def test_nan_is_a_number_like_others() -> None:
    optimizer, variables = trained()
    state = {**optimizer.state_dict(), "all/product": np.array(np.nan)}
    optimizer.load_state_dict(state)
    optimizer.apply(gradients_of(variables, 5), variables)
    assert np.isnan(number(optimizer))


def test_update_step_reads_it_and_leaves_it() -> None:
    optimizer, variables = trained()
    before, kept = number(optimizer), variables[0].copy()
    optimizer.update_step(np.ones(3), variables[0], 0.1)
    assert number(optimizer) == before
    assert not np.array_equal(variables[0], kept)


def test_an_option_that_changes_the_slots_keeps_it() -> None:
    optimizer, variables = trained()
    before = number(optimizer)
    optimizer.use_ema = True
    assert number(optimizer) == before
    optimizer.apply(gradients_of(variables, 5), variables)
    assert number(optimizer) < before


def test_variables_that_would_disagree_are_refused() -> None:
    rule = Rule(
        "split",
        lambda p, g, s, on: {s.n: s.n + where(on.long, 2.0, 1.0), p: p - s.n * g},
        slots={"n": Slot(0.0, over="all")},
        flags={"long": Flag(of=lambda shape: shape[0] > 3)},
    )
    variables = [np.ones(3), np.ones(4)]
    with pytest.raises(RuleError, match=r"the slot 'n', which is over 'all', different values.*Received: 1.0 and 2.0"):
        Optimizer(rule).apply([np.ones(3), np.ones(4)], variables)
    assert variables[0].tolist() == [1.0] * 3


def test_what_it_cannot_be() -> None:
    bad: list[tuple[Callable[[Expr, Expr], Expr], str]] = [
        (lambda g, step: g, r"stores a number an element in `s.d`, a slot over 'all'"),
        (lambda g, step: sum_of(g), r"stores a number a tensor in `s.d`"),
        (lambda g, step: rounded(step), r"stores a rounded number"),
    ]
    for made, message in bad:

        def equations(p: Expr, g: Expr, s: Names, h: Names, made: Any = made) -> dict[Expr, Expr]:
            return {s.d: made(g, h.step), p: p - s.d * g}

        with pytest.raises(RuleError, match=message):
            Rule("bad", lambda p, g, s, h, made=equations: made(p, g, s, h), slots={"d": Slot(1.0, over="all")})
