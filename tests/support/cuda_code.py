"""Compile option sets for GPUs and write what comes out as JSON: `python cuda_code.py COMPILER`.

A process of its own, since the tests' own process has Numba's CUDA simulator in the compiler's place.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import cuda_programs
from every_rule import some

from rmsprop_jit.codegen import specialize
from rmsprop_jit.codegen.backends.cuda import compilers, copies, frame, ticks
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.rmsprop import RMSPROP

Entry = dict[str, Any]
"""What came out of a kernel, and which it was."""

OPTION_SETS = [
    (),
    ("centered",),
    ("momentum",),
    ("centered", "momentum", "weight_decay"),
    ("clipvalue", "loss_scale_factor"),
    ("weight_decay", "weight_decay_exclusions"),
    ("use_ema", "ema_overwrite_frequency"),
    ("clipnorm", "use_ema"),
    ("global_clipnorm",),
    ("centered", "momentum", "weight_decay", "use_ema", "ema_overwrite_frequency", "global_clipnorm"),
    ("gradient_accumulation_steps", "momentum"),
    ("gradient_accumulation_steps", "micro_step"),
    ("use_ema", "idle"),
]
IN_GRAPHS = [(), ("clipnorm", "use_ema"), ("centered", "momentum", "global_clipnorm")]
"""Option sets whose kernels are also compiled as a graph has them, with numbers in memory."""

USUAL = (9, 0)
ARCHS = [(8, 0), USUAL, (10, 0)]

COUNTING = [ticks.ticking(chooses, is_ahead) for chooses in (False, True) for is_ahead in (False, True)]
COUNTING += [copies.kernel(kept, 256) for kept in ("byte", "bfloat16", "float32", "float64")]
"""What counts calls, and copies where a call was done."""

MIXED = [("float32", "float64"), ("float64", "float32")]


def cases() -> Iterator[tuple[tuple[str, ...], str, str, tuple[int, int]]]:
    """Flags, types of parameters and gradients, and an architecture: of float32 every option set for one, and some for
    the others (RMSPROP_JIT_TURN=1, 2, ... others, RMSPROP_JIT_FLAG_SETS=10 all); a few of float64 and of both.
    """
    for arch in ARCHS:
        chosen = OPTION_SETS if arch == USUAL else some(OPTION_SETS, f"sm_{arch[0]}{arch[1]}", 2)
        yield from ((flags, "float32", "float32", arch) for flags in chosen)
    yield from ((flags, "float64", "float64", USUAL) for flags in OPTION_SETS[::4])
    yield from ((flags, *kinds, USUAL) for flags in OPTION_SETS[::8] for kinds in MIXED)


def compiled(compiler: str) -> Iterator[Entry]:
    """One entry for each kernel of each case."""
    for flags, dtype, gradient, arch in cases():
        program = specialize(step_of(RMSPROP), flags, dtype, gradient)
        kernels = frame.sources(program)
        if (dtype, arch) == ("float32", USUAL):
            kernels += frame.sources(program, ways=frame.Ways(from_memory=True)) if flags in IN_GRAPHS else []
            kernels += [frame.fold(program, 0)] if "global_clipnorm" in flags else COUNTING if not flags else []
        for kernel in dict.fromkeys(kernels):
            code = compilers.machine_code(kernel, compiler, arch)
            yield {
                "flags": flags,
                "dtype": dtype if dtype == gradient else f"{dtype} from {gradient}",
                "arch": arch,
                "kernel": kernel.name,
                "stores": any(f"step_{k}" == kernel.name and one.stores for k, one in enumerate(program.kernels)),
                "types": kernel.types,
                "ptx": code.ptx,
                "symbol": code.symbol,
                "usage": compilers.usage(code, arch),
                "cubin": len(code.cubin),
            }


def others(compiler: str) -> dict[str, str]:
    """The PTX of kernels that no option has, for one architecture; and what the assembler says of that of codes."""
    made: dict[str, str] = {}
    for name, kernel in cuda_programs.kernels():
        code = compilers.machine_code(kernel, compiler, USUAL)
        made[name] = made.get(name, "") + code.ptx
        if name == "codes":
            made["usage of codes"] = compilers.usage(code, USUAL)
    return made


if __name__ == "__main__":
    json.dump({"kernels": list(compiled(sys.argv[1])), "others": others(sys.argv[1])}, sys.stdout)
