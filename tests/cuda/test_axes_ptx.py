"""What both CUDA compilers make of kernels over axes, as test_ptx.py reads it for RMSprop's options."""

import json
import os
import re

from axes_rules import CASES
from every_rule import some
from test_ptx import F64_ARITHMETIC, SUPPORT, in_another_process
from test_ptx import compiler as compiler

from rmsprop_jit.codegen import specialize
from rmsprop_jit.codegen.backends.cuda import frame

ARCHS = ("80", "90", "100")
KERNELS = [
    f"{case.rule.name} {kernel.name} {arch}"
    for case in CASES
    for kernel in frame.sources(specialize(case.rule, (), "float32"))
    for arch in ARCHS
    if kernel.name.startswith(("step", "join"))
]
CHOSEN = os.environ.get("RMSPROP_JIT_AXES_PTX", "1")
"""How many are compiled, of each compiler; "all" takes a quarter of an hour."""

REFUSED = r"\b(?:ld|st)\.local|\.local\s|__local_depot|^\s*call|\batom|\bred\."
VECTORS = r"\.global\.v[24]\.[fb](?:32|64)"


def test_kernels_over_axes_are_without_spills_calls_or_float64_in_their_elements(compiler: str) -> None:
    chosen = KERNELS if CHOSEN == "all" else some(KERNELS, f"axes {compiler}", int(CHOSEN))
    for one in json.loads(in_another_process(str(SUPPORT / "cuda_axes.py"), compiler, *chosen)):
        ptx, what = one["ptx"], one["what"]
        assert f".target sm_{what.split()[2]}" in ptx, what
        assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in one["usage"], what
        assert not re.search(
            r"\b(?:ld|st)\.local|\.local\s|__local_depot|^\s*call|\batom|\bred\.", ptx, re.MULTILINE
        ), what
        if "step" in what:
            assert bool(F64_ARITHMETIC.search(ptx)) != one["over_elements"], what
            assert re.search(rf"ld{VECTORS}", ptx), what
            assert bool(re.search(rf"st{VECTORS}", ptx)) == one["stores"], what
