"""Gradients in float16: made float32 (or float64) where they are loaded, every one exactly, on every backend."""

import ml_dtypes
import numpy as np
import pytest
import zoo
from compare import assert_same_bits, assert_scaled
from run_iree import run_with_iree
from run_rule import Tensors, copied, defaults, make_tensors, run

from rmsprop_jit.codegen import BackendError, Program, Rule, specialize
from rmsprop_jit.codegen.backends.cpu import frame as cpu_frame
from rmsprop_jit.codegen.backends.cpu import loops
from rmsprop_jit.codegen.backends.cuda import frame
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.rmsprop import RMSPROP

EVERYTHING = ("centered", "momentum", "weight_decay", "use_ema", "ema_overwrite_frequency", "global_clipnorm")
CASES: list[tuple[Rule, tuple[str, ...]]] = [
    (RMSPROP, ()),
    (step_of(RMSPROP), ("loss_scale_factor", *EVERYTHING)),
    (step_of(zoo.ADAM), ("gradient_accumulation_steps", "micro_step")),
    (step_of(zoo.LION), ("clipvalue",)),
    (step_of(zoo.LAMB), ()),
]
NUMBERS = {"clipvalue": 0.5, "global_clipnorm": 3.0, "weight_decay": 0.1, "momentum": 0.9, "loss_scale_factor": 8.0}
NUMBERS |= {"gradient_accumulation_steps": 2.0, "step": 3.0, "ema_overwrite_frequency": 3.0}
COPY = Rule("copy", lambda p, g, s, h, on: {s.seen: g + s.nothing, p: p - s.seen}, slots={"seen": 0, "nothing": -0.0})
"""Stores the gradient."""

ALL = np.arange(2**16, dtype=np.uint16).view(np.float16)


def made(rule: Rule, program: Program, sizes: list[int]) -> Tensors:
    rng = np.random.default_rng(1)
    return make_tensors(rule, sizes, program.compute, lambda size: rng.normal(size=size), "float16")


@pytest.mark.parametrize(("backend", "dtype"), [("reference", "float64"), ("cpu", "float32"), ("cuda", "float32")])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_they_are_as_good_as_gradients_that_were_cast_before(case: int, dtype: str, backend: str) -> None:
    rule, flags = CASES[case]
    program = specialize(rule, flags, dtype, "float16")
    tensors = made(rule, program, [0, 1, 9, 131] if backend == "cuda" else [0, 1, 7, 129, 1500])
    expected = [one | {"gradient": one["gradient"].astype(dtype)} for one in copied(tensors)]
    before = [one["gradient"].tobytes() for one in tensors]
    run(backend, program, tensors, defaults(rule, **NUMBERS))
    run(backend, specialize(rule, flags, dtype), expected, defaults(rule, **NUMBERS))
    for ours, theirs in zip(tensors, expected, strict=True):
        for name in program.written:
            if backend == "cuda" and program.reductions():  # other lanes add up other elements
                assert_scaled(ours[name], theirs[name], {"float32": 1e-6, "float64": 1e-14}[dtype], name)
            else:
                assert_same_bits(ours[name], theirs[name], f"{name}, size {ours[name].size}")
    assert [one["gradient"].tobytes() for one in tensors] == before


@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_number_of_float16_is_loaded_as_it_is(dtype: str, backend: str) -> None:
    numbers = (
        ALL if backend != "cuda" else np.concatenate([ALL[::64], ALL[:70], ALL[0x7BF0:0x7C10], ALL[0xFBF0:0xFC10]])
    )
    program = specialize(COPY, (), dtype, "float16")
    (tensor,) = made(COPY, program, [numbers.size])
    tensor["gradient"][:] = numbers
    with np.errstate(all="ignore"):
        wanted = numbers.astype(dtype) + np.dtype(dtype).type(-0.0)
    run(backend, program, [tensor], defaults(COPY))
    assert_same_bits(tensor["seen"], wanted, f"float16 as {dtype}")


def test_beside_bfloat16_they_are_the_interpreter_s() -> None:
    for rule, flags in CASES[:2]:
        slots = [name for name in specialize(rule, flags).slots if rule.slots[name].over == "element"]
        program = specialize(rule, flags, "bfloat16", "float16", slots=dict.fromkeys(slots, "bfloat16"))
        tensors = [
            {
                name: np.abs(array).astype(ml_dtypes.bfloat16) if name != "gradient" else array
                for name, array in one.items()
            }
            for one in made(rule, program, [9, 700])
        ]
        expected = copied(tensors)
        keys = {name: [1.0, 2.0] for name in program.tensor_hypers}
        run("cpu", program, tensors, defaults(rule, **NUMBERS), keys)
        run("reference", program, expected, defaults(rule, **NUMBERS), keys)
        for ours, theirs in zip(tensors, expected, strict=True):
            for name in program.written:
                assert_same_bits(ours[name], theirs[name], name)


def test_loops_are_vectors_and_bytes_are_counted() -> None:
    program = specialize(RMSPROP, (), "float32", "float16")
    assert all(loop.elements >= 4 for loop in loops(program).values())
    assert program.bytes_per_element() == 18
    assert "load    g <- gradient: float16 as float32" in str(program)


def test_nothing_is_stored_in_them() -> None:
    program = specialize(RMSPROP, (), "float32", slots={"velocity": "float16"})
    for source in (cpu_frame.source, frame.sources):
        with pytest.raises(
            BackendError, match=r"float32 or float64 here. Received: rmsprop, float32, velocity in float16"
        ):
            source(program)


def test_as_mlir() -> None:
    pytest.importorskip("iree.compiler", reason="the extra `mlir` is not installed")
    program = specialize(RMSPROP, (), "float32", "float16")
    tensors = made(RMSPROP, program, [7, 129])
    expected = copied(tensors)
    run("reference", program, expected, defaults(RMSPROP))
    run_with_iree(program, tensors, defaults(RMSPROP), {})
    for ours, theirs in zip(tensors, expected, strict=True):
        np.testing.assert_allclose(ours["parameter"], theirs["parameter"], rtol=2e-6, atol=2e-6)
