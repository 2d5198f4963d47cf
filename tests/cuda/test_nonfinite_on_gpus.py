"""The option `nonfinite` on GPUs: found, counted and refused as in host memory."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gpu import blocks_of, cupy
from skipping import BAD, EVERYWHERE, OPTION_SETS, Run

import rmsprop_jit
from rmsprop_jit import NonFiniteError, RMSprop

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def small_blocks() -> Iterator[None]:
    """The simulator has a thread for each of a GPU's."""
    with blocks_of(8):
        yield


@pytest.mark.parametrize(
    "dtypes", [("float64", "float32", "float64"), ("float32",) * 3][: 2 if EVERYWHERE else 1], ids=str
)
@pytest.mark.parametrize("options", OPTION_SETS, ids=lambda options: "+".join(options) or "plain")
def test_a_run_with_bad_calls_is_the_run_that_never_saw_them(options: dict[str, Any], dtypes: tuple[str, ...]) -> None:
    run = Run(lambda: RMSprop(0.1, nonfinite="skip", **options), dtypes)
    run.skips(1, 104, math.nan)
    for i in range(3):
        run.both(run.gradients())
        run.skips(i, 0, BAD[i])
    run.both(run.gradients())
    run.assert_same()


@pytest.mark.parametrize("name", ["Prodigy", "Adam", "RAdam"])
def test_rules_of_all_kinds(name: str) -> None:
    run = Run(lambda: getattr(rmsprop_jit, name)(nonfinite="skip"))
    for i in range(3):
        run.skips(i, 0, BAD[i])
        run.both(run.gradients())
    run.assert_same()


def test_under_accumulation_only_the_bad_gradient_is_left_out() -> None:
    run = Run(lambda: RMSprop(0.1, nonfinite="skip", gradient_accumulation_steps=2))
    for i in range(5):
        run.skips(i % 3, 0, BAD[i % 3])
        run.both(run.gradients())
    run.assert_same()


def test_anywhere_in_many_tensors_it_is_found() -> None:
    sizes = [1 + i % 9 for i in range(10)]
    variables = [cupy.asarray(np.ones(size, np.float32)) for size in sizes]
    gradients = [np.ones(size, np.float32) for size in sizes]
    optimizer = RMSprop(0.1, nonfinite="skip")
    optimizer.build(variables)
    optimizer.apply([cupy.asarray(one) for one in gradients])
    before = [v.get().tobytes() for v in variables]
    places = [(0, 0), (9, 0), (8, 8), (8, 0)]
    for (tensor, place), value in zip(places, itertools.cycle(BAD), strict=False):
        bad = [one.copy() for one in gradients]
        bad[tensor][place] = value
        optimizer.apply([cupy.asarray(one) for one in bad])
    assert optimizer.skipped_steps == len(places)
    assert optimizer.iterations == 1
    assert [v.get().tobytes() for v in variables] == before


@pytest.mark.parametrize("large", [1e38, 3e38])
def test_a_gradient_whose_square_overflows_is_finite(large: float) -> None:
    sets: list[dict[str, Any]] = [{}, {"global_clipnorm": 1.0}]
    for options in sets:
        optimizer = RMSprop(0.1, nonfinite="skip", **options)
        optimizer.build([cupy.asarray(np.ones(3, np.float32))])
        optimizer.apply([cupy.asarray(np.full(3, large, np.float32))])
        assert (optimizer.iterations, optimizer.skipped_steps) == (1, 0)


@pytest.mark.parametrize("options", OPTION_SETS if EVERYWHERE else OPTION_SETS[1:2], ids=str)
def test_a_refused_call_names_the_first_variable(options: dict[str, Any]) -> None:
    run = Run(lambda: RMSprop(0.1, nonfinite="raise", **options), ("float64", "float32", "float64"))
    run.both(run.gradients())
    for first in range(3):
        before = run.bits()
        gradients = run.gradients()
        for one in gradients[first:]:
            one.flat[0] = math.nan
        with pytest.raises(NonFiniteError, match=f"'variable_{first}' holds inf or nan"):
            run.optimizer.apply([cupy.asarray(gradient) for gradient in gradients])
        assert run.bits() == before
        assert run.optimizer.skipped_steps == 0
        run.both(run.gradients())


def test_variables_here_and_there_are_skipped_together() -> None:
    variables = [cupy.asarray(np.ones(30, np.float32)), np.ones(40, np.float32)]
    optimizer = RMSprop(0.1, nonfinite="skip", global_clipnorm=1.0)
    optimizer.build(variables)
    good = [np.ones(30, np.float32), np.ones(40, np.float32)]
    optimizer.apply([cupy.asarray(good[0]), good[1]])
    before = variables[0].get().tobytes(), variables[1].tobytes()
    for tensor in range(2):
        bad = [one.copy() for one in good]
        bad[tensor][7] = math.inf
        optimizer.apply([cupy.asarray(bad[0]), bad[1]])
    assert (optimizer.iterations, optimizer.skipped_steps) == (1, 2)
    assert (variables[0].get().tobytes(), variables[1].tobytes()) == before
    optimizer.nonfinite = "raise"
    with pytest.raises(NonFiniteError, match="'variable_1'"):
        optimizer.apply([cupy.asarray(good[0]), np.full(40, math.nan, np.float32)])
