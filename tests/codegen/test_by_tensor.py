"""Numbers that are one a tensor in a rule that has one for all: what follows from them has the same bits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import zoo
from compare import Array, assert_same_bits
from every_rule import VARIANTS, flag_sets, rule_of, trial
from run_rule import copied, run

from rmsprop_jit import OptionError
from rmsprop_jit.buckets import program_of
from rmsprop_jit.codegen import Expr, Program, Rule, lower, rounded
from rmsprop_jit.codegen.backends import mlir
from rmsprop_jit.codegen.kinds import Space
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.by_tensor import by_tensor, made_own

RULES = [*map(rule_of, VARIANTS), *zoo.RULES]
SIZES = (3, 0, 140)


def shrunk(p: Expr, g: Expr, s: Names, h: Names) -> dict[Expr, Expr]:
    """What the host rounds: numbers of the program's type that meet in float64."""
    return {p: p - (h.learning_rate * rounded(h.rho) - (1 - rounded(h.rho * h.scale))) * g}


SHRUNK = Rule("shrunk", shrunk, hypers={"rho": 0.9, "scale": 1.1})
"""Rounded numbers."""


def ordinary(size: int) -> Array:
    found: Array = np.random.default_rng(size).normal(size=size)
    return found


def chosen(rule: Rule, flags: Sequence[str]) -> list[str]:
    """Numbers that may be one a tensor."""
    names = ["learning_rate", "weight_decay", "clipnorm", "ema_momentum", *rule.hypers]
    names = [name for name in names if name == "learning_rate" or step_of(rule).hypers[name].per == "step"]
    return [name for name in names if is_allowed(rule, name, flags)]


def is_allowed(rule: Rule, name: str, flags: Sequence[str]) -> bool:
    """Whether a number may be one a tensor by itself: not if a function outside takes it, or a sum follows from it."""
    try:
        return not made_own(rule, [name], flags)
    except OptionError:
        return not rule.functions


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_tensor_has_the_bits_of_its_own_numbers(rule: Rule) -> None:
    for i, flags in enumerate(flag_sets(rule, rule.name, 1, 1)):
        dtype = ("float32", "float64")[(i + len(rule.name)) % 2]
        one = trial(rule, flags, dtype, ordinary, SIZES)
        names = chosen(rule, flags)
        whole = program_of(rule, flags, dtype, part=lambda own: by_tensor(step_of(own), names))  # noqa: B023
        if one.program.reductions(Space.ALL):
            continue
        own = {name: [one.hypers[name] * factor for factor in (0.5, 0.75, 1.0)] for name in names}
        together, apart = copied(one.tensors), copied(one.tensors)
        run("reference", whole, together, one.hypers, {**one.own, **own})
        for i, tensor in enumerate(apart):
            numbers = {**one.hypers, **{name: values[i] for name, values in own.items()}}
            run("reference", one.program, [tensor], numbers, {name: [values[i]] for name, values in one.own.items()})
        for i, (mine, theirs) in enumerate(zip(together, apart, strict=True)):
            for name in mine:
                assert_same_bits(mine[name], theirs[name], f"{rule.name} {flags} {i} {name}")


def rounding(dtype: str) -> tuple[Program, list[dict[str, Array]], dict[str, float], dict[str, list[float]]]:
    program = lower.lower(by_tensor(SHRUNK, ["rho", "scale"]), (), dtype)
    tensors = [{"parameter": np.ones(3, dtype), "gradient": np.full(3, 0.3, dtype)} for _ in range(2)]
    return program, tensors, {"learning_rate": 0.1, "step": 1.0}, {"rho": [0.9, 0.7], "scale": [1.1, 1.3]}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_tensor_s_number_is_rounded_as_a_step_s_is(backend: str, dtype: str) -> None:
    program, tensors, hypers, own = rounding(dtype)
    assert ("rounded" in str(program)) == (dtype == "float32")
    run(backend, program, tensors, hypers, own)
    for i, tensor in enumerate(tensors):
        alone = {"parameter": np.ones(3, dtype), "gradient": np.full(3, 0.3, dtype)}
        numbers = {**hypers, **{name: values[i] for name, values in own.items()}}
        run("reference", lower.lower(SHRUNK, (), dtype), [alone], numbers)
        assert_same_bits(tensor["parameter"], alone["parameter"], str(i))


def test_rounding_has_a_text_in_mlir() -> None:
    program, *_ = rounding("float32")
    text = mlir.source(program)
    assert "arith.truncf %wide_h_rho : f64 to f32" in text
    assert "arith.extf" in text


def test_names_are_one_rule_however_they_are_given() -> None:
    whole = step_of(SHRUNK)
    assert by_tensor(whole, ["rho", "scale"]) is by_tensor(whole, {"scale", "rho"})
    assert by_tensor(whole, ()) is whole


def test_what_only_the_host_computes_is_refused() -> None:
    def every(p: Expr, g: Expr, s: Names, h: Names) -> dict[Expr, Any]:
        return {p: p - (h.step % h.period) * g}

    rule = Rule("every", every, hypers={"period": 3.0})
    with pytest.raises(OptionError, match=r"h\.step % h\.period.*period of its own"):
        by_tensor(rule, ["period"])
    by_tensor(rule, ["learning_rate"])
