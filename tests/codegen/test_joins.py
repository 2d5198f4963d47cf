"""Several programs in one launch: what a rule reduces over all tensors is one number for all of them."""

import math

import numpy as np
import pytest
from run_rule import Tensors, copied, defaults, make_tensors, run_together

from rmsprop_jit.buckets import program_of
from rmsprop_jit.codegen import (
    Expr,
    LoweringError,
    Rule,
    all_finite,
    max_abs,
    specialize,
    sqrt,
    sum_of,
    sum_of_squares,
    where,
)
from rmsprop_jit.codegen.kinds import Space
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.codegen.schedule import schedule
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.rmsprop import RMSPROP

BACKENDS = ["cpu", "cuda"]


def filled(rule: Rule, *gradients: float, dtype: str = "float64") -> Tensors:
    """Tensors of ones with these gradients, one number each."""
    tensors = make_tensors(rule, [1] * len(gradients), dtype, np.ones)
    for tensor, value in zip(tensors, gradients, strict=True):
        tensor["gradient"][:] = value
    return tensors


def values(*parts: Tensors) -> list[list[float]]:
    return [[tensor["parameter"][0] for tensor in tensors] for tensors in parts]


def doubled(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """The norm of all gradients, some of which count twice."""
    return {p: 0 * p + sqrt(sum_of_squares(where(on.twice, g * 2, g), over="all"))}


@pytest.mark.parametrize("backend", BACKENDS)
def test_programs_that_settle_a_reduction_differently_share_it(backend: str) -> None:
    rule = Rule("norm", doubled, flags={"twice": False})
    plain, twice = filled(rule, 2.0), filled(rule, 2.0)
    run_together(
        backend,
        [(specialize(rule, (), "float64"), plain), (specialize(rule, {"twice"}, "float64"), twice)],
        defaults(rule),
    )
    assert values(plain, twice) == [[math.sqrt(20.0)], [math.sqrt(20.0)]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_global_norm_over_variables_with_and_without_a_gradient(backend: str) -> None:
    """Gradients that were added up, with one more on top or not: two expressions, one norm."""
    flags = {"gradient_accumulation_steps", "global_clipnorm"}
    rule = step_of(RMSPROP)
    given, missing = (program_of(RMSPROP, flags | more, "float64") for more in (set(), {"gradient_missing"}))
    assert [r.value for r in given.reductions()] != [r.value for r in missing.reductions()]
    assert given.reductions()[0].what is missing.reductions()[0].what
    here, there = filled(rule, 3.0, 1.0), filled(rule, math.nan)
    for tensor, value in zip((*here, *there), (3.0, 1.0, 8.0), strict=True):
        tensor["gradient_accumulator"][:] = value
    numbers = defaults(rule, gradient_accumulation_steps=2.0, global_clipnorm=0.5, epsilon=0.0, rho=0.75)
    run_together(backend, [(given, here), (missing, there)], numbers)
    means = np.array([(3.0 + 3.0) / 2, (1.0 + 1.0) / 2, 8.0 / 2])
    clipped = means * (0.5 / np.sqrt(np.sum(means**2)))
    for tensor, mean in zip((*here, *there), clipped, strict=True):
        np.testing.assert_allclose(tensor["velocity"], 0.25 * mean**2, rtol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_reductions_that_come_to_the_same_stay_two(backend: str) -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        first = sum_of(where(on.one, g * 10, g), over="all")
        second = sum_of(where(on.other, g * 100, g), over="all")
        return {p: 0 * p + first * 1000 + second}

    rule = Rule("two", equations, flags={"one": False, "other": False})
    programs = [specialize(rule, flags, "float64") for flags in ((), ("one",), ("other",))]
    assert [len(program.reductions(Space.ALL)) for program in programs] == [2, 2, 2]
    tensors = [filled(rule, 1.0) for _ in programs]
    run_together(backend, list(zip(programs, tensors, strict=True)), defaults(rule))
    assert values(*tensors) == [[12 * 1000 + 102.0]] * 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_programs_that_reduce_the_same_in_kernels_of_other_depth_wait_for_each_other(backend: str) -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        unit = where(on.scaled, g / max_abs(g, over="all"), g)
        total = sum_of(abs(unit), over="all")
        return {p: 0 * p + total + where(on.checked & ~all_finite(g), 1000.0, 0.0)}

    rule = Rule("depths", equations, flags={"scaled": False, "checked": False})
    shallow, deep = specialize(rule, {"checked"}, "float64"), specialize(rule, {"scaled"}, "float64")
    assert [len(program.kernels) for program in (shallow, deep)] == [2, 3]
    here, there = filled(rule, 3.0, 4.0), filled(rule, 2.0, -8.0)
    expected = 7.0 + 0.25 + 1.0
    for order in (1, -1):
        ours, theirs = copied(here), copied(there)
        run_together(backend, [(shallow, ours), (deep, theirs)][::order], defaults(rule))
        assert values(ours, theirs) == [[expected] * 2] * 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_reduced_within_a_tensor_is_never_joined(backend: str) -> None:
    rule = Rule("own", lambda p, g, s, h, on: {p: where(on.twice, 2 * sum_of(g), sum_of(g))}, flags={"twice": False})
    plain, twice = filled(rule, 2.0, 3.0), filled(rule, 5.0)
    run_together(
        backend,
        [(specialize(rule, (), "float64"), plain), (specialize(rule, {"twice"}, "float64"), twice)],
        defaults(rule),
    )
    assert values(plain, twice) == [[2.0, 3.0], [10.0]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_programs_of_both_types_share_a_norm(backend: str) -> None:
    rule = Rule("norm", doubled, flags={"twice": False})
    here, there = filled(rule, 3.0, dtype="float32"), filled(rule, 4.0)
    run_together(
        backend, [(specialize(rule, (), "float32"), here), (specialize(rule, (), "float64"), there)], defaults(rule)
    )
    assert values(here, there) == [[5.0], [5.0]]


def test_turns_are_passes_where_programs_are_alike() -> None:
    programs = [program_of(RMSPROP, flags, "float32") for flags in (("global_clipnorm",), (), ("clipnorm",))]
    first, second = schedule(programs)
    assert first.kernels == ((0, 0), (1, 0), (2, 0))
    assert second.kernels == ((0, 1), (2, 1))
    assert [len(turn.joins) for turn in (first, second)] == [1, 0]
    assert first.of(1, 3).kernels == ((0, 0), (1, 0))


def test_reductions_that_wait_for_each_other_are_an_error() -> None:
    """Two kernels a program, each second one in need of what the other's second one makes; nobody has such a rule."""
    crossed = Rule("stuck", crossing, flags={"a": False, "b": False})
    stuck = [specialize(crossed, {"a"}), specialize(crossed, {"b"})]
    with pytest.raises(LoweringError, match=r"wait for each other. Received: stuck\+a, stuck\+b. Step"):
        schedule(stuck)


def crossing(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """With a, y reads x and is made beside z; with b, w reads z and is made beside x."""
    x = sum_of(where(on.b, g / sum_of(abs(g), over="all"), g), over="all")
    z = sum_of(where(on.a, g / max_abs(g, over="all"), g * 2), over="all")
    y = sum_of(where(on.a, g / x, g * 3), over="all")
    w = sum_of(where(on.b, g / z, g * 5), over="all")
    return {p: p - (x + y + z + w)}
