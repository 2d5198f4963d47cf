"""Bundled rules with numbers over axes: what their slots are, and what a step of matrices moves."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from compare import Array
from every_rule import Variant, rule_of

import rmsprop_jit
from rmsprop_jit.buckets import program_of
from rmsprop_jit.codegen.backends.cpu import loops


class Case(NamedTuple):
    """A rule in a dialect, its slots of a variable of 4 x 3 x 2 x 5, and what an element of it is loaded and stored."""

    variant: Variant
    slots: dict[str, tuple[int, ...]]
    moved: int

    def __str__(self) -> str:
        return str(self.variant)


SHAPE = (4, 3, 2, 5)
FACTORED: dict[str, tuple[int, ...]] = {"r": (4, 3, 2), "c": (4, 3, 5)}
CASES = [
    Case(Variant("Adafactor", None), FACTORED, 2 + 1 + 2 + 1),
    Case(Variant("Adafactor", "torch"), FACTORED, 2 + 1 + 2 + 1),
    Case(
        Variant("CAME", None),
        {**FACTORED, "momentum": SHAPE, "surprise_r": (4, 3, 2), "surprise_c": (4, 3, 5)},
        1 + 1 + 2 + 3 + 2,
    ),
    Case(
        Variant("SM3", None),
        {"first": (4,), "second": (3,), "third": (2,), "fourth": (5,), "momentum": SHAPE},
        1 + 3 + 2,
    ),
    Case(Variant("AdamMini", None), {"velocity": (4,), "momentum": SHAPE}, 1 + 3 + 2),
]
each = pytest.mark.parametrize("case", CASES, ids=str)


def arrays(seed: int, shape: tuple[int, ...]) -> list[Array]:
    return [np.random.default_rng(seed).normal(size=shape).astype(np.float32)]


@each
def test_its_slots_are_what_is_left_of_a_variable(case: Case) -> None:
    optimizer = case.variant.made()
    optimizer.apply(arrays(0, SHAPE), arrays(1, SHAPE))
    slots = {one.name.removeprefix("variable_0_"): one.value.shape for one in optimizer.variables if "_0_" in one.name}
    assert slots == case.slots


@each
def test_elements_are_moved_no_more_often_than_by_hand_and_loops_are_vectorised(case: Case) -> None:
    rule = rule_of(case.variant)
    flags = [name for name, flag in rule.flags.items() if (flag.of(SHAPE) if flag.of else flag.default or flag.follows)]
    program = program_of(rule, flags, "float32")
    assert program.bytes_per_element() == 4 * case.moved
    for name, loop in loops(program).items():
        assert loop.bits >= 128, name


def test_vectors_and_matrices_are_trained_together() -> None:
    shapes = [(7,), (3, 5), (2, 3, 1, 4), ()]
    ours: Any = rmsprop_jit.Adafactor(learning_rate=0.1)
    variables = [np.ones(shape) for shape in shapes]
    ours.apply([np.full(shape, 0.5) for shape in shapes], variables)
    for one in variables:
        np.testing.assert_allclose(one, 1 - 0.1, 1e-12)
