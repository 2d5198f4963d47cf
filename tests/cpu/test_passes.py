"""Numba as it is asked for a step: by a target of our own, and, where its insides are other ones, in public."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from rmsprop_jit.buckets import explain_step
from rmsprop_jit.codegen.backends.cpu import llvm, passes, worker
from rmsprop_jit.rules.table import TABLE

FLAGS: Mapping[str, tuple[str, ...]] = {
    "rmsprop": ("centered", "momentum", "use_ema"),
    "powersign": (),
    "lamb": ("clipnorm",),
    "prodigy": (),
}

FORMS = ("ptr", "i64", "i64")
"""A step's arguments, see `claims.STEP`."""


@pytest.fixture(autouse=True)
def vectors_of_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that Numba would choose: in public it cannot be told of wider ones but by its environment."""
    monkeypatch.setattr(llvm, "widened", lambda features: features)
    monkeypatch.setattr(passes._Dispatcher, "targetdescr", passes._Descriptor(passes.NAME))


def step_of(name: str, dtype: str) -> Any:
    """The generated function of a rule."""
    known = worker.names()
    exec(explain_step(TABLE[name][0].rule, FLAGS[name], dtype, "python"), known)
    return known["step"]


def assembly_of(ir: str) -> str:
    """Machine code, without the names that Numba numbers."""
    return re.sub(r"_ZN[^\s,:(@]*", "name", llvm.assembly(ir))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FLAGS)
def test_both_ways_make_the_same_machine_code(name: str, dtype: str) -> None:
    codes = []
    for way in (passes.optimized, worker.optimized_by_cfunc):
        ir, native_name = way(step_of(name, dtype))
        codes.append(assembly_of(llvm.from_numba(ir, native_name, "step_of_test", FORMS).ir))
    assert codes[0] == codes[1]


def test_where_numba_has_other_insides_it_is_asked_in_public(monkeypatch: pytest.MonkeyPatch) -> None:
    def other_insides(step: Any) -> Any:
        raise AttributeError(step)

    source = explain_step(TABLE["sgd"][0].rule, (), "float32", "python")
    made = worker.compiled_here(source, "step_sgd")
    monkeypatch.setattr(passes, "optimized", other_insides)
    assert assembly_of(worker.compiled_here(source, "step_sgd").ir) == assembly_of(made.ir)
