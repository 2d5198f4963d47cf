"""Numbers that variables have of their own, set by patterns over their names."""

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest
from coarse import SCALED_LARS, State, scaled_lars_in_numpy
from compare import Array, assert_scaled

from rmsprop_jit import Optimizer, OptionError, Variable
from rmsprop_jit.codegen import Expr, Flag, Hyper, Rule, where
from rmsprop_jit.codegen.names import Names


def scaled(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Steps that are longer or shorter for some variables."""
    return {p: p - h.multiplier * g * where(on.twice, 2.0, 1.0)}


RULE = Rule("scaled", scaled, hypers={"multiplier": Hyper(1.0, 0.0, per="tensor")}, flags={"twice": False})
NAMES = ("dense/kernel", "dense/bias", "out/kernel", "bias")


def variables_of(dtypes: str = "dddd") -> list[Variable]:
    pairs = zip(NAMES, dtypes, strict=True)
    return [Variable(np.ones(2, dtype), name=name.rpartition("/")[2], path=name) for name, dtype in pairs]


def steps_of(optimizer: Optimizer, dtypes: str = "dddd") -> list[float]:
    """How far each variable goes along a gradient of ones."""
    variables = variables_of(dtypes)
    optimizer.apply([np.ones(2, dtype) for dtype in dtypes], variables)
    return [float(1 - variable.value[0]) for variable in variables]


@pytest.mark.parametrize("dtypes", ["dddd", "dfdf", "ffdd"])
def test_the_first_pattern_that_matches_path_or_name_wins(dtypes: str) -> None:
    multiplier = {"bias": 0.5, "dense/.*": 0.25}
    assert steps_of(Optimizer(RULE, multiplier=multiplier), dtypes) == [0.25, 0.5, 1.0, 0.5]
    assert steps_of(Optimizer(RULE, multiplier={"dense/.*": 0.25, "bias": 0.5})) == [0.25, 0.25, 1.0, 0.5]
    assert steps_of(Optimizer(RULE, multiplier={})) == [1.0] * 4
    assert steps_of(Optimizer(RULE, multiplier=0.125)) == [0.125] * 4


def test_an_attribute_takes_the_same() -> None:
    variables, optimizer = variables_of(), Optimizer(RULE)
    seen = []
    for multiplier in (2.0, {"bias": 0.5}, {"out/kernel": 4, "bias": 0.5}, 1.0):
        optimizer.multiplier = multiplier
        before = [variable.value.copy() for variable in variables]
        optimizer.apply([np.ones(2)] * 4, variables)
        seen.append([float(old[0] - one.value[0]) for old, one in zip(before, variables, strict=True)])
    assert seen == [[2.0] * 4, [1.0, 0.5, 1.0, 0.5], [1.0, 0.5, 4.0, 0.5], [1.0] * 4]


def test_what_a_caller_has_is_a_copy() -> None:
    given = {"bias": 0.5}
    optimizer = Optimizer(RULE, multiplier=given)
    given["bias"] = 7.0
    optimizer.multiplier["bias"] = 7.0
    optimizer.get_config()["multiplier"]["bias"] = 7.0
    assert optimizer.multiplier == {"bias": 0.5}


def test_a_pattern_that_matches_nothing_is_an_error_at_build() -> None:
    optimizer = Optimizer(RULE, multiplier={"bias": 0.5, "kernel_2": 2.0})
    with pytest.raises(OptionError, match=r"`multiplier`: a pattern matches no variable. Received: 'kernel_2'"):
        optimizer.build(variables_of())
    assert not optimizer.built
    optimizer.multiplier = {"bias": 0.5}
    optimizer.build(variables_of())
    with pytest.raises(OptionError, match=r"Received: 'kernel_2'; names: 'dense/kernel'"):
        optimizer.multiplier = {"kernel_2": 2.0}
    assert optimizer.multiplier == {"bias": 0.5}


def test_every_number_is_checked() -> None:
    bad: list[tuple[Any, str]] = [
        ({"bias": -1.0}, r"`multiplier\['bias'\]` must be a finite number >= 0. Received: multiplier\['bias'\]=-1.0"),
        ({"bias": "1"}, r"`multiplier\['bias'\]` must be"),
        ({"(": 1.0}, r"`multiplier` holds regular expressions"),
        ({3: 1.0}, r"`multiplier` holds regular expressions"),
        ([("bias", 1.0)], r"`multiplier` must be a finite number >= 0"),
    ]
    for value, message in bad:
        with pytest.raises(OptionError, match=message):
            Optimizer(RULE, multiplier=value)
    plain = Rule("plain", lambda p, g, s, h: {p: p - h.size_ * g}, hypers={"size_": 1.0})
    with pytest.raises(OptionError, match=r"`size_` must be a finite number. Received: size_=\{'bias': 1.0\}"):
        Optimizer(plain, size_={"bias": 1.0})


def test_a_config_has_the_dict() -> None:
    optimizer = Optimizer(RULE, multiplier={"bias": 0.5, ".*": 2.0})
    config = json.loads(json.dumps(optimizer.get_config()))
    again = Optimizer.from_config(config, rule=RULE)
    assert list(again.multiplier.items()) == [("bias", 0.5), (".*", 2.0)]
    assert "multiplier={'bias': 0.5, '.*': 2.0}" in repr(again)
    assert steps_of(again) == [2.0, 0.5, 2.0, 0.5]


@pytest.mark.parametrize("way", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_have_it(way: Any) -> None:
    optimizer = Optimizer(RULE, multiplier={"bias": 0.5})
    steps_of(optimizer)
    assert steps_of(way(optimizer)) == [1.0, 0.5, 1.0, 0.5]


def test_resuming_compares_patterns_in_their_order() -> None:
    saved = Optimizer(RULE, multiplier={"bias": 0.5, ".*": 2.0})
    saved.build(variables_of())
    state = saved.state_dict()
    same = Optimizer(RULE, multiplier={"bias": 0.5, ".*": 2.0})
    same.build(variables_of())
    same.load_state_dict(state)
    other = Optimizer(RULE, multiplier={".*": 2.0, "bias": 0.5})
    other.build(variables_of())
    with pytest.raises(OptionError, match="multiplier="):
        other.load_state_dict(state)
    other.load_state_dict(state, options="load")
    assert list(other.multiplier) == ["bias", ".*"]


def test_a_flag_follows_the_largest() -> None:
    rule = Rule(
        "followed",
        lambda p, g, s, h, on: {p: where(on.share, p - h.share * g, p)},
        hypers={"share": Hyper(0.0, per="tensor")},
        flags={"share": Flag(follows="share")},
    )
    assert steps_of(Optimizer(rule)) == [0.0] * 4
    assert steps_of(Optimizer(rule, share={"bias": 0.5})) == [0.0, 0.5, 0.0, 0.5]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_trust_ratio_with_multipliers(dtype: str, threads: int) -> None:
    rng = np.random.default_rng(2)
    ours: list[Array] = [rng.normal(size=size).astype(dtype) for size in (3, 70_000, 17)]
    theirs = [one.copy() for one in ours]
    optimizer = Optimizer(SCALED_LARS, 0.05, multiplier={"variable_1": 2.0, "variable_.*": 0.5}, threads=threads)
    hypers = {"learning_rate": 0.05, "trust": 0.1, "decay": 0.01, "multiplier": [0.5, 2.0, 0.5]}
    for step in range(1, 12):
        gradients = [rng.normal(size=one.size).astype(dtype) for one in ours]
        optimizer.apply(gradients, ours)
        scaled_lars_in_numpy(State(), theirs, gradients, step, hypers)
    for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        assert_scaled(mine, other, {"float32": 3e-6, "float64": 1e-12}[dtype], f"variable {i}")
