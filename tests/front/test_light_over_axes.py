"""Light storages of rules with numbers over axes: what is of elements is light, what is not stays as it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import Array, assert_same_bits, make
from every_rule import ALL
from light import BFLOAT16, Weights, assert_goes_on, gradients
from run_rule import Tensors, copied, run

import rmsprop_jit
from rmsprop_jit import Adafactor, OptionError
from rmsprop_jit.codegen import Program, specialize
from rmsprop_jit.codegen.axes import size_in
from rmsprop_jit.codegen.dtypes import storage
from rmsprop_jit.codegen.kinds import KEY, SEED, Space
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.table import TABLE

STORAGES = {"bfloat16": (BFLOAT16, BFLOAT16), "int8": (np.dtype(np.uint8), np.dtype(np.int8))}
"""What slots are kept in, those that are never below zero and others."""

WINDOW = ("gradient_accumulation_steps",)
CASES = [
    ("adafactor", (), (1500,), "bfloat16"),
    ("adafactor", (), (1500,), "int8"),
    ("adafactor", WINDOW, (70, 65), "int8"),
    ("came", (), (70, 65), "bfloat16"),
    ("adafactor", WINDOW, (70, 65), "bfloat16"),
    ("came", (), (70, 65), "int8"),
]
"""Rules, flags, shapes, storages: a vector has no rows, and keeps all of its velocity."""


def weights() -> Weights:
    return {"matrix": make(65 * 70, 1).reshape(65, 70), "vector": make(4500, 2)}


def tensors_of(program: Program, shape: tuple[int, ...]) -> Tensors:
    """One tensor's arrays, in the storages of a program."""
    rng, made = np.random.default_rng(5), dict[str, Array]()
    for array in program.arrays:
        if not array.is_made:
            row = storage(array.storage)
            slot = program.slots.get(array.name)
            own = (size_in(shape, array.space),) if slot is None and array.space is not Space.ELEMENT else shape
            own = own if slot is None else slot.shape_of(shape)
            values = rng.integers(0, row.most, own) if row.is_coded else np.abs(rng.normal(size=own))
            made[array.name] = np.asarray(values).astype(row.scalar)
    return [made]


@pytest.mark.parametrize(("name", "flags", "shape", "kept"), CASES if ALL else CASES[:4])
def test_the_processor_has_the_bits_of_the_interpreter(
    name: str, flags: tuple[str, ...], shape: tuple[int, ...], kept: str
) -> None:
    rule = step_of(TABLE[name][0].rule)
    on = {*flags, *(flag for flag, one in rule.flags.items() if one.of is not None and one.of(shape))}
    slots = [name for name, slot in specialize(rule, on).slots.items() if slot.over == "element"]
    program = specialize(rule, on, slots=dict.fromkeys(slots, kept))
    assert any(storage(array.storage).asked == kept for array in program.arrays)
    ours = tensors_of(program, shape)
    theirs = copied(ours)
    for step in (2.0, 3.0):
        numbers = {key: hyper.default for key, hyper in rule.hypers.items() if hyper.default is not None}
        numbers |= {"learning_rate": 0.01, "step": step, **dict.fromkeys(SEED, 1.0), "gradient_accumulation_steps": 2.0}
        own = {key: [1.0] for key in KEY}
        run("cpu", program, ours, numbers, own)
        run("reference", program, theirs, numbers, own)
    for array in program.written & ours[0].keys():
        assert_same_bits(ours[0][array], theirs[0][array], array)


@pytest.mark.parametrize("kept", STORAGES)
def test_rows_and_columns_stay_as_they_are_and_what_vectors_keep_is_light(kept: str) -> None:
    optimizer = Adafactor(storage=kept)
    optimizer.build(weights())
    state = optimizer.state_dict()
    assert state["vector_velocity"].dtype == STORAGES[kept][0]
    assert {state[f"matrix_{slot}"].dtype.name for slot in ("r", "c")} == {"float32"}
    assert ("vector_velocity.scale" in state) == (kept == "int8")


@pytest.mark.parametrize(("rule", "slot"), [("CAME", "velocity"), ("SM3", "accumulator")])
def test_what_is_never_below_zero_has_codes_without_sign(rule: str, slot: str) -> None:
    optimizer: Any = getattr(rmsprop_jit, rule)(storage="int8")
    optimizer.build(weights())
    state = optimizer.state_dict()
    assert state[f"vector_{slot}"].dtype == np.uint8
    assert state["matrix_momentum"].dtype == np.int8


def test_a_slot_over_axes_has_no_storage_of_its_own() -> None:
    with pytest.raises(OptionError, match=r"`storage`: .*'.\*:r'"):
        Adafactor(storage={".*:r": "int8"}).build(weights())


def test_light_steps_are_near_those_of_float32() -> None:
    """Of the codes of a velocity whose squares differ a hundredfold in a block."""
    own, plain = weights(), weights()
    light, usual = Adafactor(storage="int8", learning_rate=0.01), Adafactor(learning_rate=0.01)
    for step in range(5):
        light.apply(gradients(own, step), own)
        usual.apply(gradients(own, step), plain)
    for name, start in weights().items():
        moved = np.linalg.norm(plain[name] - start)
        assert np.linalg.norm(own[name] - plain[name]) < 0.05 * moved


@pytest.mark.parametrize("kept", STORAGES if ALL else ["int8"])
def test_whoever_resumes_goes_on_with_the_same_bits(kept: str, tmp_path: Path) -> None:
    assert_goes_on(kept, weights(), 3, tmp_path, steps=5, often=0.6, rule="Adafactor")
