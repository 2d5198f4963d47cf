"""Slots of one number a tensor: other people's rules against plain NumPy, on every backend; what cannot be stored."""

import re
from typing import Any

import coarse
import numpy as np
import pytest
from coarse import REMEMBERED, Case, State
from compare import Array, assert_same_bits, assert_scaled, cast, ordinary
from run_rule import Tensors, copied, defaults, make_tensors, run, run_together

from rmsprop_jit.codegen import Expr, Hyper, Rule, RuleError, Slot, explain, new, specialize, sum_of
from rmsprop_jit.codegen.backends import mlir
from rmsprop_jit.codegen.backends.cuda.tables import rows_of
from rmsprop_jit.codegen.names import Names

SIZES = [3, 0, 1, 129, 70_000, 700]
SMALL = [3, 0, 1, 129, 5, 260]
"""In rows of 256, so that a tensor has several: the simulator takes as long for each element."""
DTYPES = ["float32", "float64"]
BACKENDS = [("reference", 1), ("cpu", 1), ("cpu", 2), ("cuda", 1)]
OWN = {"own": [1.0 + i / 4 for i in range(len(SIZES))]}


def one_step(backend: str, threads: int, program: Any, tensors: Tensors, hypers: dict[str, float]) -> None:
    if backend == "cpu":
        run_together("cpu", [(program, tensors)], {**hypers, **OWN}, threads=threads)
    elif backend == "cuda":
        with rows_of(256):
            run(backend, program, tensors, hypers, OWN)
    else:
        run(backend, program, tensors, hypers, OWN)


def trained(case: Case, dtype: str, backend: str, threads: int, sizes: list[int]) -> tuple[Tensors, list[Array], Any]:
    """Twelve steps of a rule, three in the simulator, and of its transcription with the transcription's state."""
    make = cast(ordinary(3), dtype)
    tensors = make_tensors(case.rule, sizes, dtype, make)
    theirs: list[Array] = [tensor["parameter"].copy() for tensor in tensors]
    program, hypers = specialize(case.rule, case.flags, dtype), defaults(case.rule)
    state: State = {}
    for step in range(1, 4 if backend == "cuda" else 13):
        for tensor in tensors:
            tensor["gradient"][...] = make(tensor["gradient"].size)
        one_step(backend, threads, program, tensors, {**hypers, "step": float(step)})
        case.update(state, theirs, [tensor["gradient"] for tensor in tensors], step, {**hypers, **OWN})
    return tensors, theirs, state


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("backend", "threads"), BACKENDS)
@pytest.mark.parametrize("case", coarse.CASES, ids=lambda case: case.rule.name)
def test_a_rule_does_what_its_paper_says(case: Case, backend: str, threads: int, dtype: str) -> None:
    tensors, theirs, state = trained(case, dtype, backend, threads, SMALL if backend == "cuda" else SIZES)
    rtol = {"float32": 3e-6, "float64": 1e-12}[dtype]
    for i, (ours, other) in enumerate(zip(tensors, theirs, strict=True)):
        assert_scaled(ours["parameter"], other, rtol, f"{case.rule.name}: tensor {i}")
        for name, slot in case.rule.slots.items():
            if slot.over == "tensor":
                np.testing.assert_allclose(ours[name], state[name, i], rtol)


@pytest.mark.parametrize("case", coarse.CASES, ids=lambda case: case.rule.name)
def test_any_number_of_threads_gives_the_same_bits(case: Case) -> None:
    one, two = (trained(case, "float32", "cpu", threads, SIZES)[0] for threads in (1, 2))
    for ours, theirs in zip(one, two, strict=True):
        for name in ours:
            assert_same_bits(np.atleast_1d(ours[name]), np.atleast_1d(theirs[name]), name)


def turned(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr | float]:
    """Numbers without a reduction: two that change places, a constant and a tensor's own."""
    return {s.a: s.b, s.b: s.a, s.c: 0.25, s.d: h.own * h.rho, p: p - (s.a + s.c + s.d) * g}


NUMBERS = {name: Slot(float(i), over="tensor") for i, name in enumerate("abcd")}
TURNED = Rule("turned", turned, slots=NUMBERS, hypers={"rho": 0.9, "own": Hyper(1.0, per="tensor")})


@pytest.mark.parametrize(("backend", "threads"), BACKENDS)
def test_numbers_are_put_when_all_have_been_read(backend: str, threads: int) -> None:
    tensors = make_tensors(TURNED, SMALL, "float32", np.ones)
    program = specialize(TURNED, (), "float32")
    for step in (1.0, 2.0):
        one_step(backend, threads, program, tensors, defaults(TURNED, step=step))
    for i, tensor in enumerate(tensors):
        wanted = [0.0, 1.0, 0.25, OWN["own"][i] * 0.9] if tensor["parameter"].size else [0.0, 1.0, 2.0, 3.0]
        assert [float(tensor[name]) for name in "abcd"] == wanted
        assert (tensor["parameter"] == np.float32(1 - 5.0) - np.float32(1.25 + OWN["own"][i] * 0.9)).all()


def test_the_printed_program_shows_when_numbers_are_put() -> None:
    text = str(specialize(REMEMBERED, (), "float32"))
    last = text[text.index("kernel remembered.2") :]
    assert "given   s.level (one a tensor)" in last
    assert re.search(r"put     level <- u\d", last)
    assert last.startswith("kernel remembered.2: 0 loads, 0 stores, 1 puts\n")
    assert "put " not in text[: text.index("kernel remembered.2")]


def test_numbers_are_no_traffic() -> None:
    assert "12 bytes per parameter" not in explain(REMEMBERED, form="summary")
    assert specialize(REMEMBERED, (), "float32").bytes_per_element() == 4 + 4 + 4 + 4


def test_mlir_returns_the_numbers() -> None:
    text = mlir.source(specialize(TURNED, (), "float32"))
    assert "%number_new_s_d = tensor.from_elements %wide_u0 : tensor<f64>" in text
    assert re.search(r"func.func @step_1\(.*\) -> \(tensor<f64>, tensor<f64>, tensor<f64>, tensor<f64>\)", text)


def test_new_numbers_can_be_used() -> None:
    rule = Rule(
        "new",
        lambda p, g, s, h, on: {s.v: s.v + sum_of(g), p: p - new(s.v) * g},
        slots={"v": Slot(1.0, over="tensor")},
    )
    tensors = make_tensors(rule, [4], "float64", np.ones)
    run("cpu", specialize(rule, (), "float64"), tensors, defaults(rule))
    assert tensors[0]["parameter"].tolist() == [-4.0] * 4
    assert float(tensors[0]["v"]) == 5


def test_what_a_number_cannot_be() -> None:
    slots: dict[str, Slot | float | str] = {"v": Slot(over="tensor"), "m": 0.0}
    with pytest.raises(RuleError, match=r"'bad' stores a number an element in `s.v`.*Received: `gradient`.*mean_of"):
        Rule("bad", lambda p, g, s, h, on: {s.v: g, p: p}, slots=slots)
    with pytest.raises(RuleError, match=r"stores a number an element in `s.v`"):
        Rule("bad", lambda p, g, s, h, on: {s.v: new(s.m), s.m: g, p: p}, slots=slots)
    with pytest.raises(RuleError, match=r"sum_of reduces elements.*one number already"):
        Rule("bad", lambda p, g, s, h, on: {s.v: sum_of(s.v), p: p}, slots=slots)
    with pytest.raises(RuleError, match=r"sum_of reduces elements.*one number already"):
        Rule("bad", lambda p, g, s, h, on: {s.m: sum_of(new(s.v)), p: p}, slots=slots)
    with pytest.raises(RuleError, match=r"starts as a number"):
        Slot("parameter", over="tensor")
    odd: Any = "row"
    with pytest.raises(RuleError, match=r"'element', 'tensor' or 'all', an axis .*Received: over='row'"):
        Slot(over=odd)


def test_a_number_that_nothing_reads_is_not_kept() -> None:
    rule = Rule("kept", lambda p, g, s, h, on: {s.v: sum_of(g), p: p - g}, slots={"v": Slot(over="tensor")})
    program = specialize(rule, (), "float32")
    assert not program.slots
    assert len(program.kernels) == 1
    assert copied([]) == []
