"""Numbers over axes on a GPU: rules with them beside the interpreter, over all kinds of axes and with all options."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import axes_rules
import numpy as np
import pytest
from axes_rules import CASES, Case
from compare import Array, assert_same_bits, cast, ordinary
from every_rule import some
from gpu import SLACK, assert_close, blocks_of, capture, cupy, is_real
from run_rule import Tensors, copied, defaults, run, run_together

from rmsprop_jit import Optimizer
from rmsprop_jit.codegen import (
    Expr,
    Flag,
    Rule,
    Slot,
    block,
    but,
    ema,
    mean_of,
    normal,
    specialize,
    sqrt,
    square,
    where,
)
from rmsprop_jit.codegen.axes import size_in
from rmsprop_jit.codegen.kinds import KEY
from rmsprop_jit.codegen.names import Names

pytestmark = pytest.mark.gpu

SHAPES: list[tuple[int, ...]] = [(4, 6), (3, 40), (40, 3), (9, 11), (0, 4), (4, 0)]
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}


@pytest.fixture(autouse=True)
def small_blocks() -> Iterator[None]:
    """The simulator has a thread for each of a GPU's; blocks of few have several pieces of what is small."""
    with blocks_of(256 if is_real() else 8):
        yield


def tensors_of(rule: Rule, shapes: Sequence[tuple[int, ...]], dtype: str, seed: int = 3) -> Tensors:
    make, slots = cast(ordinary(seed), dtype), rule.slots.items()
    return [
        {
            "parameter": make(math.prod(shape)).reshape(shape),
            "gradient": make(math.prod(shape)).reshape(shape),
            **{name: np.abs(make(size_in(shape, slot.space))).reshape(slot.shape_of(shape)) for name, slot in slots},
        }
        for shape in shapes
    ]


def compare(rule: Rule, shapes: Sequence[tuple[int, ...]], dtype: str) -> None:
    """A step on a GPU, and in the interpreter."""
    ours = tensors_of(rule, shapes, dtype)
    theirs, program = copied(ours), specialize(rule, (), dtype)
    keys = {name: [float(i + 5) for i, _ in enumerate(shapes)] for name in program.tensor_hypers if name in KEY}
    run("cuda", program, ours, defaults(rule), keys)
    run("reference", program, theirs, defaults(rule), keys)
    for shape, mine, other in zip(shapes, ours, theirs, strict=True):
        for name, array in other.items():
            scale = max(1.0, float(np.max(np.abs(array), initial=0.0)))
            assert_close(mine[name], array, 0, TOLERANCE[dtype] * scale, f"{rule.name} {name} {shape}")


EACH = [(case, "float32") for case in CASES] + [(axes_rules.ADAFACTOR, "float64")]


@pytest.mark.parametrize(
    ("case", "dtype"),
    some(EACH, "axes gpu", 3),
    ids=lambda one: one if isinstance(one, str) else one.rule.name,
)
def test_a_rule_does_what_the_interpreter_says(case: Case, dtype: str) -> None:
    compare(case.rule, SHAPES, dtype)


FORMS: dict[tuple[int, ...], list[Any]] = {
    (60,): [-1, block(7), block(300)],
    (5, 3, 16): [-1, -2, 0, (0, 1), (1, 2), but(1), block(9)],
    (3, 4, 2, 5): [(0, 1), (1, 2), -1, but(3), but(0, 1)],
    (2, 70): [0, 1, block(1)],
    (40, 1): [0, 1],
}


@pytest.mark.parametrize("shape", FORMS, ids=str)
def test_over_any_axes(shape: tuple[int, ...]) -> None:
    """Reduced together, and each read beside elements and kept."""

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        slots = [getattr(s, f"own_{i}") for i, _ in enumerate(spaces)]
        means = [mean_of(square(g), over=over) for over in spaces]
        news = {slot: ema(0.5, slot, mean) for slot, mean in zip(slots, means, strict=True)}
        return {**news, p: p - 0.1 * g / sqrt(1.0 + sum(news.values(), start=0.0 * g))}

    spaces = FORMS[shape]
    rule = Rule("any", equations, slots={f"own_{i}": Slot(0.5, over=over) for i, over in enumerate(spaces)})
    compare(rule, [shape], "float32")


def test_a_number_of_the_tensor_is_of_its_elements_once_whatever_matrices_it_has() -> None:
    """Reduced in the same pass as columns of each matrix, whose tiles lie in groups."""

    def equations(p: Expr, g: Expr) -> dict[Expr, Expr]:
        columns, size = mean_of(square(g), over=-2), mean_of(square(p))
        return {p: p - g / sqrt(columns + size)}

    compare(Rule("beside", equations), [(5, 3, 16), (3, 4, 2, 5), (15, 2, 7), (40, 3)], "float32")


def test_an_old_value_is_read_until_the_last_reader_has_it() -> None:
    rule = Rule(
        "turned",
        lambda p, g, s, h, on: {s.a: s.b, s.b: s.a + mean_of(g, over=-1), p: p - s.a * g - s.b},
        slots={"a": Slot(1.0, over=-1), "b": Slot(2.0, over=-1)},
    )
    compare(rule, [(3, 4)], "float64")


def test_random_numbers_beside_them_are_those_of_their_elements() -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {p: p - mean_of(g + normal(), over=-1) + mean_of(square(g + normal()), over=0) * normal()}

    compare(Rule("noisy", equations), [(4, 6), (3, 40), (9, 11)], "float32")


def test_other_tensors_in_the_same_launch_change_no_bit() -> None:
    rule = axes_rules.ADAFACTOR.rule
    program, hypers, shapes = specialize(rule, (), "float32"), defaults(rule), SHAPES[:4]
    alone, together = ([tensors_of(rule, [shape], "float32")[0] for shape in shapes] for _ in range(2))
    for tensor in alone:
        run_together("cuda", [(program, [tensor])], hypers)
    run_together("cuda", [(program, together[::-1])], hypers)
    for ours, theirs in zip(alone, together, strict=True):
        for name in ours:
            assert_same_bits(ours[name], theirs[name], name)


def factored(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Rows and columns of what has any, else elements; a norm of the whole tensor."""
    row, column = ema(0.9, s.row, mean_of(square(g), over=-1)), ema(0.9, s.column, mean_of(square(g), over=-2))
    own = ema(0.9, s.own, square(g))
    u = g / (sqrt(where(on.matrix, row * column / mean_of(row, over=(-2, -1)), own)) + 1e-3)
    return {s.row: row, s.column: column, s.own: own, p: p - h.learning_rate * u / sqrt(1.0 + mean_of(square(u)))}


FACTORED = Rule(
    "factored",
    factored,
    slots={"row": Slot(0.5, over=-1), "column": Slot(0.5, over=-2), "own": 0.25},
    flags={"matrix": Flag(of=lambda shape: len(shape) > 1)},
)
Options = dict[str, Any]
EVERYWHERE = bool(os.environ.get("RMSPROP_JIT_AXES_EVERYWHERE"))
"""Beside optimizers in host memory, too, whose compiled code takes the time of all else here."""


def arrays(seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype("float32") for shape in ((4, 6), (5,), (2, 3, 4))]


class Trained:
    """An optimizer with variables on a GPU, or in host memory."""

    def __init__(self, options: Options, place: Callable[[Array], Any] = lambda array: cupy.asarray(array)) -> None:
        self.place, self.variables = place, [place(one) for one in arrays(0)]
        self.optimizer = Optimizer(FACTORED, 0.1, **options)
        self.optimizer.build(self.variables)

    def apply(self, gradients: Sequence[Array]) -> None:
        self.optimizer.apply([self.place(one) for one in gradients])

    def numbers(self) -> dict[str, Array]:
        state = {name: one for name, one in self.optimizer.state_dict().items() if name.startswith("variable")}
        there = [one if isinstance(one, np.ndarray) else one.get() for one in self.variables]
        parameters = {f"parameter {i}": one for i, one in enumerate(there)}
        return {name: np.asarray(one) for name, one in (state | parameters).items()}


def assert_alike(ours: Trained, theirs: Trained, rtol: float = 0.0, atol: float = 0.0) -> None:
    """In what both of them have."""
    mine, other = ours.numbers(), theirs.numbers()
    assert ours.optimizer.iterations == theirs.optimizer.iterations
    for name in mine.keys() & other.keys():
        np.testing.assert_allclose(mine[name], other[name], rtol, atol, err_msg=name)


OPTIONS: list[Options] = [
    {},
    {"nonfinite": "skip", "clipnorm": 0.3},
    {"global_clipnorm": 0.5, "weight_decay": 0.1, "use_ema": True, "ema_overwrite_frequency": 2},
]


@pytest.mark.skipif(not EVERYWHERE, reason="RMSPROP_JIT_AXES_EVERYWHERE is not set")
@pytest.mark.parametrize("options", OPTIONS, ids="+".join)
def test_options_around_such_a_rule(options: Options) -> None:
    ours, theirs = Trained(options), Trained(options, np.array)
    for step in range(3):
        ours.apply(arrays(1 + step))
        theirs.apply(arrays(1 + step))
    assert_alike(ours, theirs, 3e-6 * SLACK, 1e-6 * SLACK)


def test_what_is_not_finite_leaves_all_as_it_was() -> None:
    ours, theirs = (Trained({"nonfinite": "skip", "global_clipnorm": 0.5}) for _ in range(2))
    bad = arrays(5)
    bad[0][2, 3] = np.nan
    ours.apply(bad)
    for one in (ours, theirs):
        one.apply(arrays(1))
    assert ours.optimizer.skipped_steps == 1
    assert_alike(ours, theirs)


def test_two_calls_of_an_accumulation_are_one_of_the_mean_in_groups_too() -> None:
    groups = {"groups": {"variable_0": {"learning_rate": 0.5}}}
    ours, theirs = Trained({"gradient_accumulation_steps": 2, **groups}), Trained(groups)
    for seed in (1, 2):
        ours.apply(arrays(seed))
    theirs.apply([(a + b) / 2 for a, b in zip(arrays(1), arrays(2), strict=True)])
    assert_alike(ours, theirs, 3e-6 * SLACK, 1e-6)


def test_a_graph_of_such_a_rule() -> None:
    ours, theirs = (Trained({"nonfinite": "skip", "clipnorm": 0.5}) for _ in range(2))
    ours.apply(arrays(1))
    gradients = [cupy.asarray(one) for one in arrays(9)]
    graph = capture(lambda: ours.optimizer.apply(gradients))
    graph.launch()
    for seed in (1, 9):
        theirs.apply(arrays(seed))
    assert_alike(ours, theirs, 3e-6 * SLACK, 1e-6)
