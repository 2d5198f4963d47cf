"""Slots in 8 bits: codes and a scale for each block, the same bits on every backend, right on average."""

import os
import re

import numpy as np
import pytest
import zoo
from compare import assert_same_bits
from every_rule import ALL, Variant, rule_of, some_rules
from light_programs import (
    COPY,
    EVERYTHING,
    FACTORED,
    POSITIVE,
    assert_alike,
    keys,
    light,
    numbers,
    signless,
    stored,
    tensors_of,
)
from run_iree import run_with_iree
from run_rule import copied, run, run_together

from rmsprop_jit.codegen import (
    ArrayError,
    OptionError,
    Rule,
    backends,
    explain,
    specialize,
    sum_of_squares,
)
from rmsprop_jit.codegen.backends.cpu import loops
from rmsprop_jit.codegen.codes import decoded, encoded
from rmsprop_jit.codegen.dtypes import BLOCK, STORAGES
from rmsprop_jit.codegen.expr import Expr
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.codegen.pieces import ERROR
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.rmsprop import RMSPROP

SIZES = [0, 1, 63, 64, 65, 513, 1500]
ROUNDINGS = int(os.environ.get("ROUNDINGS", "200_000"))
"""Of each value; ROUNDINGS=10_000_000 by hand."""


RULES: dict[str, tuple[Rule, tuple[str, ...], str, str]] = {
    "plain": (RMSPROP, (), "float32", "float32"),
    "light": (RMSPROP, ("momentum",), "bfloat16", "bfloat16"),
    "everything": (step_of(RMSPROP), EVERYTHING, "float32", "float32"),
    "adam": (step_of(zoo.ADAM), ("clipnorm", "amsgrad"), "float32", "float32"),
    "lion": (step_of(zoo.LION), (), "bfloat16", "float32"),
    "lamb": (step_of(zoo.LAMB), (), "float32", "bfloat16"),
}
"""Rules with the storages of parameters and gradients; every slot of elements that may be is in int8."""

BOTH = pytest.mark.parametrize("rule", [COPY, POSITIVE], ids=lambda rule: rule.name)


@pytest.mark.parametrize("name", RULES if ALL else ["everything", "lamb"])
def test_the_processor_has_the_bits_of_the_interpreter(name: str) -> None:
    rule, flags, dtype, gradient = RULES[name]
    program = light(signless(rule), flags, dtype, gradient)
    assert program.is_coded
    tensors = tensors_of(program, SIZES)
    expected = copied(tensors)
    for step in (1, 2):
        run("cpu", program, tensors, numbers(rule, step), keys(len(tensors)))
        run("reference", program, expected, numbers(rule, step), keys(len(tensors)))
    assert_alike(tensors, expected, program)
    assert all(loop.elements >= 4 for loop in loops(program).values())


def test_slots_of_parameters_of_24_bits_have_the_bits_of_the_interpreter() -> None:
    program = specialize(RMSPROP, (), "bfloat16", "float32", slots={"velocity": "int8", ERROR: "byte"})
    tensors = tensors_of(program, SIZES)
    expected = copied(tensors)
    for backend, own in (("cpu", tensors), ("reference", expected)):
        run(backend, program, own, numbers(RMSPROP), keys(len(own)))
    assert_alike(tensors, expected, program)


def test_rules_with_numbers_over_axes_have_the_bits_of_the_interpreter() -> None:
    program = light(FACTORED)
    tensors = tensors_of(program, [(3, 50), (1, 1), (700, 129), (0, 4)])
    expected = copied(tensors)
    for backend, own in (("cpu", tensors), ("reference", expected)):
        run(backend, program, own, numbers(FACTORED), keys(len(own)))
    assert_alike(tensors, expected, program)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_and_the_place_of_an_array_change_no_bit(threads: int) -> None:
    program = light(RMSPROP)
    (expected,) = tensors_of(program, [(140_003,)])
    tensor = {}
    for shift, (name, array) in enumerate(expected.items()):
        room = np.zeros(array.size + 8, array.dtype)
        tensor[name] = room[shift : shift + array.size]
        tensor[name][...] = array
    run_together("cpu", [(program, [tensor])], {**numbers(RMSPROP), **keys(1)}, threads=threads)
    run("reference", program, [expected], numbers(RMSPROP), keys(1))
    assert_alike([tensor], [expected], program)


def test_all_three_loops_of_a_block_have_vectors() -> None:
    made = backends.get("cpu").explain(light(RMSPROP), "llvm", {})
    assert re.search(r"store <\d+ x i8>", made)
    assert re.search(r"load <\d+ x i8>", made)
    assert re.search(r"call <\d+ x i32> @llvm.umax", made)


@BOTH
def test_every_code_is_what_the_formula_says_and_comes_back(rule: Rule) -> None:
    row = STORAGES[light(rule).storage("seen")]
    codes = np.arange(0 if row.name == "uint8" else -row.most, row.most + 1)
    for scale in (1e-30, 0.3, 1.0, 1e30):
        block = np.zeros((len(codes), BLOCK), row.name)
        block[:, 0], block[:, 1] = codes, row.most
        scales = np.full(len(codes), scale, np.float32)
        meant = decoded(block.ravel(), scales).reshape(block.shape)
        exact = np.sign(codes) * (codes / row.most) ** 2 * np.float64(np.float32(scale))
        np.testing.assert_allclose(meant[:, 0].astype(np.float64), exact, rtol=4e-7)
        again, kept = encoded(meant.ravel(), row.name)
        assert_same_bits(kept, scales, "scales")
        assert (np.abs(again.reshape(block.shape).astype(int)[:, 0] - codes) <= 1).all()
        assert (again.reshape(block.shape)[:, 0] == codes).mean() > 0.98


@BOTH
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_zero_stays_zero_and_a_constant_block_and_the_largest_are_exact(rule: Rule, backend: str) -> None:
    rng = np.random.default_rng(0)
    constant = np.exp(rng.uniform(np.log(1e-30), np.log(1e30), 2000)).astype(np.float32)
    if rule is COPY:
        constant *= rng.choice([-1, 1], 2000).astype(np.float32)
    values = np.repeat(constant, BLOCK)
    assert_same_bits(stored(rule, values, backend=backend), values, "constant blocks")
    mixed = np.zeros((1000, BLOCK), np.float32)
    mixed[:, ::3] = np.abs(rng.normal(size=(1000, 22))).astype(np.float32)
    seen = stored(rule, mixed.ravel(), backend=backend).reshape(mixed.shape)
    assert (seen[mixed == 0] == 0).all()
    assert_same_bits(seen.max(axis=1), mixed.max(axis=1), "largest")
    distance = 2 / (255 if rule is POSITIVE else 127)
    largest = mixed.max(axis=1, keepdims=True)
    assert (np.abs(seen - mixed) <= distance * np.sqrt(mixed * largest) + distance**2 * largest).all()


@pytest.mark.parametrize(("rule", "bad"), [(COPY, -np.inf), (COPY, np.nan), (POSITIVE, np.inf), (POSITIVE, np.nan)])
def test_what_is_not_finite_makes_nan_of_its_own_block_alone(rule: Rule, bad: float) -> None:
    values = np.abs(np.random.default_rng(0).normal(size=3 * BLOCK)).astype(np.float32)
    values[BLOCK + 5] = bad
    for backend in ("cpu", "reference"):
        seen = stored(rule, values, backend=backend)
        assert np.isnan(seen[BLOCK : 2 * BLOCK]).all()
        assert np.isfinite(seen[:BLOCK]).all()
        assert np.isfinite(seen[2 * BLOCK :]).all()


def test_scales_below_the_least_become_zero() -> None:
    tiny = np.full(BLOCK, 2.0**-111, np.float32)
    assert (stored(POSITIVE, tiny) == 0).all()
    assert (stored(COPY, np.full(BLOCK, 2.0**-110, np.float32)) == np.float32(2.0**-110)).all()
    assert (stored(COPY, np.full(BLOCK, 3e38, np.float32)) == np.float32(3e38)).all()


def test_values_below_zero_of_a_slot_that_has_none_are_refused_or_zero() -> None:
    values = np.linspace(-1, 1, BLOCK, dtype=np.float32)
    with pytest.raises(ArrayError, match=r"slot 'seen' is declared nonnegative, .* Received: a new value of -1.0"):
        stored(POSITIVE, values, backend="reference")
    seen = stored(POSITIVE, values)
    assert (seen[values < 0] == 0).all()
    assert (seen[values > 0.5] > 0.4).all()


@pytest.mark.parametrize("part", [1e-4, 0.003, 0.06, 0.2500001, 0.37, 0.9, 0.99999])
@BOTH
def test_rounding_is_right_on_average(rule: Rule, part: float) -> None:
    """Each block has a one, and all else has a part of it."""
    for sign in (1, -1) if rule is COPY else (1,):
        values = np.full(ROUNDINGS // BLOCK * BLOCK, sign * part, np.float32)
        values[::BLOCK] = 1
        seen = stored(rule, values).reshape(-1, BLOCK)[:, 1:].astype(np.float64)
        most = 255 if rule is POSITIVE else 127
        exact = float(np.abs(values[1]))
        lower = np.floor(np.sqrt(exact) * most)
        distance = (2 * lower + 1) / most**2
        chance = (exact - (lower / most) ** 2) / distance
        assert abs(abs(seen.mean()) - exact) <= 4 * distance * np.sqrt(chance * (1 - chance) / seen.size) + 2e-7 * exact
        assert len(np.unique(seen)) == 2


def test_reductions_read_what_was_loaded_and_equations_see_new_values_exactly() -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        new = s.a + g
        return {s.a: new, p: new + 0 * sum_of_squares(s.a)}

    rule = Rule("exact", equations, slots={"a": 0.0})
    program = light(rule)
    (tensor,) = tensors_of(program, [(1000,)])
    loaded = decoded(tensor["a"], tensor["scale.a"])
    wanted = loaded + tensor["gradient"]
    totals = run("cpu", program, [tensor], numbers(rule), keys(1))
    assert not totals
    assert_same_bits(tensor["parameter"], wanted, "new value")
    assert (decoded(tensor["a"], tensor["scale.a"]) != wanted).any()


def test_bytes_are_counted_and_told() -> None:
    def of(dtype: str, *flags: str) -> float:
        return light(RMSPROP, flags, dtype, dtype).bytes_per_element()

    assert (of("float32"), of("bfloat16"), of("bfloat16", "momentum")) == (14.125, 8.125, 10.25)
    assert "14.125 bytes per parameter" in explain(RMSPROP, form="summary", slots={"velocity": "int8"})
    text = str(light(RMSPROP))
    assert "load    s.velocity <- velocity: uint8 as float32" in text
    assert "block   velocity in blocks of 64, beside scale.velocity" in text


def test_what_has_no_8_bits_says_so() -> None:
    with pytest.raises(OptionError, match=r"int8 is a storage of what is computed in float32. Received: 'velocity'"):
        specialize(RMSPROP, dtype="float64", slots={"velocity": "int8"})


@pytest.mark.parametrize("variant", some_rules("signless", 6), ids=str)
def test_slots_that_are_said_to_be_never_below_zero_are_not(variant: Variant) -> None:
    """The interpreter looks. No slot starts below zero: of squares, said to be that or not, roots are taken."""
    rule = step_of(rule_of(variant))
    program = light(rule)
    if not program.is_coded:
        return
    tensors = tensors_of(program, [(4, 40)])
    tensors[0] |= {name: np.abs(codes) for name, codes in tensors[0].items() if codes.dtype == np.int8}
    own = {name: [1.0] for name in program.tensor_hypers} | keys(1)
    everyone = {f"s.{name}": float(slot.initial) for name, slot in rule.slots.items() if slot.over == "all"}
    for step in range(1, 6):
        tensors[0]["gradient"][...] = np.random.default_rng(step).normal(size=(4, 40)) * 10.0 ** (step - 3)
        run("reference", program, tensors, {**numbers(rule, step), **everyone}, own)
    assert all(tensors[0][array.name].min() >= 0 for array in program.arrays if array.is_scale)


@pytest.mark.parametrize("name", ["plain", "everything", "lamb"] if ALL else ["lamb"])
def test_as_mlir(name: str) -> None:
    """Contraction is allowed there, so that chance may decide anew."""
    pytest.importorskip("iree.compiler", reason="the extra `mlir` is not installed")
    rule, flags, dtype, gradient = RULES[name]
    program = light(signless(rule), flags, dtype, gradient)
    tensors = tensors_of(program, [(7,), (129,)])
    expected = copied(tensors)
    run("reference", program, expected, numbers(rule), keys(2))
    run_with_iree(program, tensors, numbers(rule), keys(2))
    for ours, theirs in zip(tensors, expected, strict=True):
        own, wanted = (one["parameter"].astype(np.float32) for one in (ours, theirs))
        np.testing.assert_allclose(own, wanted, rtol=2e-5)
        for scale in (array.name for array in program.arrays if array.is_scale):
            slot = scale.removeprefix("scale.")
            np.testing.assert_allclose(ours[scale], theirs[scale], rtol=2e-6)
            codes = [one[slot].astype(int) for one in (ours, theirs)]
            assert (np.abs(codes[0] - codes[1]) <= 1).all()
            assert (codes[0] == codes[1]).mean() > 0.98
