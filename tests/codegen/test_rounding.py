"""Slots, gradients and parameters in bfloat16: what is stored is rounded by chance, the same bits on every backend."""

import os
import zlib

import ml_dtypes
import numpy as np
import pytest
import zoo
from compare import SPECIAL, Array, assert_same_bits
from every_rule import ALL
from light_programs import BY_SUMS, EVERYTHING, assert_alike, bundled, keys, numbers, tensors_of
from light_programs import light as in_storage
from run_rule import Tensors, copied, defaults, run, run_together, table_of
from words import plain

from rmsprop_jit.codegen import OptionError, Program, Rule, backends, explain, specialize, sum_of_squares
from rmsprop_jit.codegen.backends.cpu import loops
from rmsprop_jit.codegen.kinds import KEY, SEED
from rmsprop_jit.codegen.rounding import EACH, PURPOSE, ROUNDS
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.rmsprop import RMSPROP

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
SIZES = [0, 1, 7, 8, 9, 513, 1500]
RULES: dict[str, tuple[Rule, tuple[str, ...]]] = {
    "plain": (RMSPROP, ()),
    "everything": (step_of(RMSPROP), EVERYTHING),
    "adam": (step_of(zoo.ADAM), ("clipnorm", "amsgrad")),
    "lion": (step_of(zoo.LION), ()),
    "lamb": (step_of(zoo.LAMB), ()),
    "adafactor": (bundled("Adafactor"), ()),
}
PAIRS = [
    *[("plain", dtype, gradient) for dtype in ("float32", "bfloat16") for gradient in ("float32", "bfloat16")],
    ("everything", "bfloat16", "float32"),
    ("adam", "float32", "bfloat16"),
    ("lion", "bfloat16", "bfloat16"),
    *[(name, "float32", "float32") for name in BY_SUMS if ALL],
]
"""Rules with the storages of parameters and gradients; every slot is in bfloat16."""

COPY = Rule("copy", lambda p, g, s, h, on: {s.seen: g, p: p + 0 * s.seen}, slots={"seen": 0.0})
"""Stores the gradient."""

ROUNDINGS = int(os.environ.get("ROUNDINGS", "200_000"))
"""Of each value; ROUNDINGS=10_000_000 by hand."""


def light(rule: Rule, flags: tuple[str, ...], dtype: str = "float32", gradient: str = "float32") -> Program:
    """The program with all slots that there are in bfloat16."""
    return in_storage(rule, flags, dtype, gradient, "bfloat16")


def stepped(backend: str, rule: Rule, program: Program, tensors: Tensors, steps: int = 2) -> None:
    for step in range(1, steps + 1):
        run(backend, program, tensors, numbers(rule, step), keys(len(tensors)))


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
@pytest.mark.parametrize(("name", "dtype", "gradient"), PAIRS)
def test_every_backend_has_the_bits_of_the_interpreter(name: str, dtype: str, gradient: str, backend: str) -> None:
    rule, flags = RULES[name]
    program = light(rule, flags, dtype, gradient)
    tensors = tensors_of(program, SIZES if backend == "cpu" else [0, 1, 9, 131])
    expected = copied(tensors)
    stepped(backend, rule, program, tensors)
    stepped("reference", rule, program, expected)
    assert_alike(tensors, expected, program, by_sums=backend == "cuda" and name in BY_SUMS)
    if backend == "cpu":
        assert all(loop.elements >= 4 for loop in loops(program).values())


@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda"])
def test_what_bfloat16_holds_stays_and_all_else_becomes_a_neighbour(backend: str) -> None:
    exact = np.arange(2**16, dtype=np.uint16).view(BFLOAT16)[:: 64 if backend == "cuda" else 1]
    between = (np.array([0, 1, 0x3F800001, 0x3F80FFFF, 0x7F7F8000, 0x80000001, 0xFF7FFFFF], np.uint32)).view(np.float32)
    with np.errstate(all="ignore"):
        values = np.concatenate([exact.astype(np.float32), between, np.array(SPECIAL, np.float32)])
    program = light(COPY, ())
    tensors = [{"parameter": np.zeros_like(values), "gradient": values, "seen": np.zeros(values.size, BFLOAT16)}]
    run(backend, program, tensors, numbers(COPY), keys(1))
    seen = tensors[0]["seen"]
    holds = ~np.isnan(exact.astype(np.float32))
    assert_same_bits(seen[: exact.size][holds], exact[holds], "what it holds")
    bits, ours = values.view(np.uint32)[exact.size :], seen[exact.size :].view(np.uint16).astype(np.uint32)
    number = ~np.isnan(values[exact.size :])
    assert np.isin(ours[number] - (bits[number] >> 16), [0, 1]).all()
    assert np.isnan(seen[exact.size :][~number].astype(np.float32)).all()


def test_bits_are_those_of_philox_by_seed_step_name_array_and_element() -> None:
    size, seed, key, step = 1100, 0x00020007, (0x1234, 0x8765), 70_001
    value = np.full(size, np.array(0x3F808000, np.uint32).view(np.float32))  # half-way: the highest bit decides
    tensors = [{"parameter": np.zeros(size, np.float32), "gradient": value, "seen": np.zeros(size, BFLOAT16)}]
    hypers = defaults(COPY, step=float(step)) | dict(zip(SEED, (7.0, 2.0), strict=True))
    run("cpu", light(COPY, ()), tensors, hypers, {name: [float(half)] for name, half in zip(KEY, key, strict=True)})
    for i, found in enumerate(tensors[0]["seen"].view(np.uint16).tolist()):
        group, turn, own = i // 512, i // 64 % 8, i // EACH % 8
        counter = [8 * group + own, zlib.crc32(b"seen"), PURPOSE, step]
        words, k = plain(counter, [seed, key[1] << 16 | key[0]], ROUNDS), i % EACH // 2
        word = (words[k] + turn * words[(k + 1) % 4]) & 0xFFFFFFFF
        half = word >> 16 if i % 2 else word & 0xFFFF
        assert found == 0x3F80 + (half >= 0x8000)


def test_any_two_roundings_are_independent() -> None:
    """Those of the same words in other turns, too: both up, as often as by chance."""
    program, size = light(COPY, ()), 512 * 4000
    value = np.full(size, np.array(0x3F808000, np.uint32).view(np.float32))
    tensors = [{"parameter": np.zeros(size, np.float32), "gradient": value, "seen": np.zeros(size, BFLOAT16)}]
    run("cpu", program, tensors, numbers(COPY), keys(1))
    up = (tensors[0]["seen"].view(np.uint16) & 1).reshape(4000, 8, 64).astype(int)
    for first in range(8):
        for other in range(first):
            for shift in (0, 1, 2, 63):
                both = (up[:, first] * np.roll(up[:, other], shift, axis=1)).mean()
                assert abs(both - 0.25) < 4.5 * np.sqrt(3 / 16 / (4000 * 64))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_and_the_place_of_an_array_change_no_bit(threads: int) -> None:
    program = light(RMSPROP, ("momentum",))
    (expected,) = tensors_of(program, [70_003])
    tensor = {}
    for shift, (name, array) in enumerate(expected.items()):  # rows begin where vectors of the parameter do
        room = np.zeros(array.size + 8, array.dtype)
        tensor[name] = room[shift : shift + array.size]
        tensor[name][...] = array
    run_together("cpu", [(program, [tensor])], {**numbers(RMSPROP), **keys(1)}, threads=threads)
    run("reference", program, [expected], numbers(RMSPROP), keys(1))
    assert_alike([tensor], [expected], program)


@pytest.mark.parametrize("bits", [0x3F800001, 0x3F804000, 0x3F808000, 0x3F80FFFF, 0x00000100, 0xC2C7FFF0, 0x7F700123])
def test_rounding_is_right_on_average(bits: int) -> None:
    program, size = light(COPY, ()), ROUNDINGS
    value = np.full(size, np.array(bits, np.uint32).view(np.float32))
    tensors = [{"parameter": np.zeros(size, np.float32), "gradient": value, "seen": np.zeros(size, BFLOAT16)}]
    run("cpu", program, tensors, numbers(COPY), keys(1))
    up = float((tensors[0]["seen"].view(np.uint16) != bits >> 16).mean())
    chance = (bits & 0xFFFF) / 2**16
    assert abs(up - chance) <= 4 * np.sqrt(chance * (1 - chance) / size)


def test_arrays_steps_and_seeds_draw_bits_of_their_own() -> None:
    two = Rule("two", lambda p, g, s, h, on: {s.a: g, s.b: g, p: p + 0 * s.a + 0 * s.b}, slots={"a": 0.0, "b": 0.0})
    value = np.full(4000, np.array(0x3F808000, np.uint32).view(np.float32))

    def found(**changes: float) -> list[Array]:
        (tensor,) = tensors_of(light(two, ()), [value.size])
        tensor["gradient"][...] = value
        run("cpu", light(two, ()), [tensor], numbers(two, **changes), keys(1))  # type: ignore[arg-type]
        return [tensor[name].view(np.uint16) & 1 for name in ("a", "b")]

    every = [*found(), *found(step=2), *found(step=2 + 2**16), *found(seed=4)]
    for i, one in enumerate(every):
        for other in every[:i]:
            assert abs(float((one == other).mean()) - 0.5) < 4 * 0.5 / np.sqrt(value.size)


def test_weight_decay_survives_in_bfloat16() -> None:
    """By nearest, 1e-4 of a weight would never be subtracted: half a step of bfloat16 is forty times as much."""
    rule = Rule("decay", lambda p, g, s, h, on: {p: p - h.learning_rate * p})
    program, size = specialize(rule, (), "bfloat16"), 4096
    (tensor,) = tensors_of(program, [size])
    tensor["parameter"][...] = 1
    nearest = tensor["parameter"].copy()
    steps = 10_000
    launch = backends.get("cpu").launch([table_of("cpu", program, [tensor], {"threads": 1})])
    for step in range(1, steps + 1):
        launch(launch.prepared(None, {**numbers(rule, step, learning_rate=1e-4), **keys(1)}))
        nearest = (nearest.astype(np.float32) * np.float32(1 - 1e-4)).astype(BFLOAT16)
    assert float(tensor["parameter"].astype(np.float64).mean()) == pytest.approx((1 - 1e-4) ** steps, rel=0.01)
    assert (nearest == 1).all()


def test_reductions_read_what_was_loaded_and_equations_see_new_values_exactly() -> None:
    def equations(p, g, s, h, on):  # type: ignore[no-untyped-def]
        new = s.a + g
        return {s.a: new, p: new + 0 * sum_of_squares(s.a)}

    rule = Rule("exact", equations, slots={"a": 0.0})
    program = light(rule, ())
    (tensor,) = tensors_of(program, [100])
    wanted = tensor["a"].astype(np.float32) + tensor["gradient"]
    run("cpu", program, [tensor], numbers(rule), keys(1))
    assert_same_bits(tensor["parameter"], wanted, "new value")
    assert (tensor["a"] != wanted).any()


def test_bytes_are_counted_and_told() -> None:
    def of(**slots: str) -> float:
        return specialize(RMSPROP, (), "float32", slots=slots).bytes_per_element()

    assert (of(), of(velocity="bfloat16")) == (20, 16)
    every = specialize(RMSPROP, (), "bfloat16", "bfloat16", slots={"velocity": "bfloat16"})
    assert every.bytes_per_element() == 10
    assert "store   velocity <- s.velocity' as bfloat16" in str(every)
    assert "draw    n0 <- 16 random bits for velocity" in str(every)
    told = explain(RMSPROP, (), "float32", "summary", slots={"velocity": "bfloat16"})
    assert "16 bytes per parameter" in told


def test_a_program_that_computes_in_float64_keeps_float64() -> None:
    with pytest.raises(OptionError, match=r"computed in float32. Received: 'velocity' in bfloat16, where .* float64"):
        specialize(RMSPROP, (), "float64", slots={"velocity": "bfloat16"})


def test_what_is_kept_as_it_is_computed_draws_nothing() -> None:
    for program in (specialize(RMSPROP, ()), specialize(step_of(zoo.ADAM), ("clipnorm",))):
        assert not any(kernel.draws for kernel in program.kernels)
        assert not {*SEED, *KEY} & {*program.hypers, *program.tensor_hypers}
