"""The option `nonfinite` on GPUs: found, counted and refused as in host memory."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from compare import Array, make
from gpu import assert_close, blocks_of, capture, cupy

import rmsprop_jit
from rmsprop_jit import NonFiniteError, OptionError, RMSprop

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def small_blocks() -> Iterator[None]:
    """The simulator has a thread for each of a GPU's."""
    with blocks_of(8):
        yield


BAD = (math.inf, -math.inf, math.nan)
SHAPES: list[Any] = [50, (21, 5), 1]


class Run:
    """An optimizer on arrays of a GPU, with a twin that never sees what is bad."""

    def __init__(self, made: Any, dtypes: tuple[str, ...] = ("float32", "float32", "float32")) -> None:
        values = [make(shape, i).astype(dtype) for i, (shape, dtype) in enumerate(zip(SHAPES, dtypes, strict=True))]
        self.rng, self.dtypes = np.random.default_rng(3), dtypes
        self.variables, self.others = ([cupy.asarray(v.copy()) for v in values] for _ in range(2))
        self.optimizer, self.twin = made(), made()
        self.optimizer.build(self.variables)
        self.twin.build(self.others)

    def gradients(self) -> list[Array]:
        pairs = zip(SHAPES, self.dtypes, strict=True)
        return [self.rng.normal(size=shape).astype(dtype) for shape, dtype in pairs]

    def both(self, gradients: list[Array]) -> None:
        for one in (self.optimizer, self.twin):
            one.apply([cupy.asarray(gradient) for gradient in gradients])

    def bits(self) -> list[bytes]:
        state = {name: value for name, value in self.optimizer.state_dict().items() if name != "skipped"}
        return [np.asarray(value).tobytes() for value in state.values()] + [v.get().tobytes() for v in self.variables]

    def skips(self, tensor: int, place: int, value: float) -> None:
        before, skipped = self.bits(), self.optimizer.skipped_steps
        gradients = self.gradients()
        gradients[tensor].flat[place] = value
        self.optimizer.apply([cupy.asarray(gradient) for gradient in gradients])
        assert self.optimizer.skipped_steps == skipped + 1
        assert self.bits() == before

    def assert_same(self) -> None:
        mine, theirs = self.optimizer.state_dict(), self.twin.state_dict()
        assert int(mine.pop("skipped")) > 0
        assert mine.keys() == theirs.keys()
        assert all(np.asarray(mine[name]).tobytes() == np.asarray(theirs[name]).tobytes() for name in mine)
        assert [v.get().tobytes() for v in self.variables] == [v.get().tobytes() for v in self.others]
        assert self.optimizer.iterations == self.twin.iterations


OPTION_SETS: list[dict[str, Any]] = [
    {},
    {"global_clipnorm": 1.0, "momentum": 0.9},
    {"clipnorm": 1.0, "weight_decay": 0.1},
    {"use_ema": True, "ema_overwrite_frequency": 2},
]


@pytest.mark.parametrize("dtypes", [("float32",) * 3, ("float64", "float32", "float64")], ids=["float32", "both"])
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
    sizes = [1 + i % 9 for i in range(20)]
    variables = [cupy.asarray(np.ones(size, np.float32)) for size in sizes]
    gradients = [np.ones(size, np.float32) for size in sizes]
    optimizer = RMSprop(0.1, nonfinite="skip")
    optimizer.build(variables)
    optimizer.apply([cupy.asarray(one) for one in gradients])
    before = [v.get().tobytes() for v in variables]
    places = [(0, 0), (19, 1), (17, 8), (17, 0)]
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


@pytest.mark.parametrize("options", OPTION_SETS, ids=lambda options: "+".join(options) or "plain")
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


@pytest.mark.parametrize(
    ("options", "received"),
    [
        ({"nonfinite": "raise"}, "nonfinite='raise'"),
        ({"nonfinite": "skip", "gradient_accumulation_steps": 2}, "nonfinite='skip' and gradient_accumulation_steps=2"),
    ],
    ids=["raise", "accumulation"],
)
def test_a_graph_cannot_wait_for_the_host(options: dict[str, Any], received: str) -> None:
    optimizer = RMSprop(0.1, **options)
    variable = cupy.asarray(np.ones(3, np.float32))
    optimizer.build([variable])
    with pytest.raises(OptionError, match=f"Received: {received}"):
        capture(lambda: optimizer.apply([variable]))


IN_GRAPHS: list[Any] = [
    ("RMSprop", {}),
    ("RMSprop", {"global_clipnorm": 1.0}),
    ("Adam", {"use_ema": True}),
    ("Prodigy", {}),
]


@pytest.mark.parametrize(("name", "options"), IN_GRAPHS, ids=str)
def test_a_graph_skips_without_the_host(name: str, options: dict[str, Any]) -> None:
    """What a launch finds in the gradients' memory decides; numbers that follow from the step do so, too."""
    run = Run(lambda: getattr(rmsprop_jit, name)(nonfinite="skip", **options), ("float64", "float32", "float32"))
    first = run.gradients()
    run.both(first)
    held = [cupy.asarray(one.copy()) for one in first]
    graph = capture(lambda: run.optimizer.apply(held))
    for i in range(4):
        good = run.gradients()
        bad = [one.copy() for one in good]
        bad[i % 3].flat[0] = BAD[i % 3]
        for gradients in (bad, good):
            for one, value in zip(held, gradients, strict=True):
                one.set(value)
            before = run.bits() if gradients is bad else []
            graph.launch()
            assert gradients is good or run.bits() == before
        run.twin.apply([cupy.asarray(one) for one in good])
        assert (run.optimizer.iterations, run.optimizer.skipped_steps) == (i + 2, i + 1)
    assert run.twin.iterations == 5
    for mine, theirs in zip(run.variables, run.others, strict=True):
        assert_close(mine.get(), theirs.get(), 3e-6, 1e-6)
    other = getattr(rmsprop_jit, name)(nonfinite="skip", **options)
    other.build([v.copy() for v in run.variables])
    other.load_state_dict(run.optimizer.state_dict())
    assert (other.iterations, other.skipped_steps) == (5, 4)
    run.optimizer.load_state_dict(run.twin.state_dict())
    graph.launch()
    assert (run.optimizer.iterations, run.optimizer.skipped_steps) == (6, 0)
