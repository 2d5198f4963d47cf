"""Further inputs: arrays that calls bring beside gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import simulated_cupy as cupy
from compare import Array, assert_same_bits

from rmsprop_jit import ArrayError, Optimizer, OptionError, RuleError, Sophia
from rmsprop_jit.codegen import Expr, Flag, Input, Rule, maximum, specialize, sqrt, where
from rmsprop_jit.codegen.names import Names


def is_due(h: Any) -> bool:
    return bool(h.step % 2 == 1)


def scaled(p: Expr, g: Expr, h: Names, x: Names) -> dict[Expr, Expr]:
    return {p: p - h.learning_rate * g / x.scale}


def curved(p: Expr, g: Expr, s: Names, h: Names, on: Names, x: Names) -> dict[Expr, Expr]:
    """As Sophia: a Hessian's diagonal in some steps, its average in all."""
    hessian = where(on.due, 0.5 * s.hessian + 0.5 * x.hessian, s.hessian)
    return {s.hessian: hessian, p: p - h.learning_rate * g / maximum(hessian, 0.1)}


def is_fourth(h: Any) -> bool:
    return bool(h.step % 4 == 1)


PLAIN = Rule("plain", scaled, inputs=["scale"])
CURVED = Rule("curved", curved, slots={"hessian": 0.0}, flags={"due": Flag(when=is_due)}, inputs={"hessian": Input()})
SELDOM = Rule("seldom", curved, slots={"hessian": 0.0}, flags={"due": Flag(when=is_fourth)}, inputs=["hessian"])

HOMES: dict[str, Callable[[Array], Any]] = {"numpy": np.asarray, "cupy": cupy.asarray}
home = pytest.mark.parametrize("home", HOMES.values(), ids=HOMES)


def on_host(array: Any) -> Array:
    return np.asarray(array if isinstance(array, np.ndarray) else array.get())


def some(seed: int, dtype: str = "float64") -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.uniform(0.5, 2.0, shape).astype(dtype) for shape in (7, (3, 5))]


@home
@pytest.mark.parametrize("kept", ["float32", "float64"])
def test_an_input_reaches_the_equations(home: Callable[[Array], Any], kept: str) -> None:
    """In its own dtype: it is rounded where it is read, as gradients are."""
    variables, grads, scales = some(0), some(1), some(2, kept)
    expected = [v - 0.5 * g / s.astype(np.float64) for v, g, s in zip(variables, grads, scales, strict=True)]
    ours = [home(one) for one in variables]
    Optimizer(PLAIN, 0.5).apply([home(one) for one in grads], ours, scale=[home(one) for one in scales])
    for mine, theirs in zip(ours, expected, strict=True):
        np.testing.assert_allclose(on_host(mine), theirs, rtol=1e-14)


def test_inputs_come_by_name_and_in_any_order_of_variables() -> None:
    variables = {"a": np.ones(3), "b": np.ones(2)}
    optimizer = Optimizer(PLAIN, 1.0)
    optimizer.build(variables)
    grads = {"b": np.full(2, 2.0), "a": np.full(3, 3.0)}
    optimizer.apply(grads, scale={"a": np.full(3, 3.0), "b": np.full(2, 4.0)})
    assert variables["a"].tolist() == [0.0] * 3
    assert variables["b"].tolist() == [0.5] * 2
    optimizer.apply([grads["b"]], [variables["b"]], scale=[np.full(2, 1.0)])
    assert variables["b"].tolist() == [-1.5] * 2


def test_it_may_be_left_out_where_nothing_reads_it() -> None:
    variable, gradient, hessian = np.zeros(2), np.ones(2), np.full(2, 2.0)
    optimizer = Optimizer(CURVED, 1.0)
    optimizer.apply([gradient], [variable], hessian=[hessian])
    optimizer.apply([gradient])
    assert variable[0] == -2.0
    with pytest.raises(ArrayError, match=r"the input 'hessian' of 'variable_0' is missing, and this call reads it\."):
        optimizer.apply([gradient])
    with pytest.raises(ArrayError, match=r"is missing.*hessian=\[\.\.\.\]"):
        optimizer.apply([gradient], hessian=[None])
    assert optimizer.iterations == 2
    optimizer.apply([gradient], hessian=[np.zeros(2)])
    assert variable[0] == -4.0


@home
def test_calls_without_them_are_recognised_by_what_they_have_in_common(home: Callable[[Array], Any]) -> None:
    """The same gradients, fresh ones and changed ones, between calls that bring inputs in this dtype or another."""
    mine, theirs = ([home(one) for one in some(0)] for _ in range(2))
    quick, careful = Optimizer(SELDOM, 0.5), Optimizer(SELDOM, 0.5)
    same = [home(one) for one in some(1)]
    for step in range(16):
        grads = same if step % 4 < 2 else [home(one) for one in some(step)]
        brought: dict[str, Any] = {"hessian": [home(one) for one in some(step, "float32")]} if step % 4 == 0 else {}
        quick.apply(grads, mine, **brought)
        careful.apply([g.copy() for g in grads][::-1], theirs[::-1], **{k: v[::-1] for k, v in brought.items()})
        assert [on_host(one).tobytes() for one in mine] == [on_host(one).tobytes() for one in theirs], step


def test_a_variable_without_a_gradient_needs_none() -> None:
    variables = [np.zeros(2), np.zeros(3)]
    optimizer = Optimizer(PLAIN, 1.0)
    optimizer.build(variables)
    with pytest.warns(UserWarning, match="variable_1"):
        optimizer.apply([np.ones(2), None], scale=[np.ones(2), None])
    assert variables[0].tolist() == [-1.0] * 2
    assert variables[1].tolist() == [0.0] * 3


def test_programs_read_what_they_need() -> None:
    due, off = specialize(CURVED, {"due"}), specialize(CURVED, ())
    assert due.brought == ("gradient", "x.hessian")
    assert off.brought == ("gradient",)
    assert off.bytes_per_element() == 4 * 4


# Accumulation.


@home
@pytest.mark.parametrize(("accumulate", "used"), [("mean", 3.0), ("last", 4.0)])
def test_under_accumulation_it_is_the_mean_or_the_last(
    home: Callable[[Array], Any], accumulate: Any, used: float
) -> None:
    rule = Rule("plain", scaled, inputs={"scale": Input(accumulate=accumulate)})
    variable = home(np.zeros(2))
    optimizer = Optimizer(rule, 1.0, gradient_accumulation_steps=2)
    optimizer.build([variable])
    for _ in range(2):  # twice, for what is left over of the first window
        for scale in (2.0, 4.0):
            is_read = accumulate == "mean" or scale == 4.0
            inputs = {"scale": [home(np.full(2, scale))]} if is_read else {}
            optimizer.apply([home(np.ones(2))], **inputs)
    np.testing.assert_allclose(on_host(variable), -2.0 / used, rtol=1e-15)


def test_the_mean_is_not_added_up_for_an_update_that_does_not_read_it() -> None:
    variable = np.zeros(1)
    optimizer = Optimizer(CURVED, 1.0, gradient_accumulation_steps=2)
    optimizer.build([variable])
    one = [np.ones(1)]
    optimizer.apply(one, hessian=[np.full(1, 1.0)])
    with pytest.raises(ArrayError, match="missing"):
        optimizer.apply(one)
    optimizer.apply(one, hessian=[np.full(1, 3.0)])
    assert variable[0] == -1.0
    for _ in range(2):
        optimizer.apply(one)
    assert variable[0] == -2.0
    for hessian in (4.0, 6.0):
        optimizer.apply(one, hessian=[np.full(1, hessian)])
    assert variable[0] == -2.0 - 1 / 3.0


def test_what_is_added_up_is_state() -> None:
    def half_way() -> tuple[Optimizer, Array]:
        variable = np.zeros(2)
        optimizer = Optimizer(PLAIN, 1.0, gradient_accumulation_steps=2)
        optimizer.build([variable])
        return optimizer, variable

    (ours, here), (theirs, there) = half_way(), half_way()
    ours.apply([np.ones(2)], scale=[np.full(2, 2.0)])
    state = ours.state_dict()
    assert state["variable_0_scale_accumulator"].tolist() == [2.0] * 2
    theirs.load_state_dict(state)
    for optimizer in (ours, theirs):
        optimizer.apply([np.ones(2)], scale=[np.full(2, 4.0)])
    assert here.tolist() == [-1 / 3] * 2
    assert_same_bits(here, there, "variable")
    assert ours.state_dict()["variable_0_scale_accumulator"].tolist() == [0.0] * 2


# Unscaling and clipping.


@pytest.mark.parametrize(("unscaled", "clipped", "used"), [(0, 0, 8.0), (1, 0, 2.0), (0, 1, 3.0), (1, 1, 2.0)])
def test_it_is_unscaled_and_clipped_only_if_it_says_so(unscaled: int, clipped: int, used: float) -> None:
    rule = Rule("plain", scaled, inputs={"scale": Input(unscaled=bool(unscaled), clipped=bool(clipped))})
    variable = np.zeros(1)
    Optimizer(rule, 1.0, loss_scale_factor=4.0, clipvalue=3.0).apply(
        [np.full(1, 4.0)], [variable], scale=[np.full(1, 8.0)]
    )
    assert variable[0] == -1.0 / used


def test_a_norm_is_its_own() -> None:
    rule = Rule("plain", scaled, inputs={"scale": Input(clipped=True)})
    variables, scales = [np.zeros(2), np.zeros(2)], [np.array([3.0, 4.0]), np.array([6.0, 8.0])]
    grads = [np.full(2, 1e-3), np.full(2, 1e-3)]
    Optimizer(rule, 1.0, clipnorm=1.0).apply(grads, variables, scale=scales)
    for variable in variables:
        np.testing.assert_allclose(variable, [-1e-3 / 0.6, -1e-3 / 0.8], rtol=1e-14)


# What is refused, before anything is written.


def overlapping(variable: Array) -> Array:
    return variable[:]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"scales": [np.ones(2)]}, r"rule 'plain' has no input 'scales'\. Received: .*Its inputs: scale\."),
        ({"scale": np.ones(2)}, r"the input 'scale' is a list or a dict of arrays"),
        (
            {"scale": [np.ones(2)] * 2},
            r"list of arrays of input 'scale', they must match.*Received: 2 arrays of .* for 1 variable\.",
        ),
        ({"scale": [np.ones(3)]}, r"the input 'scale' of 'variable_0' must have the variable's shape \(2,\)"),
        ({"scale": [np.ones(2, int)]}, r"the input 'scale' of 'variable_0' must be of dtype"),
        ({"scale": [np.ones(4)[::2]]}, r"the input 'scale' of 'variable_0' is not C-contiguous"),
        ({"scale": [cupy.asarray(np.ones(2))]}, r"the input 'scale' of 'variable_0' must be where the variable is"),
        ({"scale": {"variable_1": np.ones(2)}}, r"arrays of input 'scale' and variables must have the same names"),
        ({"scale": [3.0]}, r"the input 'scale' of 'variable_0' is not"),
        ({}, r"the input 'scale' of 'variable_0' is missing"),
    ],
)
@pytest.mark.parametrize("is_built", [True, False])
def test_a_bad_input_is_named_and_nothing_is_done(inputs: Any, message: str, is_built: bool) -> None:
    variable = np.ones(2)
    optimizer = Optimizer(PLAIN, 1.0)
    if is_built:
        optimizer.build([variable])
        message = message.replace("input 'scale's and", ".*")
    with pytest.raises(
        ArrayError, match=message if is_built or "match" not in message else "one input 'scale' for each"
    ):
        optimizer.apply([np.ones(2)], None if is_built else [variable], **inputs)
    assert_same_bits(variable, np.ones(2), "variable")
    assert optimizer.iterations == 0


def test_an_input_must_not_be_what_the_step_writes() -> None:
    variable = np.ones(4)
    optimizer = Optimizer(PLAIN, 1.0)
    optimizer.build([variable[:2]])
    with pytest.raises(ArrayError, match=r"the input 'scale' of 'variable_0' shares memory with variable 'variable_0'"):
        optimizer.apply([np.ones(2)], scale=[variable[1:3]])
    assert_same_bits(variable, np.ones(4), "variable")


def test_the_rule_alone_brings_no_inputs() -> None:
    variable = np.ones(2)
    optimizer = Optimizer(PLAIN)
    optimizer.build([variable])
    with pytest.raises(OptionError, match=r"update_step\(\) brings a gradient and nothing else"):
        optimizer.update_step(np.ones(2), variable, 0.1)


@pytest.mark.parametrize("name", ["grads", "trainable_variables", "self"])
def test_an_input_is_an_argument_of_apply(name: str) -> None:
    def equations(p: Expr, x: Names) -> dict[Expr, Expr]:
        return {p: p - getattr(x, name)}

    with pytest.raises(RuleError, match=f"declares '{name}', a name of the optimizer itself"):
        Optimizer(Rule("trial", equations, inputs=[name]))


def test_an_input_declares_how_it_is_accumulated() -> None:
    with pytest.raises(RuleError, match=r"'mean' or the 'last'\. Received: accumulate='sum'"):
        Input(accumulate="sum")  # type: ignore[arg-type]
    given: Any = {"scale": 1.0}
    with pytest.raises(RuleError, match=r"input 'scale' is an Input\(\)\. Received: 1\.0"):
        Rule("plain", scaled, inputs=given)


# Equations name what they need.


def test_equations_name_only_what_they_need() -> None:
    def keywords(*, g: Expr, p: Expr) -> dict[Expr, Expr]:
        return {p: p - g}

    def places(g: Expr, p: Expr, /) -> dict[Expr, Expr]:
        return {p: p - g}

    rules = [Rule("sgd", equations) for equations in (keywords, places, lambda g, p: {p: p - g})]
    for rule in rules:
        variable = np.ones(2)
        Optimizer(rule).apply([np.full(2, 0.25)], [variable])
        assert variable.tolist() == [0.75] * 2


def test_a_rule_builds_on_another() -> None:
    def adagrad(p: Expr, g: Expr, s: Names, h: Names) -> dict[Expr, Expr]:
        total = s.total + g * g
        return {s.total: total, p: p - h.learning_rate * g / sqrt(total)}

    base = Rule("adagrad", adagrad, slots={"total": 1.0})

    def limited(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Any:
        yield from base.applied(p, g * h.factor, (s, h, on))

    rule = Rule("limited", limited, slots=base.slots, hypers={"factor": 2.0})
    ours, theirs = np.ones(3), np.ones(3)
    Optimizer(rule, 0.5).apply([np.full(3, 0.3)], [ours])
    Optimizer(base, 0.5).apply([np.full(3, 0.6)], [theirs])
    assert_same_bits(ours, theirs, "variable")


def test_a_window_that_reads_no_input_shows_nothing_of_an_earlier_one() -> None:
    """What was added up for an update that read the Hessian is over with it."""
    optimizer, given = Sophia(0.1, every=2, gradient_accumulation_steps=2), np.ones(4, np.float32)
    variable, shown = np.ones(4, np.float32), []
    for _ in range(6):
        optimizer.apply([given], [variable], hessian=[3 * given])
        shown.append(float(optimizer.state["variable_0"]["hessian_accumulator"][0]))
    assert shown == [3.0, 0.0, 0.0, 0.0, 3.0, 0.0]
