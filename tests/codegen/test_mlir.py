"""Printed MLIR parses, verifies, compiles and runs (with IREE, on the CPU) to what the reference interpreter gives.

IREE compiles for seconds: RMSPROP_JIT_FLAG_SETS=10 tries all, RMSPROP_JIT_TURN=1, 2, ... other ones.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import coarse
import numpy as np
import pytest
import zoo
from every_rule import some
from operations import FUNCTIONS, REDUCTIONS, reduced
from option_sets import FLAG_SETS
from run_iree import run_with_iree
from run_rule import copied, defaults, make_tensors, run
from test_conditions import RULES as CONDITIONS
from test_conditions import SETS

from rmsprop_jit import RMSprop
from rmsprop_jit.buckets import program_of
from rmsprop_jit.codegen import (
    Expr,
    Hyper,
    Program,
    Rule,
    Slot,
    exp,
    log,
    max_abs,
    minimum,
    specialize,
    sum_of,
    sum_of_squares,
    where,
)
from rmsprop_jit.codegen.errors import OptionError
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.rmsprop import RMSPROP

pytest.importorskip("iree.compiler", reason="the extra `mlir` is not installed")
pytest.importorskip("iree.runtime", reason="the extra `mlir` is not installed")

SIZES = [1, 7, 129, 1000]
OVER = ["tensor", "all"]
DTYPES = ["float32", "float64"]

RULES = [rule for rule in vars(zoo).values() if isinstance(rule, Rule)] + [case.rule for case in coarse.CASES]


def compare(rule: Rule, program: Program, gradient: str | None = None, **changes: Any) -> None:
    rng = np.random.default_rng(len(program.name))
    tensors = make_tensors(rule, SIZES, program.compute, lambda n: rng.normal(size=n) + 0.01, gradient)
    for tensor in tensors:
        for name in rule.slots:
            # a variance well above zero: contraction to fused multiply-adds is allowed here
            low, high = (0.1, 0.3) if name == "average_gradient" else (0.5, 1.0)
            tensor[name] += rng.uniform(low, high, tensor[name].shape).astype(program.compute)
    expected, hypers = copied(tensors), defaults(rule, **changes)
    own = {name: [float(i % 2) for i in range(len(SIZES))] for name in program.tensor_hypers}
    run("reference", program, expected, hypers, own)
    run_with_iree(program, tensors, hypers, own)
    tolerance = 1e-12 if program.compute == "float64" else 2e-6
    for ours, theirs in zip(tensors, expected, strict=True):
        for name, array in theirs.items():
            scale = np.max(np.abs(array), initial=1e-30)
            np.testing.assert_allclose(ours[name], array, rtol=tolerance, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("flags", some(FLAG_SETS, "mlir", 12), ids="+".join)
def test_rmsprop_runs_as_mlir(flags: tuple[str, ...]) -> None:
    rule = step_of(RMSPROP)
    program = program_of(RMSPROP, frozenset(flags), "float32")
    numbers: dict[str, Any] = {
        "clipnorm": 0.5,
        "global_clipnorm": 0.5,
        "clipvalue": 0.3,
        "weight_decay": 0.1,
        "ema_overwrite_frequency": 3.0,
    }
    compare(rule, program, momentum=0.9, step=3.0, loss_scale_factor=8.0, gradient_accumulation_steps=2.0, **numbers)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", some(RULES, "mlir", 6), ids=lambda rule: rule.name)
def test_other_rules_run_as_mlir(rule: Rule, dtype: str) -> None:
    for flags in dict.fromkeys([(), tuple(rule.flags)]):
        compare(rule, specialize(rule, flags, dtype), step=2.0)


@pytest.mark.parametrize(
    "flags", [(), ("centered", "momentum"), ("global_clipnorm", "use_ema"), ("clipnorm",)], ids="+".join
)
@pytest.mark.parametrize(("dtype", "gradient"), [("float32", "float64"), ("float64", "float32")])
def test_gradients_of_another_type_are_cast(dtype: str, gradient: str, flags: tuple[str, ...]) -> None:
    rule = step_of(RMSPROP)
    numbers = {"clipnorm": 0.5, "global_clipnorm": 0.5, "momentum": 0.9}
    compare(rule, specialize(rule, flags, dtype, gradient), gradient, **numbers)


SETTLED = [(rule, SETS[(i + j) % len(SETS)]) for j in range(len(SETS)) for i, rule in enumerate(CONDITIONS)]
"""Each rule with each set of flags; of so many that follow one another as there are rules, all of both."""


def label(one: Rule | tuple[str, ...]) -> str:
    return one.name if isinstance(one, Rule) else "+".join(one)


@pytest.mark.parametrize(("rule", "flags"), some(SETTLED, "mlir", 2 * len(CONDITIONS)), ids=label)
def test_conditions_that_settle_to_truths(rule: Rule, flags: tuple[str, ...]) -> None:
    for step in (1.0, 5.0):
        compare(rule, specialize(rule, flags, "float64"), step=step)


def each_in_a_slot(names: Iterable[str], of: Callable[[str, Expr, Expr], Expr]) -> Rule:
    """One program for all of them, as IREE takes as long for each program."""
    slots: dict[str, Slot | float | str] = {name: Slot(0.0, result=True) for name in names}
    return Rule(
        "each", lambda p, g, s, h, on: {p: p - g} | {getattr(s, name): of(name, p, g) for name in slots}, slots=slots
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions(dtype: str) -> None:
    rule = each_in_a_slot(FUNCTIONS, lambda name, p, g: FUNCTIONS[name][0](p))
    compare(rule, specialize(rule, (), dtype))


@pytest.mark.parametrize("third", range(3))
def test_functions_outside_of_a_loop(third: int) -> None:
    """IREE has its own ways there: `x + c - c` was x, and nothing was rounded to a whole number.

    It takes at most 64 numbers to a loop: not of all functions at once.
    """
    rule = each_in_a_slot([*FUNCTIONS][third::3], lambda name, p, g: 0 * p + FUNCTIONS[name][0](max_abs(g)))
    compare(rule, specialize(rule, (), "float64"))


ALONE = [(name, over, dtype) for name in REDUCTIONS for over, dtype in itertools.product(OVER, DTYPES)]


@pytest.mark.parametrize(("name", "over", "dtype"), some(ALONE, "mlir", 4))
def test_a_reduction_alone(name: str, over: str, dtype: str) -> None:
    rule = Rule(name, lambda p, g, s, h, on: {p: 0 * p + reduced(name, g, over)})
    compare(rule, specialize(rule, (), dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("over", OVER)
def test_reductions_together(over: str, dtype: str) -> None:
    rule = each_in_a_slot(REDUCTIONS, lambda name, p, g: 0 * p + reduced(name, g, over))
    compare(rule, specialize(rule, (), dtype))


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("number", ["of a tensor", "constant"])
def test_a_number_is_reduced_as_often_as_there_are_elements(number: str, over: str) -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        same = h.own if number == "of a tensor" else 2.0
        found = {name: reduced(name, where(on.weighted, g, same), over) for name in REDUCTIONS}
        return {p: p - g} | {getattr(s, name): 0 * p + one for name, one in found.items()}

    slots: dict[str, Slot | float | str] = {name: Slot(0.0, result=True) for name in REDUCTIONS}
    rule = Rule("counted", equations, slots=slots, hypers={"own": Hyper(1.0, per="tensor")}, flags={"weighted": False})
    compare(rule, specialize(rule, (), "float32"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_among_the_numbers_of_a_tensor_goes_with_a_reduction(dtype: str) -> None:
    rule = Rule(
        "shifted",
        lambda p, g, s, h, on: {p: p - sum_of_squares(g * (h.own + 0.5)) - sum_of(g * (h.own + 0.25))},
        hypers={"own": Hyper(1.0, per="tensor")},
    )
    compare(rule, specialize(rule, (), dtype))


def test_every_operation_has_its_meaning() -> None:
    def everything(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        largest = max_abs(g, over="all")
        calm = where((g > 0) & ~(p <= 0.1) | (largest > 1e9), exp(-abs(g)), log(abs(p) + 1.0))
        return {p: minimum(p**2, calm) - where(sum_of(p) > h.limit, 0.5, -0.5) * where(g != p, 1.0, 0.0)}

    rule = Rule("everything", everything, hypers={"limit": Hyper(0.0)})
    compare(rule, specialize(rule, (), "float64"))


def test_the_module_names_its_options_and_version() -> None:
    first = RMSprop(centered=True, momentum=0.5).explain("mlir").splitlines()[0]
    assert first.startswith("// rmsprop+centered+momentum, float32; rmsprop_jit ")


def test_an_unknown_form_is_named() -> None:
    with pytest.raises(OptionError, match=r"mlir.*Received: form='prose'"):
        RMSprop().explain("prose")
