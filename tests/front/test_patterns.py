"""Patterns: whole names, the first match, and an error for a pattern that matches nothing."""

import re

import numpy as np
import pytest

from rmsprop_jit import OptionError, RMSprop
from rmsprop_jit.patterns import checked, first_matches, found_in

NAMES = ["dense/kernel", "dense/bias", "norm/scale", "embed"]


def test_the_first_pattern_that_matches_a_whole_name_wins() -> None:
    values = {"dense/bias": 1, ".*bias|.*scale": 2, "dense/.*": 3}
    assert first_matches("multiplier", values, NAMES) == [3, 1, 2, None]
    assert first_matches("multiplier", {".*": 0}, NAMES) == [0, 0, 0, 0]
    assert first_matches("multiplier", {}, NAMES) == [None] * 4


def test_a_pattern_that_others_hide_is_no_error() -> None:
    assert first_matches("multiplier", {"dense/.*": 1, "dense/bias": 2, ".*": 3}, NAMES) == [1, 1, 3, 3]


@pytest.mark.parametrize("pattern", ["bias", "kernel", "dense", "", "Dense/.*", "dense/bias "])
def test_a_pattern_that_matches_no_whole_name_is_an_error(pattern: str) -> None:
    with pytest.raises(
        OptionError, match=re.escape(f"`multiplier`: a pattern matches no variable. Received: {pattern!r}")
    ):
        first_matches("multiplier", {".*kernel": 1, pattern: 2}, NAMES)


def test_the_error_shows_some_of_many_names() -> None:
    with pytest.raises(OptionError, match=r"names: 'v0', 'v1', 'v2', 'v3', 'v4' and more\. A pattern"):
        first_matches("multiplier", {"w": 1}, [f"v{i}" for i in range(100)])
    with pytest.raises(OptionError, match=r"names: none\."):
        first_matches("multiplier", {"w": 1}, [])


@pytest.mark.parametrize("bad", ["(", "[a", 3, None, re.compile("a")], ids=repr)
def test_what_is_no_regular_expression_is_named(bad: object) -> None:
    with pytest.raises(OptionError, match=rf"`var_names` holds.*Received: {re.escape(repr(bad))}"):
        checked("var_names", ["a", bad])


def test_one_pattern_alone_is_a_list_of_one() -> None:
    assert checked("var_names", "bias") == ["bias"]


def test_weight_decay_searches_as_keras_does() -> None:
    assert found_in(["b"], "embed")
    assert not found_in(["^b$"], "embed")
    assert not found_in([], "embed")


def test_exclusions_may_name_what_is_not_there_yet() -> None:
    optimizer = RMSprop(1.0, rho=1.0, epsilon=1.0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["b", "later"])
    variables = {"embed": np.ones(1, np.float32), "w": np.ones(1, np.float32)}
    optimizer.apply({name: np.zeros(1, np.float32) for name in variables}, variables)
    assert [float(v[0]) for v in variables.values()] == [1.0, 0.5]
