"""`Rule(averaged=...)`: equations of what is to be used in place of the parameters."""

import pickle
import sys

import pytest

from rmsprop_jit.codegen import Expr, Rule, RuleError, explain, new, specialize
from rmsprop_jit.codegen.names import Names


def moving(p: Expr, g: Expr, s: Names, h: Names) -> dict[Expr, Expr]:
    """An average that no step reads."""
    step = p - h.learning_rate * g
    return {s.mean: h.kept * s.mean + (1 - h.kept) * step, p: step}


def unbiased(p: Expr, s: Names, h: Names) -> dict[Expr, Expr]:
    return {p: s.mean / (1 - h.kept**h.step)}


RULE = Rule("moving", moving, slots={"mean": 0.0}, hypers={"kept": 0.9}, averaged=unbiased)


def test_it_is_shown_with_the_rule() -> None:
    assert str(RULE).splitlines()[-2:] == [
        "  averaged weights:",
        "  parameter <- s.mean / (1 - (h.kept ** h.step))",
    ]
    assert explain(RULE, form="rule").splitlines()[-2:] == [
        "averaged weights:",
        "parameter <- s.mean / (1 - (h.kept ** h.step))",
    ]


def test_the_slots_that_it_reads_are_kept() -> None:
    assert list(specialize(RULE).slots) == ["mean"]
    assert "note:" not in explain(RULE, form="rule")
    without = Rule("moving", moving, slots={"mean": 0.0}, hypers={"kept": 0.9})
    assert without.averages is None
    assert not specialize(without).slots
    assert "note: slot 'mean'" in explain(without, form="rule")


def test_it_is_pickled_with_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    again = pickle.loads(pickle.dumps(RULE))
    assert str(again) == str(RULE)
    for name in [name for name in sys.modules if name.rpartition(".")[2] in ("cloudpickle", "dill")]:
        monkeypatch.delitem(sys.modules, name)
    lambdas = Rule("moving", moving, slots={"mean": 0.0}, hypers={"kept": 0.9}, averaged=lambda p, s: {p: s.mean})
    with pytest.raises(RuleError, match="cannot be pickled"):
        pickle.dumps(lambdas)


@pytest.mark.parametrize(
    ("averaged", "problem"),
    [
        (lambda p, s: {p: s.mean, s.mean: 0.0}, r"'moving': its averaged weights are read, and no step"),
        (lambda p, g: {p: p - g}, r"'moving': its averaged weights are made between two steps. Received: `gradient`"),
        (lambda p, s: {p: s.other}, r"'moving_averaged' has no slot 'other'"),
        (lambda p, s: {}, r"'moving_averaged' never stores the parameter"),
        (lambda p, x: {p: x.more}, r"'moving_averaged' has no input 'more'"),
        ("s.mean", r"'moving_averaged': equations are a function of some of"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_written(averaged: object, problem: str) -> None:
    with pytest.raises(RuleError, match=problem):
        Rule("moving", moving, slots={"mean": 0.0}, hypers={"kept": 0.9}, averaged=averaged)  # type: ignore[arg-type]


def test_new_values_are_those_that_the_slots_have() -> None:
    same = Rule("moving", moving, slots={"mean": 0.0}, hypers={"kept": 0.9}, averaged=lambda p, s: {p: new(s.mean)})
    assert str(same).endswith("parameter <- s.mean")
