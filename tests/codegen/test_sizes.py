"""Numbers of elements, and means: known before a step, on every backend, of all tables that are reduced together."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compare import Array, cast, ordinary
from run_rule import defaults, make_tensors, run, run_together, table_of

import rmsprop_jit
from rmsprop_jit.codegen import Expr, Rule, RuleError, Slot, backends, mean_of, size, specialize, sum_of
from rmsprop_jit.codegen.backends import mlir
from rmsprop_jit.codegen.backends.joint import Joint
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.codegen.rule import PARAMETER

BACKENDS = ["reference", "cpu", "cuda"]
SIZES = [3, 0, 1, 129, 700]
DTYPES = ["float32", "float64"]


def means(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """The mean of a tensor, and that of all of them, with what they are divided by."""
    return {p: 0 * p + mean_of(g), s.all: 0 * p + mean_of(g, over="all"), s.sizes: 0 * p + size() + 1000 * size("all")}


MEANS = Rule("means", means, slots={"all": Slot(result=True), "sizes": Slot(result=True)})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_means_and_sizes(backend: str, dtype: str) -> None:
    tensors = make_tensors(MEANS, SIZES, dtype, cast(ordinary(1), dtype))
    run(backend, specialize(MEANS, (), dtype), tensors, defaults(MEANS))
    everyone = np.concatenate([tensor["gradient"] for tensor in tensors]).astype(np.float64)
    rtol = {"float32": 1e-6, "float64": 1e-12}[dtype]
    for tensor in tensors:
        own = tensor["gradient"].astype(np.float64)
        np.testing.assert_allclose(tensor["parameter"], math.fsum(own) / max(own.size, 1), rtol)
        np.testing.assert_allclose(tensor["all"], math.fsum(everyone) / everyone.size, rtol)
        assert (tensor["sizes"] == own.size + 1000 * 833).all()


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_only_programs_that_ask_take_part(backend: str) -> None:
    rule = Rule("some", lambda p, g, s, h, on: {p: 0 * p + mean_of(g, over="all")})
    other = Rule("other", lambda p, g, s, h, on: {p: p + g})
    parts = [
        (specialize(one, (), dtype), make_tensors(one, sizes, dtype, np.ones))
        for one, dtype, sizes in ((rule, "float64", [2, 3]), (rule, "float32", [5]), (other, "float64", [90]))
    ]
    parts[0][1][0]["gradient"][:] = 6.0
    run_together(backend, parts, defaults(rule))
    assert parts[0][1][1]["parameter"].tolist() == [2.0] * 3
    assert parts[1][1][0]["parameter"].tolist() == [2.0] * 5


def test_all_places_count() -> None:
    program = specialize(MEANS, (), "float64")
    sides = [make_tensors(MEANS, sizes, "float64", np.ones) for sizes in ([2, 3], [4])]
    launches = [backends.of("cpu").launch([table_of("cpu", program, side, {})]) for side in sides]
    step = Joint(launches, [2, 1])
    assert step(step.prepared(None, defaults(MEANS)))
    for side in sides:
        assert side[0]["sizes"].tolist() == [side[0]["sizes"].size + 9000.0] * side[0]["sizes"].size
        assert (side[0]["all"] == 1).all()


def test_a_size_is_a_number_of_the_mlir_module() -> None:
    text = mlir.source(specialize(MEANS, (), "float32"))
    assert "%number_h__size: tensor<f64>" in text
    assert "%number_h__size_all: tensor<f64>" in text


def test_an_optimizer_counts_the_variables_of_a_call() -> None:
    rule = Rule("centred", lambda p, g, s, h, on: {p: p - (g - mean_of(g, over="all")) / size("all")})
    variables: list[Array] = [np.zeros(3), np.zeros(1, np.float32), np.zeros(7)]
    with pytest.warns(UserWarning, match="variable_2"):
        rmsprop_jit.Optimizer(rule).apply([np.full(3, 2.0), np.zeros(1, np.float32), None], variables)
    assert variables[0].tolist() == [-(2 - 6 / 4) / 4] * 3
    assert variables[1].tolist() == [0.375]


def test_sizes_are_shown_as_they_are_written() -> None:
    assert str(mean_of(PARAMETER) + size("all")) == "(sum_of(parameter, over='tensor') / size('tensor')) + size('all')"


def test_what_cannot_be_averaged() -> None:
    odd: Any = 1.5
    bad: list[tuple[Callable[[], Expr], str]] = [
        (lambda: mean_of(sum_of(PARAMETER)), "mean_of reduces elements"),
        (lambda: mean_of(PARAMETER > 0), "mean_of reduces numbers"),
        (lambda: mean_of(PARAMETER, over=odd), "mean_of.*'tensor' or 'all'.*Received: over=1.5"),
        (lambda: mean_of(PARAMETER, axis=0), "mean_of.*no argument 'axis'"),
        (lambda: size(over=odd), "size.*'tensor' or 'all'.*Received: over=1.5"),
    ]
    for make, message in bad:
        with pytest.raises(RuleError, match=message):
            make()
