"""Slots over all that are given what a step reduces: on every backend, over several programs; what they cannot be."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from compare import Array, assert_same_bits, assert_scaled, cast, ordinary
from gathering import GATHERED, INITIAL, MEASURED, State, measured_in_numpy
from run_iree import run_with_iree
from run_rule import Tensors, copied, defaults, make_tensors, run, run_together

from rmsprop_jit.codegen import (
    Expr,
    LoweringError,
    Program,
    Rule,
    RuleError,
    Slot,
    explain,
    max_abs,
    new,
    rounded,
    size,
    specialize,
    sum_of,
    where,
)
from rmsprop_jit.codegen.backends import mlir
from rmsprop_jit.codegen.backends.cuda import frame
from rmsprop_jit.codegen.backends.cuda.tables import rows_of
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.codegen.schedule import schedule
from rmsprop_jit.codegen.verify import numbered

SIZES = [3, 0, 1, 129, 70_000, 700]
SMALL = [3, 0, 1, 129, 260]
"""In rows of 256, so that a tensor has several: the simulator takes as long for each element."""
BACKENDS = [("reference", 1), ("cpu", 1), ("cpu", 2), ("cuda", 1)]


def one_step(backend: str, threads: int, program: Program, tensors: Tensors, hypers: dict[str, float]) -> None:
    if backend == "cpu":
        run_together("cpu", [(program, tensors)], hypers, threads=threads)
    elif backend == "iree":
        run_with_iree(program, tensors, hypers, {})
    elif backend == "cuda":
        with rows_of(256):
            run(backend, program, tensors, hypers)
    else:
        run(backend, program, tensors, hypers)


def trained(
    dtype: str, backend: str, threads: int, sizes: list[int], steps: int = 10
) -> tuple[Tensors, list[Array], State]:
    """Steps of the rule, and of its transcription."""
    made = cast(ordinary(3), dtype)
    tensors = make_tensors(MEASURED, sizes, dtype, made)
    theirs: list[Array] = [tensor["parameter"].copy() for tensor in tensors]
    program, state, known = specialize(MEASURED, (), dtype), State(), 1.0
    for step in range(1, steps + 1):
        for tensor in tensors:
            tensor["gradient"][...] = made(tensor["gradient"].size)
        one_step(backend, threads, program, tensors, {**defaults(MEASURED, step=float(step)), "s.known": known})
        measured_in_numpy(state, theirs, [tensor["gradient"] for tensor in tensors], step)
        known /= 2
    return tensors, theirs, state


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("backend", "threads"), BACKENDS)
def test_a_step_does_what_the_rule_says(backend: str, threads: int, dtype: str) -> None:
    tensors, theirs, state = trained(dtype, backend, threads, SMALL if backend == "cuda" else SIZES, 3)
    rtol = {"float32": 1e-5, "float64": 1e-12}[dtype]
    for i, (ours, other) in enumerate(zip(tensors, theirs, strict=True)):
        assert_scaled(ours["parameter"], other, rtol, f"tensor {i}")
    for name in GATHERED:
        np.testing.assert_allclose(tensors[0][name], state[name], rtol, err_msg=name)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    one, two = (trained("float32", "cpu", threads, SIZES)[0] for threads in (1, 2))
    for ours, theirs in zip(one, two, strict=True):
        for name in ours:
            assert_same_bits(np.atleast_1d(ours[name]), np.atleast_1d(theirs[name]), name)


def test_the_interpreter_has_the_bits_of_the_processor() -> None:
    """But for the order of summation, which small tensors leave no choice of."""
    one, two = (trained("float64", backend, 1, [1, 1], 4)[0] for backend in ("reference", "cpu"))
    for name in GATHERED:
        assert_same_bits(np.atleast_1d(one[0][name]), np.atleast_1d(two[0][name]), name)


def test_mlir_has_them() -> None:
    tensors, theirs, state = trained("float32", "iree", 1, [3, 129], 3)
    for name in GATHERED:
        np.testing.assert_allclose(tensors[0][name], state[name], 1e-5, err_msg=name)
    for ours, other in zip(tensors, theirs, strict=True):
        assert_scaled(ours["parameter"], other, 1e-5, "mlir")
    last = mlir.source(specialize(MEASURED, (), "float32")).rpartition("func.func")[2]
    assert re.search(r"%number_new_s_d, .*: tensor<f64>, tensor<f64>, tensor<f64>\n", last)


def test_programs_of_one_step_gather_once() -> None:
    """Whatever their types and order: each sees the old numbers, and one of them puts the new ones."""
    programs = [specialize(MEASURED, (), dtype) for dtype in ("float32", "float64", "float32")]
    parts = [make_tensors(MEASURED, sizes, "float32", ordinary(3)) for sizes in ([40, 0], [5, 300], [0])]
    parts[1] = [{n: one.astype("float64") for n, one in tensor.items()} for tensor in parts[1]]
    common = {name: parts[0][0][name] for name in GATHERED}
    parts = [[tensor | common for tensor in part] for part in parts]
    theirs = [tensor["parameter"].copy() for part in parts for tensor in part]
    state, known = State(), 1.0
    for step in range(1, 5):
        hypers = {**defaults(MEASURED, step=float(step)), "s.known": known}
        kept = copied([tensor for part in parts for tensor in part])
        measured_in_numpy(state, theirs, [tensor["gradient"] for tensor in kept], step)
        run_together("cpu", list(zip(programs, parts, strict=True)), hypers)
        known /= 2
        for name in GATHERED:
            np.testing.assert_allclose(common[name], state[name], 1e-6, err_msg=name)


@pytest.mark.parametrize(("backend", "threads"), BACKENDS)
def test_without_elements_numbers_are_gathered_all_the_same(backend: str, threads: int) -> None:
    rule = Rule(
        "counted",
        lambda p, g, s, h, on: {s.n: s.n + 1 + sum_of(g, over="all"), p: p - s.n * g},
        slots={"n": Slot(2.0, over="all")},
    )
    tensors = make_tensors(rule, [0, 0], "float32", np.ones)
    for _ in range(2):
        one_step(backend, threads, specialize(rule, (), "float32"), tensors, defaults(rule))
    assert float(tensors[0]["n"]) == 4.0


@pytest.mark.parametrize(("backend", "threads"), BACKENDS)
def test_numbers_that_change_places_are_read_before_they_are_put(backend: str, threads: int) -> None:
    def turned(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {s.a: s.b + 0 * size("all"), s.b: s.a, p: p - s.a * g}

    rule = Rule("turned", turned, slots={"a": Slot(1.0, over="all"), "b": Slot(2.0, over="all")})
    assert rule.gathered == {"a", "b"}
    tensors = make_tensors(rule, [3], "float64", np.ones)
    for _ in range(3):
        one_step(backend, threads, specialize(rule, (), "float64"), tensors, defaults(rule))
    assert (float(tensors[0]["a"]), float(tensors[0]["b"])) == (2.0, 1.0)
    assert tensors[0]["parameter"].tolist() == [1.0 - 1 - 2 - 1] * 3


def test_only_what_depends_on_the_step_is_gathered() -> None:
    assert MEASURED.gathered == {*GATHERED}
    program = specialize(MEASURED, (), "float32")
    assert [store.array for store in program.shared] == ["known"]
    assert [gather.array for gather in program.gathers] == ["d", "largest", "seen"]
    assert not any(name in program.hypers for name in ("s.d", "s.largest", "s.seen"))
    assert set(INITIAL) == {"known", *GATHERED}


def test_the_printed_program_shows_when_numbers_are_gathered() -> None:
    text = str(specialize(MEASURED, (), "float32"))
    last = text[text.rindex("kernel measured") :]
    assert last.startswith("kernel measured.4: 0 loads, 0 stores, 3 gathers\n")
    assert "given   s.d (one for all)" in last
    assert re.search(r"gather  d <- u\d", last)
    assert "gather " not in text[: text.rindex("kernel measured")]
    assert "s.d <- " in explain(MEASURED, form="rule")


def test_a_new_number_costs_a_pass_only_where_elements_read_it() -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {s.n: s.n + sum_of(g, over="all"), p: p - new(s.n) * g}

    rule = Rule("passes", equations, slots={"n": Slot(0.0, over="all")})
    program = specialize(rule, (), "float32")
    assert [len(kernel.loads) for kernel in program.kernels] == [1, 2, 0]
    assert program.bytes_per_element() == 4 + 8 + 4


@pytest.mark.parametrize(("backend", "threads"), BACKENDS)
def test_a_number_may_be_wanted_for_itself(backend: str, threads: int) -> None:
    """A norm that nothing reads is kept as a result, as averages are."""
    slots = {"norm": Slot(result=True, over="all")}
    rule = Rule("norm", lambda p, g, s, h, on: {s.norm: max_abs(g, over="all"), p: p - g}, slots=slots)
    tensors = make_tensors(rule, [3, 2], "float32", lambda size: np.full(size, 2.0))
    tensors[1]["gradient"][1] = -5
    one_step(backend, threads, specialize(rule, (), "float32"), tensors, defaults(rule))
    assert float(tensors[0]["norm"]) == 5.0
    assert tensors[0]["parameter"].tolist() == [0.0] * 3


@pytest.mark.parametrize(("backend", "threads"), BACKENDS)
@pytest.mark.parametrize(("flags", "wanted"), [((), 4.0), (("sums",), 10.0), (("fixed",), 0.25)])
def test_a_flag_may_leave_no_reduction_in_it(backend: str, threads: int, flags: tuple[str, ...], wanted: float) -> None:
    """Where it is kept hangs on the rule, not on its flags."""

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        value = where(on.sums, s.n * sum_of(g, over="all"), s.n * h.factor)
        return {s.n: where(on.fixed, 0.25, value), p: p - s.n * g}

    off = {"sums": False, "fixed": False}
    rule = Rule("flags", equations, slots={"n": Slot(2.0, over="all")}, hypers={"factor": 2.0}, flags=off)
    tensors = make_tensors(rule, [3, 2], "float32", np.ones)
    one_step(backend, threads, specialize(rule, flags, "float32"), tensors, defaults(rule))
    assert float(tensors[0]["n"]) == wanted
    assert tensors[0]["parameter"].tolist() == [-1.0] * 3


def test_a_gpu_launches_one_thread_block_for_them() -> None:
    program = specialize(MEASURED, (), "float32")
    names = [source.name for source in frame.sources(program)]
    assert names[-1] == "gathers_4"
    assert "seen from " in explain(MEASURED, form="launches")


def test_one_of_several_programs_gathers_after_all_others() -> None:
    programs = [specialize(MEASURED, (), dtype) for dtype in ("float32", "float64")]
    turns = schedule(programs)
    assert turns[-1].kernels == ((0, 4),)
    assert all(k < 4 for turn in turns[:-1] for _, k in turn.kernels)


def test_what_cannot_be_gathered() -> None:
    bad: list[tuple[Callable[..., Any], str]] = [
        (lambda g, s, h: {s.d: g}, r"stores a number an element in `s.d`, a slot over 'all'"),
        (lambda g, s, h: {s.d: sum_of(g)}, r"stores a number a tensor in `s.d`"),
        (lambda g, s, h: {s.d: size() + sum_of(g, over="all")}, r"stores a number a tensor in `s.d`"),
        (lambda g, s, h: {s.d: sum_of(g, over="all") * rounded(h.step)}, r"stores a rounded number in `s.d`"),
        (lambda g, s, h: {s.d: max_abs(g, over="all"), s.m: rounded(s.d)}, r"rounded takes a value that is known"),
        (lambda g, s, h: {s.d: max_abs(g, over="all") + (s.d % 2)}, r"% takes a value that is known before the step"),
        (lambda g, s, h: {s.d: sum_of(new(s.d), over="all")}, r"sum_of reduces elements.*one number already"),
        (lambda g, s, h: {s.d: sum_of(g * new(s.d), over="all")}, r"a cycle of new values: d -> d"),
    ]
    for made, message in bad:

        def equations(p: Expr, g: Expr, s: Names, h: Names, made: Any = made) -> dict[Expr, Expr]:
            return {**made(g, s, h), p: p - s.d * g - s.m}

        with pytest.raises(RuleError, match=message):
            Rule("bad", lambda p, g, s, h, made=equations: made(p, g, s, h), slots={"d": Slot(over="all"), "m": 0.0})


PROGRAM = specialize(MEASURED, (), "float32")
LAST = PROGRAM.kernels[-1]


def with_kernels(*kernels: Any) -> Program:
    return replace(PROGRAM, kernels=kernels)


BROKEN: dict[str, Callable[[], Program]] = {
    "too early": lambda: with_kernels(*PROGRAM.kernels[:-2], LAST, PROGRAM.kernels[-2]),
    "with puts": lambda: with_kernels(*PROGRAM.kernels[:-2], replace(LAST, puts=PROGRAM.kernels[-2].puts)),
    "with other work": lambda: with_kernels(*PROGRAM.kernels[:-1], replace(LAST, loads=PROGRAM.kernels[0].loads)),
    "an unknown value": lambda: with_kernels(
        *PROGRAM.kernels[:-1], replace(LAST, gathers=(replace(LAST.gathers[0], value="u99"),))
    ),
    "another space": lambda: with_kernels(
        *PROGRAM.kernels[:-1], replace(LAST, gathers=(replace(LAST.gathers[0], array="own"),))
    ),
    "twice": lambda: with_kernels(*PROGRAM.kernels[:-1], replace(LAST, gathers=LAST.gathers * 2)),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_program_is_found(what: str) -> None:
    numbered(PROGRAM)
    with pytest.raises(LoweringError):
        numbered(BROKEN[what]())
