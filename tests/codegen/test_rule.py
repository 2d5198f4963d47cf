"""Rules: what a definition may contain, and the answer to everything else, given where the rule is written."""

import copy
import itertools
import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rmsprop_jit.codegen import Expr, Flag, Hyper, OptionError, Rule, RuleError, Slot, new, sqrt, square, sum_of, where
from rmsprop_jit.codegen.expr import Const, Symbol
from rmsprop_jit.codegen.kinds import Kind
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.codegen.rule import PARAMETER
from rmsprop_jit.codegen.walk import walk
from rmsprop_jit.rules.around import OPTION_FLAGS, STEP_HYPERS, STEP_SLOTS, whole_step
from rmsprop_jit.rules.rmsprop import RMSPROP


def rule(equations: Any, **parts: Any) -> Rule:
    """A rule with slots x and y, hyperparameter rho and flag on."""
    usual: dict[str, Any] = {"slots": {"x": 0.0, "y": 0.0}, "hypers": {"rho": 0.9}, "flags": {"on": False}}
    return Rule("trial", equations, **(usual | parts))


def sgd(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {p: p - h.learning_rate * g}


# The equations themselves.


def test_a_rule_is_called_when_it_is_defined() -> None:
    made = rule(lambda p, g, s, h, on: {s.x: s.x + g, p: p - s.x})
    assert {str(target) for target in made.stores} == {"s.x", "parameter"}
    assert made.slots["x"] == Slot(0.0)
    assert made.hypers["rho"] == Hyper(0.9)
    assert made.flags["on"] == Flag(False)


def test_lists_and_generators_of_pairs_are_stores_too() -> None:
    def pairs(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> list[tuple[Expr, Expr]]:
        return [(s.x, g), (p, p - s.x)]

    def generated(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Iterator[tuple[Expr, Expr]]:
        yield s.x, g
        yield p, p - s.x

    def display(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {s.x: g, p: p - s.x}

    texts = [{str(k): str(v) for k, v in rule(f).stores.items()} for f in (pairs, generated, display)]
    assert texts[0] == texts[1] == texts[2]


def test_built_in_numbers_need_no_declaration() -> None:
    made = Rule("sgd", lambda p, g, s, h, on: {p: p - h.learning_rate / sqrt(h.step) * g})
    names = {node.name for node in walk(*made.stores.values()) if isinstance(node, Symbol)}
    assert names == {"parameter", "gradient", "learning_rate", "step"}


def test_a_number_can_be_stored() -> None:
    made = rule(lambda p, g, s, h, on: {s.x: 1, p: p - s.x})
    assert made.stores[Symbol(Kind.SLOT, "x")] is Const(1.0)


# Mistakes in the equations.


def twice_in_a_display(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {s.x: g, p: p - s.x, s.x: square(g)}


def parameter_twice_in_a_display(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {p: p - g, p: p - s.x}  # noqa: F602


def twice_in_a_list(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> list[tuple[Expr, Expr]]:
    return [(s.x, g), (p, p - s.x), (s.x, square(g))]


def twice_in_a_generator(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Iterator[tuple[Expr, Expr]]:
    yield s.x, g
    yield p, p - s.x
    yield s.x, square(g)


def parameter_twice_in_a_generator(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Iterator[tuple[Expr, Expr]]:
    yield p, p - s.x
    yield p, p - g


def unknown_slot(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {s.velocity: g, p: p - g}


def unknown_hyper(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {p: p - h.lr * g}


def unknown_flag(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {p: where(on.nesterov, p - g, p)}


def circle_of_two(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {s.x: new(s.y) + 1, s.y: new(s.x) * 2, p: p - g}


def circle_of_one(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {s.x: new(s.x) + g, p: p - s.x}


def circle_that_nothing_reads(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {s.x: sqrt(new(s.y)), s.y: where(on.on, new(s.x), g), p: p - g}


def stores_the_gradient(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {g: g * 2, p: p - g}


def stores_an_expression(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {p - g: p}


def stores_a_hyper(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {h.rho: h.rho * 0.5, p: p - g}


def stores_a_new_value(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {new(s.x): g, p: p - g}


def stores_a_name(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[str | Expr, Expr]:
    return {"x": g, p: p - g}


def never_stores_the_parameter(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {s.x: g}


def stores_nothing(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Any, Any]:
    return {}


def stores_a_condition(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {s.x: g > 0, p: p - g}


def stores_a_flag(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {s.x: on.on, p: p - g}


def stores_an_array(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, npt.NDArray[Any] | Expr]:
    return {s.x: np.ones(3), p: p - g}


def stores_none(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr | None]:
    return {s.x: None, p: p - g}


def returns_nothing(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> None:
    p = p - g


def returns_an_expression(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Expr:
    return p - g


def returns_a_list_of_values(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> list[Expr]:
    return [p - g]


def branches_on_a_flag(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {p: p - g if on.on else p}


def branches_on_a_value(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    step = g
    if g > 1:
        step = g / 2
    return {p: p - step}


def new_of_the_parameter(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {p: p - g, s.x: new(p)}


def new_of_an_expression(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {p: p - new(s.x + 1)}


def assigns_a_slot(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    s.x = h.rho * s.x + g
    return {p: p - s.x}


def adds_to_a_slot(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    s.x += g
    return {p: p - s.x}


def adds_to_a_slot_and_returns_it(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    s.x += g
    return {s.x: s.x, p: p - s.x}


def assigns_a_slot_by_item(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    s["x"] = g
    return {p: p - s.x}


def assigns_an_unknown_slot(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    s.velocity = g
    return {p: p - s.velocity}


def assigns_a_slot_between_pairs(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Iterator[tuple[Expr, Expr]]:
    yield p, p - s.x
    s.x = g


def deletes_a_slot(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    del s.x
    return {p: p - g}


def deletes_a_slot_by_item(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    del s["x"]
    return {p: p - g}


def assigns_a_hyper(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    h.rho = h.rho * 0.5
    return {p: p - h.rho * g}


def assigns_a_flag(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    on.on = True
    return {p: p - where(on.on, g, 0.0)}


MISTAKES: dict[Callable[..., object], str] = {
    twice_in_a_display: r"stores `s.x` twice. Keep one",
    parameter_twice_in_a_display: r"stores `p` twice. Keep one",
    twice_in_a_list: r"stores `s.x` twice. Keep one",
    twice_in_a_generator: r"stores `s.x` twice. Keep one",
    parameter_twice_in_a_generator: r"stores `parameter` twice. Keep one",
    unknown_slot: r"no slot 'velocity'. Declared: x, y. Received: 'velocity'; declare it",
    unknown_hyper: r"no hyperparameter 'lr'. Declared: learning_rate, step, rho.*declare it",
    unknown_flag: r"no flag 'nesterov'. Declared: on.*declare it",
    circle_of_two: r"cycle of new values: (x -> y -> x|y -> x -> y). Use the old value, s\.",
    circle_of_one: r"cycle of new values: x -> x. Use the old value, s.x",
    circle_that_nothing_reads: r"cycle of new values",
    stores_the_gradient: r"stores to `gradient`, which is neither.*targets are p and s.<name>",
    stores_an_expression: r"stores to `parameter - gradient`",
    stores_a_hyper: r"stores to `h.rho`",
    stores_a_new_value: r"stores to `new s.x`",
    stores_a_name: r"stores to `x`.*type str",
    never_stores_the_parameter: r"never stores the parameter. Return \{\.\.\., p: new_value\}",
    stores_nothing: r"never stores the parameter",
    stores_a_condition: r"stores the condition `gradient > 0` in `s.x`.*where\(condition, 1.0, 0.0\)",
    stores_a_flag: r"stores the condition `on.on` in `s.x`",
    stores_an_array: r"Received: array.*slots",
    stores_none: r"Received: None",
    returns_nothing: r"must return \{target: value\}. Received: None",
    returns_an_expression: r"must return \{target: value\}",
    returns_a_list_of_values: r"must return \{target: value\}",
    branches_on_a_flag: r"`on.on` has no truth value.*where",
    branches_on_a_value: r"`gradient > 1` has no truth value.*where",
    new_of_the_parameter: r"new\(\.\.\.\) takes a slot, such as new\(s.velocity\). Received: `parameter`",
    new_of_an_expression: r"new\(\.\.\.\) takes a slot.*Received: `s.x \+ 1`",
    **dict.fromkeys(
        (
            assigns_a_slot,
            adds_to_a_slot,
            adds_to_a_slot_and_returns_it,
            assigns_a_slot_by_item,
            assigns_a_slot_between_pairs,
        ),
        r"slot 'x'.*stores nothing. Received: assignment to 'x'. Return \{s.x: value, p: \.\.\.\}",
    ),
    assigns_an_unknown_slot: r"assignment to 'velocity'. Return \{s.velocity: value, p: \.\.\.\}",
    deletes_a_slot: r"Received: deletion of 'x'. Return \{s.x: value, p: \.\.\.\}",
    deletes_a_slot_by_item: r"Received: deletion of 'x'",
    assigns_a_hyper: r"changes the hyperparameter 'rho'.*only reads a hyperparameter",
    assigns_a_flag: r"changes the flag 'on'.*only reads a flag",
}


@pytest.mark.parametrize(("equations", "message"), MISTAKES.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_a_mistake_is_answered_where_the_rule_is_defined(equations: Any, message: str) -> None:
    with pytest.raises(RuleError, match=message):
        rule(equations)


def test_messages_name_the_rule() -> None:
    for equations in (unknown_slot, twice_in_a_list, circle_of_two, never_stores_the_parameter, stores_a_condition):
        with pytest.raises(RuleError, match="rule 'trial'"):
            rule(equations)


def test_a_dict_inside_the_equations_may_repeat_nothing_by_accident() -> None:
    def chosen_by_name(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        kinds = {"a": g, "b": -g}
        return {s.x: kinds["a"], p: p - kinds["b"]}

    assert len(rule(chosen_by_name).stores) == 2


# New values.


def test_new_is_the_value_after_the_step() -> None:
    made = rule(lambda p, g, s, h, on: {p: p - new(s.y), s.y: new(s.x) * 2, s.x: s.x + g})
    values = {target.name: str(value) for target, value in made.stores.items() if isinstance(target, Symbol)}
    assert values == {
        "parameter": "parameter - ((s.x + gradient) * 2)",
        "y": "(s.x + gradient) * 2",
        "x": "s.x + gradient",
    }


def test_new_of_a_slot_that_is_not_stored_is_its_value() -> None:
    made = rule(lambda p, g, s, h, on: {p: p - new(s.x)})
    assert str(made.stores[PARAMETER]) == "parameter - s.x"


def test_new_in_a_long_chain() -> None:
    names = [f"x{i}" for i in range(60)]

    def chain(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Iterator[tuple[Expr, Expr]]:
        yield p, p - new(s.x59)
        yield s.x0, s.x0 + g
        for before, after in itertools.pairwise(names):
            yield getattr(s, after), new(getattr(s, before)) * 0.5 + getattr(s, after)

    made = Rule("chain", chain, slots=dict.fromkeys(names, 0.0))
    assert len(made.stores) == 61


def test_two_slots_may_swap_their_old_values() -> None:
    made = rule(lambda p, g, s, h, on: {s.x: s.y, s.y: s.x, p: p - s.x * g})
    assert {target.name: str(value) for target, value in made.stores.items() if isinstance(target, Symbol)}[
        "x"
    ] == "s.y"


# Declarations.


@pytest.mark.parametrize("name", ["_x", "", "1x", "a b", "a-b", "x.y", "lambda"])
@pytest.mark.parametrize("kind", ["slots", "hypers", "flags"])
def test_bad_names(kind: str, name: str) -> None:
    parts: dict[str, Any] = {kind: {name: False if kind == "flags" else 0.0}}
    with pytest.raises(RuleError, match="identifiers"):
        Rule("trial", sgd, **parts)


@pytest.mark.parametrize("name", ["parameter", "gradient"])
def test_slots_cannot_have_the_names_of_the_arrays(name: str) -> None:
    with pytest.raises(RuleError, match=f"cannot be named '{name}'. Choose another"):
        Rule("trial", sgd, slots={name: 0.0})


@pytest.mark.parametrize("name", ["learning_rate", "step"])
def test_hypers_cannot_have_the_names_of_the_built_in_ones(name: str) -> None:
    with pytest.raises(RuleError, match=name):
        Rule("trial", sgd, hypers={name: 0.5})


def test_a_flag_follows_a_hyperparameter_that_is_there() -> None:
    with pytest.raises(RuleError, match=r"flag 'momentum' follows.*follows='mu'; declared: rho"):
        Rule("trial", sgd, hypers={"rho": 0.9}, flags={"momentum": Flag(follows="mu")})
    with pytest.raises(RuleError, match="declared: none"):
        Rule("trial", sgd, flags={"momentum": Flag(follows="momentum")})


def test_a_hyperparameter_and_a_flag_of_one_name_belong_together() -> None:
    Rule("trial", sgd, hypers={"momentum": 0.9}, flags={"momentum": Flag(follows="momentum")})
    for flag in (Flag(), Flag(follows="rho")):
        with pytest.raises(RuleError, match=r"both named 'momentum'.*Received: follows=.*let the flag follow"):
            Rule("trial", sgd, hypers={"momentum": 0.9, "rho": 0.5}, flags={"momentum": flag})


@pytest.mark.parametrize("initial", ["zeros", "gradient", None, "0"])
def test_a_slot_starts_as_a_number_or_as_the_parameter(initial: Any) -> None:
    with pytest.raises(RuleError):
        Rule("trial", sgd, slots={"x": initial})


def test_a_hyper_is_a_number_a_step_or_a_tensor() -> None:
    per: Any = "element"
    with pytest.raises(RuleError):
        Rule("trial", sgd, hypers={"x": Hyper(1.0, per=per)})


@pytest.mark.parametrize(
    ("part", "name"),
    [("slots", name) for name in STEP_SLOTS]
    + [("hypers", name) for name in STEP_HYPERS]
    + [("flags", name) for name in (*OPTION_FLAGS, "micro_step", "idle", "window_empty")],
)
def test_the_whole_step_refuses_names_of_the_optimizer(part: str, name: str) -> None:
    parts: dict[str, Any] = {part: {name: 0.0 if part != "flags" else False}}
    trial = Rule("trial", sgd, **parts)
    with pytest.raises(
        RuleError,
        match=rf"rule 'trial' declares '{name}', a name of the optimizer itself\. Received: .*Choose",
    ):
        whole_step(trial)


def test_the_whole_step_of_a_rule_is_a_rule() -> None:
    made = whole_step(RMSPROP)
    assert list(made.slots) == ["average", "gradient_accumulator", "velocity", "momentum", "average_gradient"]
    assert made.name == "rmsprop"
    assert set(OPTION_FLAGS) < set(made.flags)


def test_reductions_are_allowed_in_stores() -> None:
    made = rule(lambda p, g, s, h, on: {p: p - g / sum_of(g)})
    assert "sum_of" in str(made.stores[PARAMETER])


def test_rules_are_compared_by_identity_and_can_be_keys() -> None:
    one, two = Rule("sgd", sgd), Rule("sgd", sgd)
    assert one == one
    assert one != two
    assert len({one, two}) == 2


def test_rules_can_be_pickled_and_copied() -> None:
    assert copy.deepcopy(RMSPROP) is RMSPROP
    again = pickle.loads(pickle.dumps(RMSPROP))
    assert again.name == "rmsprop"
    assert {str(k): str(v) for k, v in again.stores.items()} == {str(k): str(v) for k, v in RMSPROP.stores.items()}
    assert (again.slots, again.hypers, again.flags) == (RMSPROP.slots, RMSPROP.hypers, RMSPROP.flags)


# Ranges.

RANGES = [
    (
        Hyper(0.9, low=0.0, high=1.0),
        [0, 0.0, -0.0, 0.5, 1, 1.0, np.float32(0.25), np.int64(1)],
        [-0.1, 1.0000001, -5e-324],
    ),
    (Hyper(1.0, low=0.0, low_open=True), [5e-324, 1, 1e308], [0, 0.0, -0.0, -1]),
    (Hyper(0.5, low=0.0, high=1.0, high_open=True), [0, 0.5, math.nextafter(1, 0)], [1, 1.0, 2]),
    (Hyper(1.0, low=0.0), [0, 1e308], [-5e-324]),
    (Hyper(1.0, high=2.0), [-1e308, 2.0], [2.1]),
    (Hyper(1.0), [-1e308, 0, 1e308], []),
]
NEVER = [math.nan, math.inf, -math.inf, None, "0.5", True, False, [0.5], 1j, np.ones(2)]


@pytest.mark.parametrize(("hyper", "good", "bad"), RANGES, ids=lambda x: x.range_text if isinstance(x, Hyper) else "")
def test_a_hyper_accepts_its_range_and_nothing_else(hyper: Hyper, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert hyper.checked("x", value) == float(value)
        assert type(hyper.checked("x", value)) is float
    for value in bad + NEVER:
        with pytest.raises(OptionError, match=r"`x` must be a .*Received: x="):
            hyper.checked("x", value)


@pytest.mark.parametrize(
    ("hyper", "text"),
    [
        (Hyper(0.0, low=0.0, high=1.0), "a number in [0, 1]"),
        (Hyper(0.5, low=0.0, high=1.0, low_open=True), "a number in (0, 1]"),
        (Hyper(1.0, low=0.0, low_open=True), "a finite number > 0"),
        (Hyper(0.5, low=0.0, high=1.0, high_open=True), "a number in [0, 1)"),
        (Hyper(0.5, high=1.0, high_open=True), "a finite number < 1"),
        (Hyper(0.0, low=0.0), "a finite number >= 0"),
        (Hyper(0.0, high=3.0), "a finite number <= 3"),
        (Hyper(0.0), "a finite number"),
    ],
    ids=str,
)
def test_a_range_in_words(hyper: Hyper, text: str) -> None:
    assert hyper.range_text == text


def test_booleans_of_numpy_are_no_numbers() -> None:
    with pytest.raises(OptionError):
        Hyper(0.5, low=0.0, high=1.0).checked("rho", np.True_)
