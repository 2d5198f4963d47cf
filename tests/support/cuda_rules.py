"""Compile bundled rules for a GPU and write what comes out as JSON: `python cuda_rules.py COMPILER VARIANT ...`.

A process of its own, as that of cuda_code.py.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

from every_rule import VARIANTS, flag_sets, rule_of, some

from rmsprop_jit.buckets import program_of
from rmsprop_jit.codegen import Program
from rmsprop_jit.codegen.backends.cuda import compilers, frame
from rmsprop_jit.codegen.sorts import wides

ARCH = (9, 0)


def passes(program: Program) -> dict[str, dict[str, Any]]:
    """Of each pass by its name: what does it load and store, and does anything go through float64?

    Elements do for exp and for powers; numbers over axes are computed in it.
    """
    return {
        f"step_{k}": {
            "loads": most(program, [load.array for load in kernel.loads]),
            "stores": most(program, [store.array for store in kernel.stores]),
            "wide": bool(wides(kernel.body)) or program.type_of(kernel) == "float64",
        }
        for k, kernel in enumerate(program.kernels)
    }


def most(program: Program, arrays: list[str]) -> str | None:
    """The type of most arrays: float32, if any is of it, and None for no arrays."""
    return min([program.storage(array) for array in arrays], default=None)


def compiled(compiler: str, chosen: list[str]) -> Iterator[dict[str, Any]]:
    """One entry for each kernel of a float32 step, with some flags of each rule."""
    for variant in VARIANTS:
        if str(variant) not in chosen:
            continue
        rule = rule_of(variant)
        for flags in some(flag_sets(rule, f"{variant} ptx", 2, 1), f"{variant} {compiler}", 1):
            program = program_of(rule, flags, "float32")
            for kernel in frame.sources(program):
                code = compilers.machine_code(kernel, compiler, ARCH)
                yield {
                    "what": f"{variant} {'+'.join(flags) or 'plain'}, {kernel.name}",
                    "pass": passes(program).get(kernel.name),
                    "ptx": code.ptx,
                    "usage": compilers.usage(code, ARCH),
                }


if __name__ == "__main__":
    json.dump(list(compiled(sys.argv[1], sys.argv[2:])), sys.stdout)
