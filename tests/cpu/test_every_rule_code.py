"""The machine code of every bundled rule: each pass over elements is packed, in the machine's widest registers."""

import itertools
import re

import pytest
from every_rule import AROUND, VARIANTS, Variant, own_flags, rule_of, some
from test_machine_code import MACHINE, MASKED, X86, packed, simplest, step_code, widest, widths
from test_machine_code import pytestmark as pytestmark

from rmsprop_jit.buckets import explain_step, program_of
from rmsprop_jit.codegen import Program
from rmsprop_jit.codegen.ops import Fn
from rmsprop_jit.codegen.sorts import is_wide, wides

INSTRUCTIONS = {Fn.MUL: "mul", Fn.SQUARE: "mul", Fn.DIV: "div", Fn.SQRT: "sqrt"}
"""What there is one packed instruction for, whatever stands beside it (a sum may be written as a difference)."""

ANY = r"^\s+v?\w+p[sd]\s.*%([xyz])mm\d+" + MASKED if MACHINE in X86 else r"^\s+f\w+\s+v\d+\.(4s|2d)"

WIDE_READ = r"^\s+v?\w+p[sd]\s+.*\(.*\),.*%([xyz])mm\d+" + MASKED
"""Packed loads of x86, and packed instructions that read memory themselves."""

MOVED = r"{} <\d+ x (?:float|double)>.*alias\.scope"
"""In LLVM's IR: many elements of an array at once."""


def wanted(program: Program) -> set[tuple[str, str]]:
    """The instructions on elements that the passes of a program need, with the type that they are of."""
    found: set[tuple[str, str]] = set()
    for kernel in program.kernels:
        inside = {load.name for load in kernel.loads}
        wide = wides(kernel.body)
        for let in kernel.body:
            if inside & {*let.args}:
                inside.add(let.name)
                dtype = "float64" if is_wide(let, wide) else program.compute
                found |= {(INSTRUCTIONS[let.fn], dtype)} if let.fn in INSTRUCTIONS else set()
    return found


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_its_passes_are_packed_uncontracted_and_call_nothing(variant: Variant) -> None:
    rule = rule_of(variant)
    sets = itertools.product(own_flags(rule), [(), *AROUND], ["float32", "float64"])
    for own, around, dtype in some([*sets], f"{variant} code", 1):
        flags = (*own, *around)
        program, text = program_of(rule, flags, dtype), explain_step(rule, flags, dtype, "asm")
        what = f"{variant} {flags}"
        for name, kind in wanted(program):
            (pattern,) = packed(kind, name)
            assert widest(widths(text, pattern)) == simplest(kind), f"{what}: no packed {name} of {kind}"
        assert widest(widths(text, ANY)) == simplest(dtype), what
        if MACHINE in X86:
            assert widest(widths(text, WIDE_READ)) == simplest(dtype), what
        assert not re.findall(r"^\s+(?:vfn?m(?:add|sub)\w*|fml[as]|fn?m(?:add|sub))\s.*", text, re.MULTILINE), what
        calls = re.findall(r"^\s+(?:call\w*|bl|blr)\s.*", step_code(text), re.MULTILINE)
        if program.is_by_axes:  # of several functions, which call each other and nothing else
            called = {*re.findall(r"\$([A-Za-z_]\w+), %r\w+$", text, re.MULTILINE)}
            assert called or MACHINE not in X86, what
            assert called <= {*re.findall(r"^(\w+):", text, re.MULTILINE)}, what
        else:
            assert not calls, what
        if len(program.kernels) == 1:
            ir = explain_step(rule, flags, dtype, "llvm")
            loads, stores = (len(re.findall(MOVED.format(word), ir)) for word in ("load", "store"))
            times = stores // len(program.last.stores)  # how often LLVM has written the loop down
            assert times > 0, what
            assert (loads, stores) == (times * len(program.last.loads), times * len(program.last.stores)), what
