"""Muon: which variables are Adam's, by shape and by name; what each decays by; what it moves."""

import os
import pickle
import warnings
from typing import Any

os.environ["KERAS_BACKEND"] = "numpy"

import keras
import keras_rules
import numpy as np
import pytest
from compare import Array
from keras_side import computing_in

from rmsprop_jit import Muon, Optimizer, OptionError, Variable
from rmsprop_jit.codegen import Flag, Rule, RuleError, where
from rmsprop_jit.digests import of_rule
from rmsprop_jit.flags import variable_flags

NAMED = {"kernel": (6, 4), "bias": (4,), "token_Embedding": (5, 3), "head": (3, 5), "filters": (2, 3, 2)}
SETS: list[dict[str, Any]] = [
    {},
    {"exclude_layers": ["^he.d", "nothing"], "exclude_embeddings": False, "adam_lr_ratio": 0.5},
    {"exclude_layers": ["k.*l$"], "weight_decay": None, "adam_weight_decay": 0.5},
    {"weight_decay": 0.5, "adam_weight_decay": None, "rms_rate": None},
]
STEPS = 8


def arrays(seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in NAMED.values()]


def keras_after(options: dict[str, Any], excluded: list[str]) -> list[Array]:
    """What Keras's makes of the variables under these names."""
    with computing_in("float64"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        optimizer = keras.optimizers.Muon(**options)
        tracked = [keras.Variable(one, dtype="float64", name=name) for name, one in zip(NAMED, arrays(1), strict=True)]
        if excluded:
            optimizer.exclude_from_weight_decay(var_names=excluded)
        optimizer.build(tracked)
        for step in range(STEPS):
            optimizer.apply(arrays(100 + step), tracked)
        return [np.asarray(one.value) for one in tracked]


@pytest.mark.skipif(not keras_rules.has("Muon"), reason="this Keras has none")
@pytest.mark.parametrize("excluded", [[], ["bias", "head"]], ids=["all decay", "some decay"])
@pytest.mark.parametrize("options", SETS, ids=["usual", "by_name", "adam_decays", "matrices_decay"])
def test_names_and_shapes_choose_as_in_keras(options: dict[str, Any], excluded: list[str]) -> None:
    options = {"learning_rate": 0.05, **options}
    variables = [Variable(one, name=name) for name, one in zip(NAMED, arrays(1), strict=True)]
    optimizer = Muon(**options)
    if excluded:
        optimizer.exclude_from_weight_decay(var_names=excluded)
    for step in range(STEPS):
        optimizer.apply(arrays(100 + step), variables)
    for variable, theirs in zip(variables, keras_after(options, excluded), strict=True):
        np.testing.assert_allclose(variable.numpy(), theirs, rtol=1e-9, atol=1e-11)


def test_adams_variables_alone_have_a_velocity() -> None:
    variables = dict(zip(NAMED, arrays(1), strict=True))
    optimizer = Muon(exclude_layers=["^head$"])
    optimizer.apply(dict(zip(NAMED, arrays(2), strict=True)), variables)
    with_velocity = {name for name in NAMED if "velocity" in optimizer.state[name]}
    assert with_velocity == {"bias", "token_Embedding", "head", "filters"}
    text = optimizer.explain("summary")
    assert "muon.0: 2 loads, 1 stores" in text
    assert "muon.1: 4 loads, 2 stores" in text  # the gradient, momentum, the parameter and what the function made
    assert "embedding is off here: it is on in variables in whose name there is '(?i)embedding'" in text
    assert ": 4 loads, 3 stores" in optimizer.explain("summary", on=["embedding"])


def test_patterns_are_an_argument() -> None:
    optimizer = Muon(exclude_layers=("a", "b+"), rms_rate=None)
    config = optimizer.get_config()
    assert (config["exclude_layers"], config["rms_rate"], optimizer.exclude_layers) == (["a", "b+"], None, ["a", "b+"])
    assert Muon().get_config()["exclude_layers"] == []
    for again in (Muon.from_config(config), pickle.loads(pickle.dumps(optimizer))):
        assert again.get_config() == config
    with pytest.raises(OptionError, match=r"`exclude_layers` holds regular expressions. Received: '\('"):
        Muon(exclude_layers=["("])
    with pytest.raises(OptionError, match=r"`exclude_layers` holds regular expressions as text. Received: b'a'"):
        Muon(exclude_layers=[b"a"])
    with pytest.raises(OptionError, match=r"not recognized.*excluded_layers"):
        Muon(excluded_layers=["a"])
    with pytest.raises(AttributeError, match="exclude_layers"):
        optimizer.exclude_layers = ["c"]  # type: ignore[misc]


def by_name(p: Any, g: Any, on: Any) -> dict[Any, Any]:
    """Twice as far where a name says so."""
    return {p: p - where(on.norm, 2 * g, g)}


def named_rule(*expressions: str) -> Rule:
    return Rule("by_name", by_name, flags={"norm": Flag(named=expressions)})


def test_a_flag_that_names_decide_is_on_where_an_expression_is_found() -> None:
    names = ["layer/norm", "normal", "no.m", "scale"]
    for expressions, on in (
        ((), []),
        (("norm",), ["layer/norm", "normal"]),
        (("norm$", r"o\.m"), ["layer/norm", "no.m"]),
        (("(?i)SCALE",), ["scale"]),
    ):
        variables = {name: np.zeros(3) for name in names}
        optimizer = Optimizer(named_rule(*expressions))
        optimizer.apply({name: np.ones(3) for name in names}, variables)
        assert [name for name, one in variables.items() if one[0] == -2] == on
        assert [name for name, one in variables.items() if one[0] == -1] == [name for name in names if name not in on]
        shown = " or ".join(map(repr, expressions)) or "nothing"
        here = "on" if names[0] in on else "off"
        text = f"norm is {here} here: it is on in variables in whose name there is {shown}"
        assert text in optimizer.explain("summary")


def test_a_state_knows_what_was_looked_for() -> None:
    assert of_rule(named_rule("a")) == of_rule(named_rule("a"))
    assert len({of_rule(named_rule(*one)) for one in ((), ("a",), ("a", "b"))}) == 3


@pytest.mark.parametrize("wrong", ["norm", ["("], [1], 5, [b"a"]], ids=repr)
def test_what_is_no_list_of_regular_expressions_is_refused(wrong: Any) -> None:
    with pytest.raises(RuleError, match=r"looks for regular expressions in names\. Received: named=.*Write Flag\("):
        Flag(named=wrong)


def test_a_flag_is_decided_in_one_way() -> None:
    with pytest.raises(RuleError, match=r"in one way. Received: of=.*named=\('a',\)"):
        Flag(of=lambda shape: True, named=["a"])


@pytest.mark.parametrize("steps", [2.5, -1, 100, float("nan")])
def test_the_iteration_is_done_a_whole_number_of_times(steps: float) -> None:
    with pytest.raises(OptionError, match=r"`ns_steps` must be a whole number in \[0, 99\]\. Received: ns_steps="):
        Muon(ns_steps=steps)
    optimizer = Muon(ns_steps=2)
    with pytest.raises(OptionError, match="whole number"):
        optimizer.ns_steps = steps
    assert optimizer.ns_steps == 2


def test_nothing_is_kept_of_names_that_came_by() -> None:
    rule = named_rule("a")
    variable_flags(rule, (2, 2), "a")
    before = len(rule.memo._made)
    for i in range(20):
        variable_flags(rule, (2, 2), f"kernel_{i}")
    assert len(rule.memo._made) == before
