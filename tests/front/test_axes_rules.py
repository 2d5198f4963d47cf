"""Bundled rules with numbers over axes: their numbers in the interpreter, their slots, and what matrices move.

`RMSPROP_JIT_ALL_RULES=1` tries them in all tests of rules, compiled, too.
"""

from typing import Any, NamedTuple

import keras_rules
import numpy as np
import pytest
from compare import Array
from every_rule import ALL, AXES, Variant, rule_of
from run_rule import defaults, run
from test_rules import CASES, DTYPES, SHAPES, arrays, gradients, judged

import rmsprop_jit
from rmsprop_jit.buckets import program_of
from rmsprop_jit.codegen.backends.cpu import loops
from rmsprop_jit.rules.around import step_of

SHAPE = (4, 3, 2, 5)


class Case(NamedTuple):
    """A rule in a dialect, its slots of a variable of SHAPE, and what an element of it is loaded and stored."""

    variant: Variant
    slots: dict[str, tuple[int, ...]]
    moved: int

    def __str__(self) -> str:
        return str(self.variant)


FACTORED: dict[str, tuple[int, ...]] = {"r": (4, 3, 2), "c": (4, 3, 5)}
SURPRISES: dict[str, tuple[int, ...]] = {"surprise_r": (4, 3, 2), "surprise_c": (4, 3, 5)}
COVERS: dict[str, tuple[int, ...]] = {"first": (4,), "second": (3,), "third": (2,), "fourth": (5,)}
MOVED = [
    Case(Variant("Adafactor", None), FACTORED, 2 + 1 + 2 + 1),
    Case(Variant("Adafactor", "torch"), FACTORED, 2 + 1 + 2 + 1),
    Case(Variant("CAME", None), {**FACTORED, **SURPRISES, "momentum": SHAPE}, 1 + 1 + 2 + 3 + 2),
    Case(Variant("SM3", None), {**COVERS, "momentum": SHAPE}, 1 + 3 + 2),
    Case(Variant("AdamMini", None), {"velocity": (4,), "momentum": SHAPE}, 1 + 3 + 2),
]
each = pytest.mark.parametrize("case", MOVED, ids=str)


def interpreted(name: str, options: dict[str, Any], dtype: str, i: int) -> Array:
    """What the interpreter makes of a variable in 20 steps."""
    rule, shape = rule_of(Variant(name, None)), SHAPES[i]
    numbers = {"learning_rate": 0.01, **options}
    on = [key for key, flag in rule.flags.items() if flag.of is not None and flag.of(shape)]
    on += [key for key, flag in rule.flags.items() if flag.is_option and options.get(key, flag.default)]
    every = defaults(step_of(rule), **{key: value for key, value in numbers.items() if not isinstance(value, bool)})
    on += [key for key, flag in rule.flags.items() if flag.follows is not None and every[flag.follows] > 0]
    program = program_of(rule, [*on, *(["weight_decay"] if "weight_decay" in options else [])], dtype)
    tensor = {"parameter": arrays(0, dtype)[i]}
    for key, slot in program.slots.items():
        tensor[key] = np.full(slot.shape_of(shape), slot.initial, np.float64 if slot.over == "tensor" else dtype)
    for step in range(20):
        tensor["gradient"] = gradients(step, dtype)[i]
        run("reference", program, [tensor], {**every, "step": step + 1.0})
    return tensor["parameter"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("name", sorted(AXES))
def test_its_numbers_are_the_judges(name: str, which: int, dtype: str) -> None:
    options = {"learning_rate": 0.01, **CASES[name].options[which]}
    theirs = judged(name, options, arrays(0, dtype), 20)
    largest = max(np.abs(one).max() for one in theirs)
    for i, other in enumerate(theirs):
        assert np.abs(other - arrays(0, dtype)[i]).max() > 1e-4
        found = interpreted(name, options, dtype, i).astype(np.float64)
        assert np.abs(found - other).max() <= DTYPES[dtype] * largest, SHAPES[i]
    assert keras_rules.has("Adafactor")


@each
def test_its_slots_are_what_is_left_of_a_variable(case: Case) -> None:
    optimizer = case.variant.made()
    optimizer.build([np.zeros(SHAPE, np.float32)])
    slots = {one.name.removeprefix("variable_0_"): one.value.shape for one in optimizer.variables if "_0_" in one.name}
    assert slots == case.slots


@each
def test_elements_are_moved_no_more_often_than_by_hand_and_loops_are_vectorised(case: Case) -> None:
    rule = rule_of(case.variant)
    flags = [name for name, flag in rule.flags.items() if (flag.of(SHAPE) if flag.of else flag.default or flag.follows)]
    program = program_of(rule, flags, "float32")
    assert program.bytes_per_element() == 4 * case.moved
    for name, loop in (loops(program) if ALL or case.variant.name == "AdamMini" else {}).items():
        assert loop.bits >= 128, name


def test_vectors_and_matrices_are_trained_together() -> None:
    shapes = [(7,), (3, 5), ()]
    ours: Any = rmsprop_jit.Adafactor(learning_rate=0.1)
    variables = [np.ones(shape) for shape in shapes]
    ours.apply([np.full(shape, 0.5) for shape in shapes], variables)
    for one in variables:
        np.testing.assert_allclose(one, 1 - 0.1, 1e-12)
