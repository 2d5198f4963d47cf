"""Parameters of 24 bits, a bfloat16 and a byte of error, and copies in bfloat16: the same bits on every backend."""

import os

import ml_dtypes
import numpy as np
import pytest
import zoo
from compare import SPECIAL, assert_same_bits
from light_programs import BY_SUMS, EVERYTHING, assert_alike, bundled, keys, numbers, tensors_of, whole
from run_iree import run_with_iree
from run_rule import copied, run, run_together, table_of

from rmsprop_jit.codegen import Program, Rule, backends, specialize
from rmsprop_jit.codegen.backends.cpu import loops
from rmsprop_jit.codegen.pieces import COPY, ERROR
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.rmsprop import RMSPROP

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
ROUNDINGS = int(os.environ.get("ROUNDINGS", "200_000"))
"""Of each value; ROUNDINGS=10_000_000 by hand."""

SIZES = [0, 1, 7, 8, 9, 513, 1500]
CASES: dict[str, tuple[Rule, tuple[str, ...]]] = {
    "plain": (RMSPROP, ()),
    "everything": (step_of(RMSPROP), EVERYTHING),
    "adam": (step_of(zoo.ADAM), ("weight_decay",)),
    "lion": (step_of(zoo.LION), ()),
    "lamb": (step_of(zoo.LAMB), ()),
    "adafactor": (bundled("Adafactor"), ()),
}
LIGHTER = {"lion": ("bfloat16", "float32"), "adam": ("float32", "bfloat16")}
"""Storages of gradients and slots."""

PAIRS = [("everything", ERROR), ("lion", ERROR), ("lamb", ERROR), ("adam", COPY)]
PAIRS = [(name, beside) for name in CASES for beside in (ERROR, COPY)] if "BESIDE" in os.environ else PAIRS
"""BESIDE=all by hand: each of them takes two seconds to compile."""

MOVED = Rule("moved", lambda p, g, s, h, on: {p: g + s.nothing}, slots={"nothing": -0.0})
"""The gradient becomes the parameter."""

SEEN = Rule("seen", lambda p, g, s, h, on: {s.seen: p + g, p: p + g + 0 * s.seen * g}, slots={"seen": 0.0})
"""Shows what the parameter is."""


def of(name: str, beside: str, gradient: str = "float32", slots: str = "float32") -> tuple[Rule, Program]:
    rule, flags = CASES[name]
    exact = specialize(rule, flags)
    kept = {one: slots for one in exact.slots if rule.slots[one].over == "element" and slots != "float32"}
    dtype, own = ("bfloat16", {ERROR: "byte"}) if beside == ERROR else ("float32", {COPY: "bfloat16"})
    return rule, specialize(rule, flags, dtype, gradient, slots={**kept, **own})


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
@pytest.mark.parametrize(("name", "beside"), PAIRS)
def test_every_backend_has_the_bits_of_the_interpreter(name: str, beside: str, backend: str) -> None:
    gradient, slots = LIGHTER.get(name, ("float32", "float32"))
    rule, program = of(name, beside, gradient, slots)
    tensors = tensors_of(program, SIZES if backend == "cpu" else [0, 1, 9, 131])
    expected = copied(tensors)
    for step in (1, 2):
        run(backend, program, tensors, numbers(rule, step), keys(len(tensors)))
        run("reference", program, expected, numbers(rule, step), keys(len(tensors)))
    assert beside in program.written
    assert_alike(tensors, expected, program, by_sums=backend == "cuda" and name in BY_SUMS)
    if backend == "cpu":
        assert all(loop.elements >= 4 for loop in loops(program).values())


@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda"])
def test_every_parameter_of_24_bits_stays_what_it_is(backend: str) -> None:
    upper = np.arange(2**16, dtype=np.uint16)[:: 64 if backend == "cuda" else 1]
    errors = np.array([-128, -127, -1, 0, 1, 127], np.int8)
    parameter, error = (part.ravel() for part in np.meshgrid(upper, errors))
    program = specialize(SEEN, (), "bfloat16", "float32", slots={ERROR: "byte"})
    size = parameter.size
    tensor = {
        "parameter": parameter.view(BFLOAT16).copy(),
        ERROR: error.copy(),
        "gradient": np.full(size, -0.0, np.float32),
    }
    tensor["seen"] = np.zeros(size, np.float32)
    (before,) = copied([tensor])
    run(backend, program, [tensor], numbers(SEEN), keys(1))
    exponent = parameter >> 7 & 0xFF
    usual = (exponent != 0xFF) & ((parameter & 0x7FFF != 0) | (error >= 0))
    assert_same_bits(tensor["seen"][usual], whole(before)[usual], "what it is")
    half = np.abs(error.astype(int)) < 128  # either side has this one
    for name in ("parameter", ERROR):
        assert_same_bits(tensor[name][usual & half], before[name][usual & half], name)
    assert_same_bits(whole(tensor)[usual], whole(before)[usual], "what it is afterwards")
    zero = parameter & 0x7FFF == 0  # of which only the model's array was written
    assert (tensor["seen"][zero & (error < 0)] == 0).all()


@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda"])
def test_all_else_becomes_a_neighbour_and_the_model_has_what_is_nearest(backend: str) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 4000 if backend != "cuda" else 600, dtype=np.uint32)
    with np.errstate(all="ignore"):
        values = np.concatenate([bits.view(np.float32), np.array(SPECIAL, np.float32)])
    program = specialize(MOVED, (), "bfloat16", "float32", slots={ERROR: "byte"})
    (tensor,) = tensors_of(program, [values.size])
    tensor["gradient"], tensor["nothing"] = values, np.full(values.size, -0.0, np.float32)
    run(backend, program, [tensor], numbers(MOVED), keys(1))
    number = ~np.isnan(values)
    assert np.isnan(tensor["parameter"][~number].astype(np.float32)).all()
    assert (tensor[ERROR][~number] == 0).all()
    ours, theirs = whole(tensor)[number].view(np.uint32), values[number].view(np.uint32)
    assert np.isin((ours >> 8).astype(np.int64) - (theirs >> 8), [0, 1]).all()
    assert not (ours & 0xFF).any()
    away = tensor["parameter"][number].view(np.uint16).astype(np.int64) - (ours.astype(np.int64) >> 16)
    assert np.isin(away, [0, 1]).all()


@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda"])
def test_a_copy_is_the_nearest_bfloat16(backend: str) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 4000 if backend != "cuda" else 600, dtype=np.uint32)
    ties = np.arange(0x3F800000, 0x3F900000, 0x8000, dtype=np.uint32)
    with np.errstate(all="ignore"):
        values = np.concatenate([bits.view(np.float32), ties.view(np.float32), np.array(SPECIAL, np.float32)])
        wanted = values.astype(BFLOAT16)
    program = specialize(MOVED, (), "float32", "float32", slots={COPY: "bfloat16"})
    (tensor,) = tensors_of(program, [values.size])
    tensor["gradient"], tensor["nothing"] = values, np.full(values.size, -0.0, np.float32)
    run(backend, program, [tensor], numbers(MOVED), keys(1))
    assert_same_bits(tensor["parameter"], values, "parameter")
    number = ~np.isnan(values)
    assert np.array_equal(tensor[COPY][number].view(np.uint16), wanted[number].view(np.uint16))
    assert np.isnan(tensor[COPY][~number].astype(np.float32)).all()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_and_the_place_of_an_array_change_no_bit(threads: int) -> None:
    rule, program = of("plain", ERROR)
    (expected,) = tensors_of(program, [70_003])
    tensor = {}
    for shift, (name, array) in enumerate(expected.items()):
        room = np.zeros(array.size + 8, array.dtype)
        tensor[name] = room[shift : shift + array.size]
        tensor[name][...] = array
    run_together("cpu", [(program, [tensor])], {**numbers(rule), **keys(1)}, threads=threads)
    run("reference", program, [expected], numbers(rule), keys(1))
    for name in program.written:
        assert_same_bits(tensor[name], expected[name], name)


@pytest.mark.parametrize("bits", [0x3F800001, 0x3F804080, 0x3F8000FF, 0x3F807FF0, 0x00000040, 0xC2C7FFF0])
def test_rounding_is_right_on_average(bits: int) -> None:
    program, size = specialize(MOVED, (), "bfloat16", "float32", slots={ERROR: "byte"}), ROUNDINGS
    (tensor,) = tensors_of(program, [size])
    tensor["gradient"] = np.full(size, np.array(bits, np.uint32).view(np.float32))
    tensor["nothing"] = np.full(size, -0.0, np.float32)
    run("cpu", program, [tensor], numbers(MOVED), keys(1))
    up = float((whole(tensor).view(np.uint32) >> 8 != bits >> 8).mean())
    chance = (bits & 0xFF) / 2**8
    assert abs(up - chance) <= 4 * np.sqrt(chance * (1 - chance) / size)


def test_a_small_decay_survives() -> None:
    """To the nearest of 24 bits, 5e-6 of a weight would never be subtracted: half a step is 7.6e-6."""
    rule = Rule("decay", lambda p, g, s, h, on: {p: p - h.learning_rate * p})
    program, size, steps = specialize(rule, (), "bfloat16", slots={ERROR: "byte"}), 2048, 10_000
    (tensor,) = tensors_of(program, [size])
    tensor["parameter"][...], tensor[ERROR][...] = 1, 0
    launch = backends.get("cpu").launch([table_of("cpu", program, [tensor], {"threads": 1})])
    for step in range(1, steps + 1):
        launch(launch.prepared(None, {**numbers(rule, step, learning_rate=5e-6), **keys(1)}))
    lost = 1 - (1 - 5e-6) ** steps
    assert 1 - float(whole(tensor).astype(np.float64).mean()) == pytest.approx(lost, rel=0.01)


def test_bytes_are_counted_and_the_kernel_is_told() -> None:
    _, halves = of("plain", ERROR, "bfloat16", "bfloat16")
    assert halves.bytes_per_element() == 12
    _, copies = of("plain", COPY)
    assert copies.bytes_per_element() == 22
    assert "load    p.error <- p.error: byte as float32" in str(halves)
    assert "store   p.copy <- p.copy' as bfloat16" in str(copies)
    assert not any(kernel.draws for kernel in copies.kernels)


def test_as_mlir() -> None:
    pytest.importorskip("iree.compiler", reason="the extra `mlir` is not installed")
    for beside in (ERROR, COPY):
        rule, program = of("plain", beside)
        tensors = tensors_of(program, [7, 129])
        expected = copied(tensors)
        run("reference", program, expected, numbers(rule), keys(2))
        run_with_iree(program, tensors, numbers(rule), keys(2))
        for ours, theirs in zip(tensors, expected, strict=True):
            own, wanted = (whole(one) if beside == ERROR else one["parameter"] for one in (ours, theirs))
            np.testing.assert_allclose(own, wanted, rtol=2e-5)
            np.testing.assert_allclose(ours["velocity"], theirs["velocity"], rtol=2e-6)
