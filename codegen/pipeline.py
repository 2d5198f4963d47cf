"""specialize(): a rule, flags and a dtype to a Program, once; explain(): every stage of that way as text.

The pipeline, from the equations to machine code::

    rule     the settled equations: flags are gone, dead slots too        lower.live
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

import weakref
from collections.abc import Callable, Collection
from dataclasses import dataclass

from . import backends, locks
from .errors import OptionError, RuleError
from .lower import live, lower
from .program import Program
from .rule import Rule

_PROGRAMS: weakref.WeakKeyDictionary[Rule, dict[object, Program]] = weakref.WeakKeyDictionary()
_LOCK = locks.new()


def specialize(rule: Rule, flags: Collection[str] = (), dtype: str = "float32", gradient: str | None = None) -> Program:
    """The program of `rule` with exactly `flags` on; memoised on just these four, as long as the rule lives.

    dtype:    what parameters and slots are kept in, and computed in.
    gradient: what gradients are kept in, by default the same; they are cast where they are loaded.
    Raises RuleError for a flag that the rule does not declare, OptionError for an unknown dtype.
    """
    unknown = set(flags) - rule.flags.keys()
    if unknown:
        raise RuleError(
            f"rule {rule.name!r} has no flag {sorted(unknown)[0]!r}. Declared: {', '.join(rule.flags) or 'none'}. "
            f"Received: flags={sorted(flags)}."
        )
    chosen = frozenset(flags)
    key = (chosen, dtype, gradient or dtype)
    with _LOCK:
        programs = _PROGRAMS.setdefault(rule, {})
        if key not in programs:
            programs[key] = lower(rule, chosen, dtype, gradient)
        return programs[key]


def _rule_text(rule: Rule, flags: Collection[str]) -> str:
    stores, _ = live(rule, flags)
    return "\n".join(f"{target} <- {value}" for target, value in stores.items())


def _summary(program: Program) -> str:
    """One line: loads, stores, bytes per parameter, vector width."""
    loads = sum(len(kernel.loads) for kernel in program.kernels)
    stores = sum(len(kernel.stores) for kernel in program.kernels)
    width = backends.get("cpu").vector_bits(program)
    speed = f"vectors of {width} bits" if width else "no vectors: one element at a time, several times slower"
    return (
        f"{program.name} {program.compute}: {loads} loads, {stores} stores, {program.bytes_per_element()} bytes per "
        f"parameter, {speed}"
    )


@dataclass(frozen=True)
class _Asked:
    """What is to be explained."""

    rule: Rule
    flags: Collection[str]
    dtype: str
    gradient: str | None
    compiler: str | None

    @property
    def program(self) -> Program:
        return specialize(self.rule, self.flags, self.dtype, self.gradient)


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
    gradient: str | None = None,
) -> str:
    """One stage of the pipeline as text.

    form:     a key of FORMS.
    compiler: for GPUs, "numba-cuda-mlir" or "numba-cuda"; None is the first that is installed.
    gradient: what gradients are kept in, by default `dtype`.
    Raises OptionError for another form or compiler, BackendError where the compiler is not installed.
    """
    if form not in FORMS:
        raise OptionError(f"`form` must be one of {', '.join(FORMS)}. Received: form={form!r}.")
    return FORMS[form](_Asked(rule, flags, dtype, gradient, compiler))
