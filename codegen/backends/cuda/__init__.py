"""The CUDA backend: a program as kernels for NVIDIA GPUs.

frame       a program's kernels as Python source
sums        how they reduce
compilers   from source to PTX and machine code, by numba-cuda-mlir or numba-cuda
device      the GPU through CuPy: memory, streams, launches
tables      what the kernels run on, and their launch
simulator   the same without a GPU, for tests
"""

from __future__ import annotations

from collections.abc import Sequence

from ...program import Program
from . import compilers, device, frame
from .tables import Clock, Launch, Table

__all__ = ["Clock", "Launch", "Table", "explain", "scalar_names"]

FORMS = {"mlir-cuda": compilers.mlir, "sass": compilers.sass, "ptx": lambda *which: compilers.ptx(*which).ptx}


def scalar_names(program: Program) -> Sequence[str]:
    """The hyperparameters whose values a table keeps, in its order."""
    return program.hypers


def explain(program: Program, form: str, compiler: str | None = None) -> str:
    """What the program becomes: "cuda" (Python), "mlir-cuda", "ptx" or "sass", for the GPU at hand or else sm_90.

    Raises BackendError where what it takes is not installed.
    """
    if form == "cuda":
        return frame.source(program)
    chosen, arch = compilers.choose(compiler), device.arch_at_hand()
    title = f"// {program.title}; {chosen}, sm_{arch[0]}{arch[1]}"
    return "\n".join([title, *(FORMS[form](kernel, chosen, arch) for kernel in frame.sources(program))])
