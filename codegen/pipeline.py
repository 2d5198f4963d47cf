"""specialize(): a rule, flags and a dtype to a Program, once; explain(): every stage of that way as text.

The pipeline, from the equations to machine code::

    rule     the settled equations: flags are gone, dead slots too        lower.settled, lower.prune
    kernel   loads, single assignments, stores; one a pass over memory    lower.lower
    python   the kernels in the CPU frame, as Python                      backends.cpu_frame.source
    llvm     what Numba makes of that                                     backends.generated.code
    asm      the machine code                                             backends.native.assembly

and beside it

    summary  loads, stores, bytes and vector width in a line
    mlir     the kernels as a module of linalg, arith and math            backends.mlir.source
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

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


def _rule_text(rule: Rule, flags: Collection[str], dtype: str) -> str:
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


def _cpu(program: Program, form: str) -> str:
    return str(backends.get("cpu").explain(program, form))


FORMS: dict[str, Callable[[Rule, Collection[str], str], str]] = {
    "rule": _rule_text,
    "kernel": lambda *key: str(specialize(*key)),
    "python": lambda *key: _cpu(specialize(*key), "python"),
    "llvm": lambda *key: _cpu(specialize(*key), "llvm"),
    "asm": lambda *key: _cpu(specialize(*key), "asm"),
    "summary": lambda *key: _summary(specialize(*key)),
    "mlir": lambda *key: str(backends.get("mlir").source(specialize(*key))),
}
"""What `explain` can show: the pipeline's stages in order, then what stands beside them."""


def explain(rule: Rule, flags: Collection[str] = (), dtype: str = "float32", form: str = "kernel") -> str:
    """One stage of the pipeline as text; `form` is a key of FORMS. Raises OptionError for another one."""
    if form not in FORMS:
        raise OptionError(f"`form` must be one of {', '.join(FORMS)}. Received: form={form!r}.")
    return FORMS[form](rule, flags, dtype)
