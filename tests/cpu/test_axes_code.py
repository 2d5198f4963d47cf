"""Programs over axes as several functions: short ones, which are compiled once where programs share them."""

import re
from typing import Any

import pytest

from rmsprop_jit.codegen import Expr, Rule, Slot, explain, mean_of, square, sum_of
from rmsprop_jit.codegen.backends.cpu import axes_frame, llvm, passes, worker
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.codegen.pipeline import specialize
from rmsprop_jit.rules.factored import CAME, SM3


def centred(p: Expr, g: Expr, s: Names) -> dict[Expr, Expr]:
    return {s.r: mean_of(square(g), over=-1), p: p - (g - s.r)}


CENTRED = Rule("centred", centred, slots={"r": Slot(over=-1)})
SUMMED = Rule("summed", lambda p, g, h: {p: p - sum_of(g, over=-2) * g})


def functions(source: str) -> dict[str, int]:
    """The lines of each function of a source."""
    return {name: len(text.splitlines()) for text, name in worker.FUNCTION.findall(source)}


@pytest.mark.parametrize(("rule", "flags"), [(CAME, ("factored",)), (SM3, ("factored", "three", "four", "momentum"))])
def test_no_function_is_long_however_much_a_rule_reduces(rule: Any, flags: tuple[str, ...]) -> None:
    program = specialize(rule._row.rule, flags, "float32")
    found = functions(axes_frame.source(program))
    assert max(found.values()) < 80
    assert sum(name.startswith("pass_") for name in found) == len(program.kernels)


def test_what_programs_share_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    compile_part = worker._compiled_part

    def counted(text: str, name: str, known: Any) -> worker.Part:
        made.append(name)
        return compile_part(text, name, known)

    monkeypatch.setattr(worker, "_compiled_part", counted)
    worker._shared_part.cache_clear()
    for rule in (CENTRED, SUMMED, CENTRED):
        worker.compiled_here(axes_frame.source(specialize(rule, (), "float32")), f"step_{rule.name}")
    assert made.count("sum_of_float32") == made.count("begin_sums") == 1
    assert made.count("step") == 3


def test_they_are_linked_where_numba_has_other_insides(monkeypatch: pytest.MonkeyPatch) -> None:
    def other_insides(*given: Any) -> Any:
        raise AttributeError(given)

    monkeypatch.setattr(passes, "optimized", other_insides)
    worker._shared_part.cache_clear()
    made = worker.compiled_here(axes_frame.source(specialize(CENTRED, (), "float32")), "step_centred")
    worker._shared_part.cache_clear()
    assert llvm.is_complete(made)
    assert llvm.Code(made).address


def test_buffers_on_the_stack_are_no_arrays() -> None:
    ir = explain(CENTRED, form="llvm")
    assert not re.search(r"vector\.memcheck", ir)
