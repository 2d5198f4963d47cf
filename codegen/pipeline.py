"""specialize(): a rule, flags and a dtype to a Program, once; explain(): every stage of that way as text.

The pipeline, from the equations to machine code::

    rule     the settled equations: flags are gone, dead slots too        lower.live
    kernel   loads, single assignments, stores; one a pass over memory    lower.lower
    python   the kernels in the CPU frame, as Python                      backends.cpu.frame
    llvm     what Numba makes of that                                     backends.cpu.worker
    asm      the machine code                                             backends.cpu.llvm

for a GPU

    cuda       the kernels in the CUDA frame, as Python                   backends.cuda.frame
    launches   what a step launches and copies                            backends.cuda.launches
    mlir-cuda  what numba-cuda-mlir makes of that                         backends.cuda.compilers
    ptx        what the CUDA compiler makes of that                       backends.cuda.compilers
    sass       the machine code                                           backends.cuda.compilers

and beside it

    summary  loads, stores and bytes, and what became of each loop
    mlir     the kernels as a module of linalg, arith and math            backends.mlir
    latex    the settled equations, typeset                               latex
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from . import backends
from .errors import OptionError, RuleError
from .expr import Expr, Reduction, Symbol
from .lower import averaged, live, lower, prune
from .names import BUILT_IN_FLAGS
from .program import Program
from .rule import AVERAGED, Rule
from .simplify import settle
from .walk import walk


def specialize(
    rule: Rule,
    flags: Collection[str] = (),
    dtype: str = "float32",
    gradient: str | None = None,
    inputs: Mapping[str, str] | None = None,
    slots: Mapping[str, str] | None = None,
) -> Program:
    """The program of `rule` with exactly `flags` on; memoised on just these six, as long as the rule lives.

    dtype:    what parameters and slots are kept in, and computed in.
    gradient: what gradients are kept in, by default the same; they are cast where they are loaded.
    inputs:   by name, what inputs are kept in, by default the same.
    slots:    by name, what slots are kept in, by default what is computed in; and what lies beside the parameter.
    Raises RuleError for a flag that the rule does not declare, OptionError for an unknown dtype.
    """
    unknown = set(flags) - rule.flags.keys() - {*BUILT_IN_FLAGS}
    if unknown:
        raise RuleError(
            f"rule {rule.name!r} has no flag {sorted(unknown)[0]!r}. Declared: {', '.join(rule.flags) or 'none'}. "
            f"Received: flags={sorted(flags)}."
        )
    chosen = frozenset(flags)
    brought = {"gradient": gradient or dtype, **{f"x.{name}": kept for name, kept in (inputs or {}).items()}}
    others = {name: kept for name, kept in brought.items() if kept != dtype} | {**(slots or {})}
    key = ("program", chosen, dtype, frozenset(others.items()))
    program: Program = rule.memo(key, lambda: lower(rule, chosen, dtype, others))
    return program


def _names(rule: Rule, flags: Collection[str]) -> dict[Expr, str]:
    """What the equations call their parts, where these flags are on."""
    values = settle(rule.locals, flags)
    return {values[value]: name for value, name in reversed(rule.locals.items())}


def unread(rule: Rule) -> list[str]:
    """A note for each slot that no set of flags keeps, since nothing wanted is computed from it."""
    stores = {target: value for target, value in rule.stores.items() if isinstance(target, Symbol)}
    wanted = () if rule.averages is None else rule.averages.stores.values()
    kept = prune(rule, stores, wanted)[1]
    return [
        f"note: slot {name!r} is declared, but neither the parameter nor a result is computed from it: it is not kept"
        for name in rule.slots
        if name not in kept
    ]


def _summary(program: Program) -> str:
    """Loads, stores and bytes per parameter, and what became of each loop: in one line where there is one."""
    from .backends import cpu

    line = program.traffic_line()
    loops = cpu.loops(program)
    if len(loops) == 1:
        return f"{line}, {next(iter(loops.values()))}"
    kernels = [kernel for kernel in program.kernels if kernel.name in loops]
    return "\n".join([line, *(f"  {kernel.counts()}, {loops[kernel.name]}" for kernel in kernels)])


def _mlir(program: Program) -> str:
    from .backends import mlir

    return mlir.source(program)


BACKENDS = {form: name for name, forms in backends.FORMS.items() for form in forms}
"""Which backend shows a form."""

BESIDE: dict[str, Callable[[Program], str]] = {"kernel": str, "summary": _summary, "mlir": _mlir}

ANNOTATED = ("kernel", "summary")
"""Forms that are for reading alone, so that notes may follow, as they do in "rule"."""

FORMS = ("rule", "kernel", *BACKENDS, "summary", "mlir", "latex")
"""What `explain` can show: the pipeline's stages in order, then what stands beside them."""


def explain(
    rule: Rule,
    flags: Collection[str] = (),
    dtype: str = "float32",
    form: str = "kernel",
    compiler: str | None = None,
    gradient: str | None = None,
    slots: Mapping[str, str] | None = None,
) -> str:
    """One stage of the pipeline as text.

    form:     one of FORMS.
    compiler: for GPUs, "numba-cuda-mlir" or "numba-cuda"; None is the first that is installed.
    gradient: what gradients are kept in, by default `dtype`. `slots`: by name, what slots are kept in.
    Raises OptionError for another form or compiler, BackendError where the compiler is not installed.
    """
    if form not in FORMS:
        raise OptionError(f"`form` must be one of {', '.join(FORMS)}. Received: form={form!r}.")
    if form in ("latex", "rule"):
        return "\n".join(_typeset(rule, flags) if form == "latex" else _listed(rule, flags))
    program = specialize(rule, flags, dtype, gradient, slots=slots)
    if form in BACKENDS:
        return backends.get(BACKENDS[form]).explain(program, form, {"compiler": compiler})
    return "\n".join([BESIDE[form](program), *unread(rule)]) if form in ANNOTATED else BESIDE[form](program)


def _typeset(rule: Rule, flags: Collection[str]) -> list[str]:
    from .latex import typeset  # only wanted where a rule is shown

    weights = averaged(rule, flags)
    shown = typeset(live(rule, flags)[0], _names(rule, flags))
    shown += [f"% {AVERAGED}", *typeset(weights)] if weights else []
    return [*(f"% {note}" for note in [*unread(rule), *_guard(rule, flags)]), *shown]


def _listed(rule: Rule, flags: Collection[str]) -> list[str]:
    from .listing import listed  # only wanted where a rule is shown

    weights = averaged(rule, flags)
    shown = listed(live(rule, flags)[0], _names(rule, flags)) or ["(nothing changes)"]
    return [*_guard(rule, flags), *shown, *([AVERAGED, *listed(weights)] if weights else []), *unread(rule)]


def _guard(rule: Rule, flags: Collection[str]) -> list[str]:
    """What a whole step depends on, if it depends on anything."""
    found = [] if rule.guard is None else walk(settle([rule.guard], flags)[rule.guard])
    beside = ", and of each input that is read" if rule.inputs else ""
    return [f"guard: {node}{beside}, else nothing is done" for node in found if isinstance(node, Reduction)]
