"""Compile kernels over axes for GPUs and write what comes out as JSON: `python cuda_axes.py COMPILER WHAT ...`.

WHAT is a rule, a kernel and an architecture: "sm3 step_0 90". A process of its own, as that of cuda_code.py.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

from axes_rules import CASES

from rmsprop_jit.codegen import specialize
from rmsprop_jit.codegen.backends.cuda import compilers, frame

RULES = {case.rule.name: case.rule for case in CASES}


def compiled(compiler: str, chosen: list[str]) -> Iterator[dict[str, Any]]:
    """One entry for each kernel of a float32 step."""
    for what in chosen:
        rule, name, number = what.split()
        arch = int(number) // 10, int(number) % 10
        program = specialize(RULES[rule], (), "float32")
        (kernel,) = (one for one in frame.sources(program) if one.name == name)
        code = compilers.machine_code(kernel, compiler, arch)
        own = program.kernels[kernel.k]
        yield {
            "what": what,
            "over_elements": not own.is_coarse,
            "stores": bool(own.stores),
            "ptx": code.ptx,
            "usage": compilers.usage(code, arch),
        }


if __name__ == "__main__":
    json.dump(list(compiled(sys.argv[1], sys.argv[2:])), sys.stdout)
