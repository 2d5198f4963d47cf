"""Digests of code: the same in every process, and other where what is computed is other."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rmsprop_jit
from rmsprop_jit import digests
from rmsprop_jit.codegen import Flag, Rule
from rmsprop_jit.rules.table import TABLE

SCRIPT = """
import functools
from rmsprop_jit import digests
from rmsprop_jit.codegen import Flag, Rule, where

def inside(step):
    return 0.1 if step in {"a", "b", "c", 1, 2.5} else 0.2

def outside(factor, also=frozenset("xyz")):
    return lambda step, *, more=inside: factor * more(step)

class Called:
    def __call__(self, step):
        return {"k": step}["k"]

def equations(p, g, s, h, on):
    return {s.m: where(on.late, s.m + g, g), p: p - h.learning_rate * s.m}

flags = {"late": Flag(when=lambda h: h.step in {5, 6, 7})}
rule = Rule("mine", equations, slots={"m": 0.0}, flags=flags)
for one in (inside, outside(2.0), functools.partial(inside, step=3), Called(), Called().__call__, len, print):
    print(digests.of_callable(one))
print(digests.of_rule(rule))
"""


def test_they_are_the_same_in_every_process() -> None:
    root = str(Path(rmsprop_jit.__file__).parents[1])
    found = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        assert len(done.stdout.splitlines()) == 8
        found.add(done.stdout)
    assert len(found) == 1


def closed_over(value: Any) -> Callable[[], Any]:
    return lambda: value


def default(value: Any) -> Callable[..., Any]:
    def function(x: Any = value, *, y: Any = value) -> Any:
        return x, y

    return function


class Base:
    def __call__(self) -> float:
        return 0.1


class Derived(Base):
    pass


OTHERS: dict[str, tuple[Any, Any]] = {
    "constant": (lambda: 0.1, lambda: 0.2),
    "type": (lambda: 1, lambda: 1.0),
    "operation": (lambda x: x + 1, lambda x: x - 1),
    "called": (lambda x: np.sin(x), lambda x: np.cos(x)),
    "argument": (lambda x, y: x, lambda x, y: y),
    "closed-over": (closed_over(1), closed_over(2)),
    "closed-over-function": (closed_over(lambda: 1), closed_over(lambda: 2)),
    "default": (default(1), default((1,))),
    "partial": (functools.partial(pow, 2), functools.partial(pow, 3)),
    "inner": (lambda: lambda: 1, lambda: lambda: 2),
    "minus-zero": (lambda: 0.0, lambda: -0.0),
}


@pytest.mark.parametrize(("one", "other"), OTHERS.values(), ids=OTHERS)
def test_other_code_has_another(one: Any, other: Any) -> None:
    assert digests.of_callable(one)["digest"] != digests.of_callable(other)["digest"]
    assert not digests.same_function(digests.of_callable(one), digests.of_callable(other))


SAME: dict[str, tuple[Any, Any]] = {
    "line": (lambda: 0.1, lambda: 0.1),
    "changeable": (closed_over([1]), closed_over([1, 2])),
    "object": (Base(), Base()),
    "method": (Base().__call__, Base().__call__),
    "closed-over": (closed_over((1, "a", None)), closed_over((1, "a", None))),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_the_same_code_has_the_same(one: Any, other: Any) -> None:
    assert digests.same_function(digests.of_callable(one), digests.of_callable(other))


def test_a_function_that_has_closed_over_itself_has_one() -> None:
    def again(step: int) -> float:
        return 0.1 if step == 0 else again(step - 1)

    assert digests.of_callable(again)["digest"]
    assert digests.of_callable(Derived())["function"] == "Derived"


def rule(name: str = "mine", start: float = 0.0, when: Callable[[Any], bool] = lambda h: h.step > 3) -> Rule:
    flags = {"late": Flag(when=when)}
    return Rule(name, lambda p, g, s, on: {s.m: g, p: p - s.m}, slots={"m": start}, flags=flags)


def test_rules_differ_by_what_they_declare() -> None:
    found = [digests.of_rule(one) for one in (rule(), rule(start=1.0), rule(when=lambda h: h.step > 4))]
    assert len(set(found)) == 3
    assert digests.of_rule(rule()) == found[0]


def test_bundled_rules_are_told_by_their_names() -> None:
    """A state must load when their equations are only written otherwise."""
    for row, _ in TABLE.values():
        assert digests.of_rule(row.rule) == "bundled"


@pytest.mark.parametrize(
    ("saved", "own", "agree"),
    [
        ("a:1", "a:1", True),
        ("a:1", "a:2", False),
        ("a:1", "b:2", True),
        (None, "a:1", True),
        ("bundled", "a:1", False),
        ("a:1", "bundled", False),
        ("bundled", "bundled", True),
        (3, "a:1", False),
        ([], {}, False),
    ],
)
def test_what_cannot_be_compared_agrees(saved: Any, own: Any, agree: bool) -> None:
    assert digests.agree(saved, own) == agree
