"""specialize(): a rule, flags and a dtype to a Program, once; explain(): every stage of that way as text.

The pipeline, from the equations to machine code::

    rule     the settled equations: flags are gone, dead slots too        lower.settled, lower.prune
    kernel   loads, single assignments, stores; one a pass over memory    lower.lower
    python   the kernels in the CPU frame, as Python                      backends.cpu_frame.source
    llvm     what Numba makes of that                                     backends.generated.code
    asm      the machine code                                             backends.native.assembly

for a GPU

    cuda       the kernels in the CUDA frame, as Python                   backends.cuda.frame.source
    mlir-cuda  what numba-cuda-mlir makes of that                         backends.cuda.compilers.mlir
    ptx        what the CUDA compiler makes of that                       backends.cuda.compilers.ptx
    sass       the machine code                                           backends.cuda.compilers.sass

and beside it

    summary  loads, stores, bytes and vector width in a line
    mlir     the kernels as a module of linalg, arith and math            backends.mlir.source
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from . import backends
from .errors import OptionError, RuleError
from .kernel import Program
from .lower import lower, prune, settled
from .rule import Rule

_PROGRAMS: dict[tuple[Rule, frozenset[str], str], Program] = {}
_LOCK = threading.Lock()


def specialize(rule: Rule, flags: Collection[str] = (), dtype: str = "float32") -> Program:
    """The program of `rule` with exactly `flags` on, for arrays of `dtype`; memoised on just these three.

    Raises RuleError for a flag that the rule does not declare.
    """
    unknown = set(flags) - rule.flags.keys()
    if unknown:
        raise RuleError(
            f"rule {rule.name!r} has no flag {sorted(unknown)[0]!r}. Declared: {', '.join(rule.flags) or 'none'}. "
            f"Received: flags={sorted(flags)}."
        )
    key = (rule, frozenset(flags), dtype)
    with _LOCK:
        if key not in _PROGRAMS:
            _PROGRAMS[key] = lower(rule, key[1], dtype)
        return _PROGRAMS[key]


def _rule_text(rule: Rule, flags: Collection[str]) -> str:
    stores = prune(rule, settled(rule, flags))
    return "\n".join(f"{target} <- {value}" for target, value in stores.items())


def _summary(program: Program) -> str:
    """One line: loads, stores, bytes per parameter, vector width."""
    loads = sum(len(kernel.loads) for kernel in program.kernels)
    stores = sum(len(kernel.stores) for kernel in program.kernels)
    moved = sum(kernel.bytes_per_element(np.dtype(program.dtype).itemsize) for kernel in program.kernels)
    width = backends.get("cpu").vector_bits(program)
    return (
        f"{program.name} {program.dtype}: {loads} loads, {stores} stores, {moved} bytes per parameter, "
        f"vectors of {width} bits"
    )


@dataclass(frozen=True)
class _Asked:
    """What is to be explained."""

    rule: Rule
    flags: Collection[str]
    dtype: str
    compiler: str | None

    @property
    def program(self) -> Program:
        return specialize(self.rule, self.flags, self.dtype)


def _cpu(asked: _Asked, form: str) -> str:
    return str(backends.get("cpu").explain(asked.program, form))


def _cuda(asked: _Asked, form: str) -> str:
    return str(backends.get("cuda").explain(asked.program, form, asked.compiler))


FORMS: dict[str, Callable[[_Asked], str]] = {
    "rule": lambda asked: _rule_text(asked.rule, asked.flags),
    "kernel": lambda asked: str(asked.program),
    "python": lambda asked: _cpu(asked, "python"),
    "llvm": lambda asked: _cpu(asked, "llvm"),
    "asm": lambda asked: _cpu(asked, "asm"),
    "cuda": lambda asked: _cuda(asked, "cuda"),
    "mlir-cuda": lambda asked: _cuda(asked, "mlir-cuda"),
    "ptx": lambda asked: _cuda(asked, "ptx"),
    "sass": lambda asked: _cuda(asked, "sass"),
    "summary": lambda asked: _summary(asked.program),
    "mlir": lambda asked: str(backends.get("mlir").source(asked.program)),
}
"""What `explain` can show: the pipeline's stages in order, then what stands beside them."""


def explain(
    rule: Rule,
    flags: Collection[str] = (),
    dtype: str = "float32",
    form: str = "kernel",
    compiler: str | None = None,
) -> str:
    """One stage of the pipeline as text.

    form:     a key of FORMS.
    compiler: for GPUs, "numba-cuda-mlir" or "numba-cuda"; None is the first that is installed.
    Raises OptionError for another form or compiler, BackendError where the compiler is not installed.
    """
    if form not in FORMS:
        raise OptionError(f"`form` must be one of {', '.join(FORMS)}. Received: form={form!r}.")
    return FORMS[form](_Asked(rule, flags, dtype, compiler))
