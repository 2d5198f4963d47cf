"""Slots in 8 bits on a GPU: codes and scales of the interpreter, wherever rows and vectors begin; what is moved."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
from compare import assert_same_bits
from gpu import blocks_of, is_real
from light_programs import (
    BY_SUMS,
    COPY,
    EVERYTHING,
    FACTORED,
    POSITIVE,
    assert_alike,
    bundled,
    keys,
    light,
    numbers,
    signless,
    stored,
    tensors_of,
)
from run_rule import Tensors, copied, fetch, on_gpu, run, table_of
from test_ptx import compiler as compiler
from test_ptx import others as others
from test_ptx import written as written

from rmsprop_jit.codegen import Program, Rule, backends, normal
from rmsprop_jit.codegen.dtypes import BLOCK
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.rmsprop import RMSPROP

pytestmark = pytest.mark.gpu


RULES: dict[str, tuple[Rule, tuple[str, ...], str, str]] = {
    "plain": (RMSPROP, (), "float32", "float32"),
    "everything": (step_of(RMSPROP), EVERYTHING, "float32", "bfloat16"),
    "adam": (bundled("Adam"), ("weight_decay", "amsgrad"), "float32", "float32"),
    "lion": (bundled("Lion"), (), "bfloat16", "bfloat16"),
    "lamb": (bundled("Lamb"), (), "float32", "float32"),
    "adafactor": (bundled("Adafactor"), (), "float32", "float32"),
}
"""Rules with the storages of parameters and gradients; every slot of elements that may be is in int8."""

SIZES = [0, 1, 64, 513]


@pytest.fixture(autouse=True)
def blocks() -> Iterator[None]:
    """Two groups of threads: fewer need less time."""
    with blocks_of(256 if is_real() else 16):
        yield


def stepped(rule: Rule, program: Program, tensors: Tensors, by_sums: bool = False) -> None:
    """The second step of a GPU and of the interpreter, from the same arrays."""
    expected = copied(tensors)
    for backend, own in (("cuda", tensors), ("reference", expected)):
        run(backend, program, own, numbers(rule, 2), keys(len(own)))
    assert_alike(tensors, expected, program, by_sums)


@pytest.mark.parametrize("name", RULES)
def test_a_gpu_has_the_bits_of_the_interpreter(name: str) -> None:
    rule, flags, dtype, gradient = RULES[name]
    program = light(signless(rule), flags, dtype, gradient)
    assert program.is_coded
    stepped(rule, program, tensors_of(program, SIZES), name in BY_SUMS)


def test_rules_with_numbers_over_axes_have_them_too() -> None:
    program = light(FACTORED)
    stepped(FACTORED, program, tensors_of(program, [(3, 50), (1, 1), (16, 129), (0, 4)]), by_sums=True)


def test_the_number_of_threads_changes_no_bit() -> None:
    with blocks_of(64):
        program = light(RMSPROP, ("momentum",))
        stepped(RMSPROP, program, tensors_of(program, [1100, 70]))


def test_what_is_drawn_behind_the_end_is_nothing_of_the_last_block() -> None:
    rule = Rule("noisy", lambda p, g, s, h, on: {s.seen: g + 100 * normal(), p: s.seen}, slots={"seen": 0.0})
    program = light(rule)
    stepped(rule, program, tensors_of(program, [65, 67, 1, 130]))


def test_arrays_that_begin_anywhere_have_the_same_bits() -> None:
    program = light(RMSPROP)
    (expected,) = tensors_of(program, [600])
    rooms = {name: np.zeros(array.size + 8, array.dtype) for name, array in expected.items()}
    shifts = {name: slice(i, i + array.size) for i, (name, array) in enumerate(expected.items())}
    for name, array in expected.items():
        rooms[name][shifts[name]] = array
    there = on_gpu([rooms])
    views = [{name: array[shifts[name]] for name, array in there[0].items()}]
    launch = backends.of("cuda:0").launch([table_of("cuda:0", program, views, {})])
    assert launch(launch.prepared(None, {**numbers(RMSPROP), **keys(1)}))
    fetch(there, [rooms])
    run("reference", program, [expected], numbers(RMSPROP), keys(1))
    assert_alike([{name: rooms[name][shifts[name]] for name in rooms}], [expected], program)


@pytest.mark.parametrize("rule", [COPY, POSITIVE], ids=lambda rule: rule.name)
def test_what_is_exact_is_exact_and_what_is_not_finite_stays_in_its_block(rule: Rule) -> None:
    rng = np.random.default_rng(0)
    values = np.abs(rng.normal(size=(9, BLOCK))).astype(np.float32)
    values[0], values[1], values[2], values[3] = 0, 1e-30, 1e30, 2.0**-111
    values[4, 5], values[6, 63], values[7, ::3] = np.inf, np.nan, 0
    seen = stored(rule, values.ravel()[:-30], backend="cuda")  # the last block is no whole one
    assert_same_bits(seen, stored(rule, values.ravel()[:-30], backend="reference"), "as the interpreter has it")
    seen = np.append(seen, values.ravel()[-30:]).reshape(values.shape)
    assert_same_bits(seen[:3], values[:3], "constant blocks")
    assert np.isnan(seen[[4, 6]]).all()
    assert np.isfinite(seen[[3, 5, 7, 8]]).all()
    assert (seen[3] == 0).all()
    assert (seen[7, ::3] == 0).all()


def test_codes_are_moved_in_vectors_and_told_by_shuffles_without_float64(others: dict[str, str]) -> None:
    ptx, signs = others["codes"], others["signs"]
    assert not re.search(r"^\s*call|\.local\s|\.f64|atom\.|red\.|bar\.", ptx, re.MULTILINE)
    assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in others["usage of codes"]
    assert len(re.findall(r"shfl\.sync", ptx)) == 3
    for what, arrays in (("ld", 2), ("st", 1)):
        wide = re.findall(rf"{what}\.global\.v(\d)\.[busf](\d+)", ptx)
        widths = [int(lanes) * int(bits) for lanes, bits in wide]
        assert sum(widths) == 8 * (8 + arrays * 32)  # of eight elements, and no scale among them
        assert min(widths) >= 32
    signed, unsigned = (re.findall(rf"cvt\.rn\.f32\.{kind}(?:8|16|32)", signs) for kind in "su")
    assert len(signed) == len(unsigned) == 1
