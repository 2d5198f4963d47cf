"""What became of each kernel's loop: read of the IR, loop by loop."""

import re

import numpy as np
import pytest
import zoo

from rmsprop_jit.codegen import Expr, Program, Rule, Slot, backends, explain, sign, specialize, sqrt, sum_of_squares
from rmsprop_jit.codegen.backends.cpu import llvm
from rmsprop_jit.codegen.backends.cpu.vectors import Loop, loops


def normalised(p: Expr, g: Expr) -> dict[Expr, Expr]:
    norm = sqrt(sum_of_squares(g, over="all"))
    return {p: p - g / (norm + sqrt(sum_of_squares(p * g / norm)))}


NORMALISED = Rule("normalised_twice", normalised)


def ir_of(program: Program) -> str:
    return str(backends.get("cpu").explain(program, "llvm", {}))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_loop_of_every_kernel_is_found(dtype: str) -> None:
    program = specialize(NORMALISED, dtype=dtype)
    found = loops(program, ir_of(program))
    assert list(found) == [kernel.name for kernel in program.kernels]
    assert len(found) == 3
    for loop in found.values():
        assert loop.bits in (128, 256, 512)
        assert loop.elements * np.dtype(dtype).itemsize * 8 % 64 == 0
        assert loop.elements > 1


def test_a_loop_without_vectors_is_not_hidden_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llvm, "vector_bits", lambda ir: 256)  # the IR below is not LLVM's any more
    program = specialize(NORMALISED)
    lines = ir_of(program).splitlines()
    ends = next(i for i, line in enumerate(lines) if re.search(r"load float.*!alias\.scope", line))  # of the rest
    slow = [re.sub(r"load <\d+ x float>", "load float", line) for line in lines[:ends]]
    found = list(loops(program, "\n".join([*slow, *lines[ends:]])).values())
    assert [loop.bits > 0 for loop in found] == [False, True, True]
    assert found[0] == Loop()
    assert "no vectors: one element at a time" in str(Loop())


def test_a_rule_without_roots_is_counted() -> None:
    lion = Rule("signs", lambda p, g, h: {p: p - h.learning_rate * sign(g)})
    assert re.search(r"(\d+) elements at a time in vectors of (128|256|512) bits$", explain(lion, form="summary"))


def test_a_loop_of_several_blocks_is_one_loop() -> None:
    padam = next(rule for rule in vars(zoo).values() if isinstance(rule, Rule) and rule.name == "padam")
    program = specialize(padam)
    assert [loop.elements > 1 for loop in loops(program, ir_of(program)).values()] == [True]


def test_an_array_that_is_filled_apart_does_not_hide_the_loop() -> None:
    rule = Rule("reset", lambda p, g, s: {p: p - g * s.old, s.old: 0.0}, slots={"old": Slot(1.0, result=True)})
    assert re.search("elements at a time in vectors", explain(rule, form="summary"))


def test_what_is_filled_with_zeros_is_not_called_slow() -> None:
    """LLVM makes a call of memset of such a loop; of another number it makes vectors."""
    for value, text in ((0.0, "zeros alone, by memset"), (1.0, "elements at a time in vectors")):
        rule = Rule("filled", lambda p, value=value: {p: value})
        assert text in explain(rule, form="summary")


def test_a_summary_has_a_line_for_each_of_several_loops() -> None:
    first, *lines = explain(NORMALISED, form="summary").splitlines()
    assert first == "normalised_twice float32: 5 loads, 1 stores, 24 bytes per parameter"
    assert [line.split(":")[0] for line in lines] == [f"  normalised_twice.{i}" for i in range(3)]
    assert lines[0].startswith("  normalised_twice.0: 1 loads, 0 stores, ")


def test_vectors_are_as_wide_as_they_cost_no_clock_speed() -> None:
    """AVX-512 came before VBMI2, and so did processors that slow down by it."""
    assert llvm.widened("+avx2,+avx512f,-avx512vbmi2") == "+avx2,+avx512f,-avx512vbmi2"
    assert llvm.widened("+avx512f,+avx512vbmi2").endswith(",-prefer-256-bit")
    if "+avx512vbmi2" in llvm.host_features().split(","):
        found = loops(program := specialize(zoo.ADAM), ir_of(program))
        assert [loop.bits for loop in found.values()] == [512]
