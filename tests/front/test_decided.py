"""Flags that the step or the shape decides, and `on.first`: what is computed, what is moved, what is kept."""

import copy
import pickle
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import simulated_cupy as cupy
from compare import Array, assert_same_bits
from gpu import capture

from rmsprop_jit import ArrayError, Optimizer, OptionError, RuleError
from rmsprop_jit.codegen import Expr, Flag, Rule, specialize, where
from rmsprop_jit.codegen.names import Names


def is_due(h: Any) -> bool:
    return bool(h.step % h.every == 0)


def is_matrix(shape: tuple[int, ...]) -> bool:
    return len(shape) > 1


def every_so_often(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Gradients are summed in each step, and used and forgotten in some."""
    summed = s.sum + g
    return {s.sum: where(on.due, 0.0, summed), p: where(on.due, p - h.learning_rate * summed, p)}


SOMETIMES = Rule(
    "sometimes", every_so_often, slots={"sum": 0.0}, hypers={"every": 3.0}, flags={"due": Flag(when=is_due)}
)


def by_shape(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Matrices have momentum, and vectors an average of squares."""
    m = where(on.matrix, 0.5 * s.m + g, g)
    v = where(on.matrix, 1.0, 0.5 * s.v + g * g)
    return {s.m: m, s.v: v, p: p - h.learning_rate * m / v}


SHAPED = Rule("shaped", by_shape, slots={"m": 0.0, "v": 0.0}, flags={"matrix": Flag(of=is_matrix)})


def started(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    m = where(on.first, g, 0.5 * s.m + 0.5 * g)
    return {s.m: m, p: p - h.learning_rate * m}


STARTED = Rule("started", started, slots={"m": 0.0})

HOMES: dict[str, Callable[[Array], Any]] = {"numpy": np.asarray, "cupy": cupy.asarray}
home = pytest.mark.parametrize("home", HOMES.values(), ids=HOMES)


def on_host(array: Any) -> Array:
    return np.asarray(array if isinstance(array, np.ndarray) else array.get())


def sizes() -> list[Array]:
    rng = np.random.default_rng(7)
    return [rng.normal(size=shape) for shape in (5, (3, 4), 1)]


def gradients(call: int) -> list[Array]:
    rng = np.random.default_rng(100 + call)
    return [rng.normal(size=one.shape) for one in sizes()]


def quietly(optimizer: Optimizer, grads: Sequence[Any], variables: Sequence[Any] | None = None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        optimizer.apply(grads, variables)


# The step decides.


@home
def test_a_step_that_is_due_does_more(home: Callable[[Array], Any]) -> None:
    variables, expected = [home(one) for one in sizes()], sizes()
    sums = [np.zeros_like(one) for one in expected]
    optimizer = Optimizer(SOMETIMES, 0.5)
    optimizer.build(variables)
    for call in range(10):
        grads = gradients(call)
        optimizer.apply([home(one) for one in grads])
        for one, total, gradient in zip(expected, sums, grads, strict=True):
            total += gradient
            if (call + 1) % 3 == 0:
                one -= 0.5 * total
                total[...] = 0
    for mine, theirs in zip(variables, expected, strict=True):
        np.testing.assert_allclose(on_host(mine), theirs, rtol=1e-14)


def test_what_decides_may_change_between_calls() -> None:
    variable, gradient = np.zeros(2), np.ones(2)
    optimizer = Optimizer(SOMETIMES, 1.0, every=2.0)
    seen = []
    for _ in range(4):
        optimizer.apply([gradient], [variable])
        seen.append(variable[0])
    optimizer.every = 1.0
    optimizer.apply([gradient], [variable])
    assert [*seen, variable[0]] == [0, -2, -2, -4, -5]


def test_no_traffic_where_nothing_is_due() -> None:
    off, due = specialize(SOMETIMES, (), "float32"), specialize(SOMETIMES, {"due"}, "float32")
    assert off.written == {"sum"}
    assert off.bytes_per_element() == 3 * 4
    assert due.written == {"sum", "parameter"}
    assert off.slots.keys() == due.slots.keys() == {"sum"}


def test_a_value_that_a_later_step_reads_is_kept() -> None:
    """What is pruned is what no kind of step can use, not what this one does not."""

    def late(p: Expr, g: Expr, s: Names, on: Names) -> dict[Expr, Expr]:
        return {s.a: s.a + g, s.b: s.b + 1, s.c: s.c + s.b, p: where(on.due, p - s.a, p)}

    rule = Rule(
        "late", late, slots={"a": 0.0, "b": 0.0, "c": 0.0}, flags={"due": Flag(when=is_due)}, hypers={"every": 2.0}
    )
    assert specialize(rule, ()).slots.keys() == {"a"}
    assert specialize(rule, ()).written == {"a"}


def test_under_accumulation_the_update_decides() -> None:
    variable, gradient = np.zeros(1), np.ones(1)
    optimizer = Optimizer(SOMETIMES, 1.0, every=2.0, gradient_accumulation_steps=2)
    seen = []
    for _ in range(8):
        optimizer.apply([gradient], [variable])
        seen.append(variable[0])
    assert seen == [0, 0, 0, -2, -2, -2, -2, -4]


@pytest.mark.parametrize(
    ("when", "message"),
    [
        (lambda h: h.evry == 1, r"rule 'trial': the function of flag 'due' failed\. Received: .*evry"),
        (lambda h: h.step, r"flag 'due' says True or False\. Received: 1"),
        (lambda h: 1 / 0, r"ZeroDivisionError"),
    ],
)
def test_a_function_that_fails_is_named_and_nothing_is_done(when: Any, message: str) -> None:
    rule = Rule("trial", every_so_often, slots={"sum": 0.0}, hypers={"every": 3.0}, flags={"due": Flag(when=when)})
    variable = np.ones(3)
    optimizer = Optimizer(rule)
    with pytest.raises(RuleError, match=message):
        optimizer.apply([np.ones(3)], [variable])
    assert optimizer.iterations == 0
    assert_same_bits(variable, np.ones(3), "variable")


def test_what_the_step_decides_is_no_option() -> None:
    with pytest.raises(OptionError, match=r"not recognized.*'due'"):
        Optimizer(SOMETIMES, due=True)
    assert "due" not in Optimizer(SOMETIMES).get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"when": is_due, "of": is_matrix}, "decided in one way"),
        ({"when": is_due, "default": True}, "decided in one way"),
        ({"when": "step"}, r"Flag\(when=\.\.\.\) is a function of the step's numbers\. Received: when='step'"),
        ({"of": 3}, r"Flag\(of=\.\.\.\) is a function of a shape\. Received: of=3"),
    ],
)
def test_a_flag_is_decided_in_one_way_by_a_function(arguments: Any, message: str) -> None:
    with pytest.raises(RuleError, match=message):
        Flag(**arguments)


def test_a_lambda_that_decides_cannot_be_pickled_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.rpartition(".")[2] in ("cloudpickle", "dill")]:
        monkeypatch.delitem(sys.modules, name)
    rule = Rule(
        "trial", every_so_often, slots={"sum": 0.0}, hypers={"every": 3.0}, flags={"due": Flag(when=lambda h: True)}
    )
    with pytest.raises(RuleError, match=r"cannot be pickled.*lambda"):
        pickle.dumps(rule)
    assert pickle.loads(pickle.dumps(SOMETIMES)).flags == SOMETIMES.flags


# The shape decides.


@home
def test_shapes_have_kernels_and_slots_of_their_own(home: Callable[[Array], Any]) -> None:
    variables, expected = [home(one) for one in sizes()], sizes()
    state = [np.zeros_like(one) for one in expected]
    optimizer = Optimizer(SHAPED, 0.5)
    optimizer.build(variables)
    kept = [one.path.split("/")[1] for one in optimizer.variables[2:]]
    assert kept == ["variable_1_m", "variable_0_v", "variable_2_v"]
    for call in range(3):
        grads = gradients(call)
        optimizer.apply([home(one) for one in grads])
        for one, slot, gradient in zip(expected, state, grads, strict=True):
            if one.ndim > 1:
                slot[...] = 0.5 * slot + gradient
                one -= 0.5 * slot
            else:
                slot[...] = 0.5 * slot + gradient**2
                one -= 0.5 * gradient / slot
    for mine, theirs in zip(variables, expected, strict=True):
        np.testing.assert_allclose(on_host(mine), theirs, rtol=1e-13)


def test_a_function_of_the_shape_that_fails_is_named_before_anything_is_built() -> None:
    rule = Rule("trial", by_shape, slots={"m": 0.0, "v": 0.0}, flags={"matrix": Flag(of=lambda shape: bool(shape[1]))})
    optimizer = Optimizer(rule)
    with pytest.raises(RuleError, match=r"flag 'matrix' failed\. Received: \(3,\): IndexError"):
        optimizer.build([np.ones(3)])
    assert not optimizer.built


# The first update.


@home
def test_a_late_variable_has_a_first_update_of_its_own(home: Callable[[Array], Any]) -> None:
    variables, expected = [home(one) for one in sizes()], sizes()
    means: list[Array | None] = [None] * len(expected)
    optimizer = Optimizer(STARTED, 0.5)
    optimizer.build(variables)
    for call in range(6):
        grads: list[Array | None] = [*gradients(call)]
        if call < 3:
            grads[1] = None
        quietly(optimizer, [None if one is None else home(one) for one in grads])
        for i, gradient in enumerate(grads):
            if gradient is not None:
                mean = means[i]
                now = gradient if mean is None else 0.5 * mean + 0.5 * gradient
                means[i] = now
                expected[i] -= 0.5 * now
    for mine, theirs in zip(variables, expected, strict=True):
        np.testing.assert_allclose(on_host(mine), theirs, rtol=1e-13)


def test_a_window_that_is_open_has_not_started() -> None:
    variable = np.zeros(1)
    optimizer = Optimizer(STARTED, 1.0, gradient_accumulation_steps=2)
    for gradient in (1.0, 3.0, 4.0, 4.0):
        optimizer.apply([np.array([gradient])], [variable])
    assert variable[0] == -2.0 - (1.0 + 2.0)
    assert optimizer.state_dict()["started"].tolist() == [True]


def resumed(optimizer: Optimizer, variables: list[Array]) -> list[tuple[Optimizer, list[Array]]]:
    """The same training, gone on with after each way to keep it."""
    ways = []
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        own = [one.copy() for one in variables]
        other.build(own)
        ways.append((other, own))
    own = [one.copy() for one in variables]
    other = Optimizer(STARTED, 0.5)
    other.build(own)
    other.load_state_dict(optimizer.state_dict())
    return [*ways, (other, own)]


def test_what_has_started_is_kept_with_the_state() -> None:
    variables = sizes()
    optimizer = Optimizer(STARTED, 0.5)
    quietly(optimizer, [gradients(0)[0], None, gradients(0)[2]], variables)
    others = resumed(optimizer, variables)
    optimizer.apply(gradients(1))
    for other, own in others:
        assert other.state_dict()["started"].tolist() == [True, False, True]
        other.apply(gradients(1))
        for mine, theirs in zip(own, variables, strict=True):
            assert_same_bits(mine, theirs, "variable")


def test_a_state_that_does_not_say_so_has_started_after_an_update() -> None:
    for calls, expected in ((0, [False]), (1, [True])):
        optimizer = Optimizer(STARTED)
        optimizer.build([np.ones(2)])
        for _ in range(calls):
            optimizer.apply([np.ones(2)])
        state = optimizer.state_dict()
        state.pop("started")
        other = Optimizer(STARTED)
        other.build([np.ones(2)])
        other.load_state_dict(state)
        assert other.state_dict()["started"].tolist() == expected


@pytest.mark.parametrize("started", [np.array([True, True]), np.array([1.0]), "yes"])
def test_a_state_that_says_nonsense_is_refused(started: Any) -> None:
    optimizer = Optimizer(STARTED)
    optimizer.build([np.ones(2)])
    with pytest.raises(ArrayError, match=r"'started' must have shape \(1,\) and dtype bool"):
        optimizer.load_state_dict({**optimizer.state_dict(), "started": started})


def test_first_cannot_be_declared() -> None:
    with pytest.raises(RuleError, match=r"on\.first is always there and cannot be declared"):
        Rule("trial", started, slots={"m": 0.0}, flags={"first": False})


def test_rules_that_do_not_ask_have_no_such_state() -> None:
    optimizer = Optimizer(SHAPED)
    optimizer.build([np.ones(2)])
    assert "started" not in optimizer.state_dict()


# Graphs repeat one kind of step.


@pytest.mark.parametrize(("rule", "why"), [(SOMETIMES, r"flags \['due'\]"), (STARTED, "first update of a variable")])
def test_a_step_that_is_one_of_several_is_not_captured(rule: Rule, why: str) -> None:
    variable, gradient = cupy.asarray(np.ones(3)), cupy.asarray(np.ones(3))
    optimizer = Optimizer(rule)
    optimizer.build([variable])
    with pytest.raises(OptionError, match=why):
        capture(lambda: optimizer.apply([gradient]))
    assert optimizer.iterations == 0


def test_after_its_first_update_it_is_captured() -> None:
    variable, gradient = cupy.asarray(np.ones(3)), cupy.asarray(np.ones(3))
    optimizer = Optimizer(STARTED, 0.5)
    optimizer.apply([gradient], [variable])
    graph = capture(lambda: optimizer.apply([gradient]))
    graph.launch()
    assert variable.get().tolist() == [0.0] * 3
    assert optimizer.iterations == 2
