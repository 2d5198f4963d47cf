"""Gradients kept in another type than parameters: cast once, where they are loaded, on every backend, with no copy."""

import math
from typing import Any

import numpy as np
import pytest
import zoo
from compare import SPECIAL, assert_same_bits, assert_scaled
from every_rule import some
from run_rule import Tensors, copied, defaults, make_tensors, run

from rmsprop_jit.codegen import BackendError, OptionError, Rule, explain, max_abs, specialize, sum_of_squares
from rmsprop_jit.codegen.backends.cpu import frame as cpu_frame
from rmsprop_jit.codegen.backends.cuda import frame
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.rmsprop import RMSPROP

SIZES = [0, 1, 3, 129, 700]
BACKENDS = ["reference", "cpu", "cuda"]
PAIRS = [(dtype, gradient) for dtype in ("float32", "float64") for gradient in ("float32", "float64")]
SETS = [
    (),
    ("centered", "momentum", "weight_decay"),
    ("use_ema", "ema_overwrite_frequency", "loss_scale_factor"),
    ("gradient_accumulation_steps", "micro_step"),
    ("gradient_accumulation_steps", "gradient_missing"),
    ("clipnorm",),
    ("global_clipnorm", "centered"),
]
NUMBERS = {"clipnorm": 3.0, "global_clipnorm": 3.0, "weight_decay": 0.1, "momentum": 0.9, "loss_scale_factor": 8.0}
NUMBERS |= {"gradient_accumulation_steps": 2.0, "step": 3.0, "ema_overwrite_frequency": 3.0}


def made(rule: Rule, dtype: str, gradient: str | None, sizes: list[int] = SIZES, seed: int = 1) -> Tensors:
    rng = np.random.default_rng(seed)
    return make_tensors(rule, sizes, dtype, lambda size: rng.normal(size=size), gradient)


def cast_before(tensors: Tensors, dtype: str) -> Tensors:
    """The same tensors with gradients of the parameters' type, made by NumPy."""
    with np.errstate(all="ignore"):
        return [one | {"gradient": one["gradient"].astype(dtype)} for one in copied(tensors)]


@pytest.mark.parametrize(
    ("flags", "dtype", "gradient", "backend"),
    some([(flags, *pair, one) for flags in SETS for pair in PAIRS for one in BACKENDS], "casts", 35),
)
def test_a_gradient_of_another_type_is_as_good_as_one_that_was_cast_before(
    flags: tuple[str, ...], dtype: str, gradient: str, backend: str
) -> None:
    rule = step_of(RMSPROP)
    tensors = made(rule, dtype, gradient, SIZES if backend != "cuda" else [0, 1, 3, 131])
    expected = cast_before(tensors, dtype)
    before = [tensor["gradient"].tobytes() for tensor in tensors]
    program = specialize(rule, flags, dtype, gradient)
    run(backend, program, tensors, defaults(rule, **NUMBERS))
    run(backend, specialize(rule, flags, dtype), expected, defaults(rule, **NUMBERS))
    for ours, theirs in zip(tensors, expected, strict=True):
        for name in program.written:
            if backend == "cuda" and program.reductions():  # other lanes add up other elements
                rtol = {"float32": 1e-6, "float64": 1e-14}[dtype]
                assert_scaled(ours[name], theirs[name], rtol, name)
            else:
                assert_same_bits(ours[name], theirs[name], f"{name}, size {ours[name].size}")
    assert [tensor["gradient"].tobytes() for tensor in tensors] == before


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dtype", "gradient"), PAIRS)
def test_a_cast_is_one_rounding_to_nearest_for_all_numbers(dtype: str, gradient: str, backend: str) -> None:
    rule = Rule(
        "copy", lambda p, g, s, h, on: {s.seen: g + s.nothing, p: p - s.seen}, slots={"seen": 0, "nothing": -0.0}
    )
    halves = [1 + 2**-24, 1 + 2**-24 + 2**-40, 1 + 3 * 2**-24, 2**-150, 2**-150 + 2**-160, 3.4028235677973366e38, 1e39]
    values = [*SPECIAL, *halves, *(-x for x in halves)] * 3
    tensors = made(rule, dtype, gradient, [len(values)])
    with np.errstate(all="ignore"):
        tensors[0]["gradient"][:] = np.array(values).astype(gradient)
        rounded = tensors[0]["gradient"].astype(dtype)
    run(backend, specialize(rule, (), dtype, gradient), tensors, defaults(rule))
    assert_same_bits(tensors[0]["seen"], rounded + dtype_zero(dtype), f"{gradient} as {dtype}")


def dtype_zero(dtype: str) -> np.floating[Any]:
    zero: np.floating[Any] = np.dtype(dtype).type(-0.0)
    return zero


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
@pytest.mark.parametrize("gradient", ["float32", "float64"])
def test_long_rows_and_rows_that_start_anywhere(backend: str, gradient: str) -> None:
    """Rows of more than one vector a thread, arrays that are not aligned to vectors, and sizes that no vector fills."""
    rule = zoo.ADAM
    rng = np.random.default_rng(2)
    tensors = made(rule, "float32", gradient, [17_000, 1001])
    for shift, one in enumerate(tensors):
        for name, array in one.items():
            room = np.zeros(array.size + 8, array.dtype)
            room[shift : shift + array.size] = rng.normal(size=array.size) ** 2
            one[name] = room[shift : shift + array.size]
    expected = copied(tensors)
    program = specialize(rule, (), "float32", gradient)
    run(backend, program, tensors, defaults(rule))
    run("reference", program, expected, defaults(rule))
    for ours, theirs in zip(tensors, expected, strict=True):
        for name in program.written:
            assert_same_bits(ours[name], theirs[name], name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_reduced_was_cast_before(backend: str) -> None:
    rule = Rule("largest", lambda p, g, s, h, on: {p: 0 * p + max_abs(g) + 0 * sum_of_squares(g, over="all")})
    tensors = made(rule, "float32", "float64", [3])
    tensors[0]["gradient"][:] = [1 + 2**-30, -0.5, 0.25]
    run(backend, specialize(rule, (), "float32", "float64"), tensors, defaults(rule))
    assert tensors[0]["parameter"].tolist() == [1.0] * 3
    tensors[0]["gradient"][1] = 1e300
    run(backend, specialize(rule, (), "float32", "float64"), tensors, defaults(rule))
    assert not np.isfinite(tensors[0]["parameter"]).any()


def test_the_casts_are_in_the_text() -> None:
    text = explain(RMSPROP, ("centered",), "float32", gradient="float64")
    assert "  load    g <- gradient: float64 as float32\n" in text
    assert text.count(" as ") == 1
    assert "# rmsprop+centered, float32, gradient in float64\n" in explain(
        RMSPROP, ("centered",), form="python", gradient="float64"
    )
    assert " as " not in explain(RMSPROP, ("centered",))


def test_the_four_combinations_are_programs_of_their_own() -> None:
    programs = {specialize(RMSPROP, (), dtype, gradient) for dtype, gradient in PAIRS}
    assert len(programs) == 4
    assert specialize(RMSPROP, (), "float64") is specialize(RMSPROP, (), "float64", "float64")
    assert specialize(RMSPROP, (), "float64", "float32").storage("gradient") == "float32"
    assert specialize(RMSPROP, (), "float64", "float32").storage("velocity") == "float64"


def test_the_interpreter_knows_half_precision_and_compilers_say_that_they_do_not() -> None:
    program = specialize(RMSPROP, (), "float16")
    tensors = made(RMSPROP, "float16", None, [5])
    run("reference", program, tensors, defaults(RMSPROP))
    assert all(math.isfinite(x) for x in tensors[0]["parameter"])
    with pytest.raises(BackendError, match=r"float32 or float64 here. Received: rmsprop, float16. Use another"):
        cpu_frame.source(program)
    with pytest.raises(BackendError, match=r"float32 or float64 here. Received: rmsprop, float32, velocity in float16"):
        frame.sources(specialize(RMSPROP, (), "float32", slots={"velocity": "float16"}))


@pytest.mark.parametrize("kinds", [("int8", None), ("float32", "complex64")])
def test_an_unknown_storage_is_named(kinds: tuple[str, str | None]) -> None:
    with pytest.raises(
        OptionError, match=r"is one of float16, bfloat16, float32, float64. Received: '(int8|complex64)'"
    ):
        specialize(RMSPROP, (), *kinds)
