"""Slots over axes in an optimizer: their shapes in states, files and copies; variables that cannot have them."""

import copy
import pickle
from pathlib import Path
from typing import Any

import axes_rules
import numpy as np
import pytest
from compare import Array, assert_same_bits

from rmsprop_jit import ArrayError, Optimizer
from rmsprop_jit.codegen import Expr, Flag, Rule, Slot, ema, mean_of, sqrt, square, where
from rmsprop_jit.codegen.names import Names


def is_matrix(shape: tuple[int, ...]) -> bool:
    return len(shape) > 1


def factored(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """A number a row where there are rows, otherwise one an element."""
    row, own = ema(0.9, s.row, mean_of(square(g), over=-1)), ema(0.9, s.own, square(g))
    return {s.row: row, s.own: own, p: p - h.learning_rate * g / (sqrt(where(on.matrix, row, own)) + 1e-3)}


FACTORED = Rule(
    "factored", factored, slots={"row": Slot(0.5, over=-1), "own": 0.25}, flags={"matrix": Flag(of=is_matrix)}
)
SHAPES = ((4, 6), (5,), (2, 3, 4), (1, 7))


def arrays(seed: int, dtype: str = "float32") -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for shape in SHAPES]


def stepped(optimizer: Any, variables: list[Array], steps: range) -> list[Array]:
    for step in steps:
        optimizer.apply(arrays(100 + step), variables)
    return variables


def assert_all_same(ours: list[Array], theirs: list[Array]) -> None:
    for i, (mine, yours) in enumerate(zip(ours, theirs, strict=True)):
        assert_same_bits(mine, yours, i)


def test_slots_have_the_shape_of_what_is_left_of_their_variable() -> None:
    optimizer = Optimizer(FACTORED, learning_rate=0.01)
    variables = stepped(optimizer, arrays(0), range(2))
    kept = {name: array for name, array in optimizer.state_dict().items() if name.startswith("variable")}
    assert {name: array.shape for name, array in kept.items()} == {
        "variable_0_row": (4,),
        "variable_2_row": (2, 3),
        "variable_3_row": (1,),
        "variable_1_own": (5,),
    }
    assert {array.dtype.name for array in kept.values()} == {"float32"}
    assert f"{4 * (4 + 6 + 1 + 5)} bytes" in repr(optimizer)
    assert "variable_2 (2, 3, 4) float32: row" in str(optimizer.state)
    assert all(np.isfinite(one).all() for one in variables)


def test_a_state_goes_on_after_files_copies_and_pickles(tmp_path: Path) -> None:
    optimizer = Optimizer(FACTORED, learning_rate=0.01)
    variables = stepped(optimizer, arrays(0), range(3))
    twins = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    loaded, start = Optimizer(FACTORED, learning_rate=0.01), [one.copy() for one in variables]
    loaded.build(start)
    optimizer.save(tmp_path / "kept.safetensors")
    loaded.load(tmp_path / "kept.safetensors")
    others = [[one.copy() for one in variables] for _ in twins]
    for twin, own in zip(twins, others, strict=True):
        twin.build(own)
    stepped(optimizer, variables, range(3, 5))
    stepped(loaded, start, range(3, 5))
    assert_all_same(start, variables)
    for twin, own in zip(twins, others, strict=True):
        assert_all_same(stepped(twin, own, range(3, 5)), variables)


def test_a_state_of_another_shape_is_refused() -> None:
    optimizer = Optimizer(FACTORED, learning_rate=0.01)
    stepped(optimizer, arrays(0), range(1))
    state = optimizer.state_dict()
    state["variable_0_row"] = np.zeros(6, np.float32)
    with pytest.raises(ArrayError, match=r"variable_0_row.*\(4,\).*Received: shape=\(6,\)"):
        optimizer.load_state_dict(state)


def test_options_around_such_a_rule() -> None:
    options: dict[str, Any] = {"weight_decay": 0.1, "global_clipnorm": 1.0, "use_ema": True, "nonfinite": "raise"}
    one, other = (Optimizer(FACTORED, learning_rate=0.01, **more) for more in (options, {**options, "threads": 2}))
    assert_all_same(stepped(one, arrays(0), range(3)), stepped(other, arrays(0), range(3)))


def test_two_calls_of_an_accumulation_are_one_of_the_mean() -> None:
    one = Optimizer(FACTORED, learning_rate=0.01)
    parts = Optimizer(FACTORED, learning_rate=0.01, gradient_accumulation_steps=2)
    whole, halves = arrays(0), arrays(0)
    for step in range(2):
        first, second = arrays(10 + step), arrays(20 + step)
        one.apply([(a + b) / 2 for a, b in zip(first, second, strict=True)], whole)
        parts.apply(first, halves)
        parts.apply(second, halves)
    for mine, yours in zip(halves, whole, strict=True):
        np.testing.assert_allclose(mine, yours, 1e-5)


def test_groups_of_such_a_rule() -> None:
    variables = arrays(0)
    before = [one.copy() for one in variables]
    optimizer = Optimizer(FACTORED, learning_rate=0.01, groups={"variable_0": {"learning_rate": 0.0}})
    stepped(optimizer, variables, range(1))
    assert [np.array_equal(mine, old) for mine, old in zip(variables, before, strict=True)] == [True] + [False] * 3


def test_a_variable_of_too_few_axes_is_named_before_anything_is_made() -> None:
    optimizer = Optimizer(axes_rules.ADAFACTOR.rule)
    with pytest.raises(ArrayError, match=r"slot 'c' of variable 'variable_1'.*axis -2.*\(3,\).*Flag\(of="):
        optimizer.build([np.zeros((2, 3), "float32"), np.zeros(3, "float32")])
    assert not optimizer.built


def test_gradients_that_are_not_finite_leave_slots_over_axes_alone() -> None:
    optimizer = Optimizer(FACTORED, learning_rate=0.01, nonfinite="skip")
    variables = stepped(optimizer, arrays(0), range(1))
    before, state = [one.copy() for one in variables], optimizer.state_dict()
    bad = arrays(5)
    bad[0][2, 3] = np.nan
    optimizer.apply(bad, variables)
    assert_all_same(variables, before)
    for name, array in optimizer.state_dict().items():
        if name.startswith("variable"):
            assert_same_bits(array, state[name], name)
