"""Kernel and Program: a rule after lowering, ready to be printed, run or read.

::

    program = scalar* kernel+              kernels run in order, each over all tensors
    kernel  = given* head* load* let* (store | reduce)*
    scalar  = name: STEP expression        on the host, float64, once a step
    given   = name                         a per-tensor number, or the result of an earlier kernel's reduction
    head    = name = fn(names)             float64, once a tensor
    load    = name <- array                cast to the compute dtype
    let     = name = fn(names)             compute dtype, once an element
    store   = array <- name                the only cast back to the storage dtype
    reduce  = name = op(name) over scope   float64, in row order

Order is evaluation order, each name is defined once and before its use; `Kernel.check` proves it. A scalar, given or
head value that a `let` uses is rounded to the compute dtype once, before the loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .errors import LoweringError
from .expr import CONDITIONS, INFIX, Expr, Fn, ReduceOp, Scope
from .rule import Slot

Arg = str | float
"""A name, or a constant."""


@dataclass(frozen=True)
class Scalar:
    """A STEP expression that the host computes in float64."""

    name: str
    expr: Expr


@dataclass(frozen=True)
class Given:
    """A number a tensor (or all tensors) share: a per-tensor hyperparameter (`hyper`), or a reduction's result."""

    name: str
    scope: Scope
    hyper: str = ""


@dataclass(frozen=True)
class Load:
    """`name <- array`."""

    name: str
    array: str


@dataclass(frozen=True)
class Let:
    """`name = fn(args)`."""

    name: str
    fn: Fn
    args: tuple[Arg, ...]

    @property
    def is_condition(self) -> bool:
        """Whether the value is true or false."""
        return self.fn in CONDITIONS

    def __str__(self) -> str:
        args = [arg if isinstance(arg, str) else f"{arg:g}" for arg in self.args]
        text = f" {self.fn.value} ".join(args) if self.fn in INFIX else f"{self.fn.value}({', '.join(args)})"
        return f"{self.name} = {text}"


@dataclass(frozen=True)
class Store:
    """`array <- value`."""

    array: str
    value: Arg


@dataclass(frozen=True)
class Reduce:
    """`name = op(value) over scope`."""

    name: str
    op: ReduceOp
    value: Arg
    scope: Scope


@dataclass(frozen=True)
class Kernel:
    """One pass over the elements of every tensor."""

    name: str
    givens: tuple[Given, ...]
    head: tuple[Let, ...]
    loads: tuple[Load, ...]
    body: tuple[Let, ...]
    stores: tuple[Store, ...]
    reductions: tuple[Reduce, ...]

    @property
    def uniforms(self) -> tuple[str, ...]:
        """Names from outside the loop that the loop uses, in order of use."""
        inside = {load.name for load in self.loads} | {let.name for let in self.body}
        used = dict.fromkeys(arg for arg in self._loop_args() if isinstance(arg, str) and arg not in inside)
        return tuple(used)

    def _loop_args(self) -> Iterator[Arg]:
        for let in self.body:
            yield from let.args
        for store in self.stores:
            yield store.value
        for reduce in self.reductions:
            yield reduce.value

    def check(self, scalars: tuple[Scalar, ...]) -> None:
        """Raise LoweringError unless every name is defined once, before its first use."""
        known = {scalar.name for scalar in scalars}
        for given in self.givens:
            known.add(given.name)
        for let in (*self.head, *(Let(x.name, Fn.ADD, ()) for x in self.loads), *self.body):
            missing = [arg for arg in let.args if isinstance(arg, str) and arg not in known]
            if missing or let.name in known:
                raise LoweringError(f"kernel {self.name}: `{let}` uses {missing} too early or redefines {let.name!r}.")
            known.add(let.name)
        for arg in self._loop_args():
            if isinstance(arg, str) and arg not in known:
                raise LoweringError(f"kernel {self.name}: {arg!r} is stored or reduced but never defined.")

    def bytes_per_element(self, itemsize: int) -> int:
        """The memory traffic of one element, in bytes; every stored array counts once."""
        return itemsize * (len(self.loads) + len(self.stores))

    def __str__(self) -> str:
        lines = [f"kernel {self.name}: {len(self.loads)} loads, {len(self.stores)} stores"]
        lines += [
            f"  given   {given.name} (one a {given.scope.value})".replace("a all", "for all") for given in self.givens
        ]
        lines += [f"  head    {let}" for let in self.head]
        lines += [f"  load    {load.name} <- {load.array}" for load in self.loads]
        lines += [f"  let     {let}" for let in self.body]
        lines += [f"  store   {store.array} <- {store.value}" for store in self.stores]
        lines += [f"  reduce  {r.name} = {r.op.value}({r.value}) over {r.scope.value}" for r in self.reductions]
        return "\n".join(lines)


@dataclass(frozen=True)
class Program:
    """A rule specialised for one set of flags.

    name:    the rule's name and its flags, as printed.
    dtype:   what the arrays hold and the loop computes in: "float16", "float32" or "float64".
    scalars: computed by the host for every step.
    kernels: in launch order; all but the last only reduce.
    slots:   the arrays beside parameter and gradient that a kernel loads or stores.
    """

    name: str
    dtype: str
    scalars: tuple[Scalar, ...]
    kernels: tuple[Kernel, ...]
    slots: dict[str, Slot]

    @property
    def arrays(self) -> tuple[str, ...]:
        """Every array that is touched, parameter and gradient first, then slots in the rule's order."""
        touched = {load.array for k in self.kernels for load in k.loads}
        touched |= {store.array for k in self.kernels for store in k.stores}
        return tuple(name for name in ("parameter", "gradient", *self.slots) if name in touched)

    @property
    def written(self) -> frozenset[str]:
        """The arrays that a step changes."""
        return frozenset(store.array for kernel in self.kernels for store in kernel.stores)

    @property
    def tensor_hypers(self) -> tuple[str, ...]:
        """The per-tensor hyperparameters that a kernel reads."""
        names = dict.fromkeys(given.hyper for kernel in self.kernels for given in kernel.givens if given.hyper)
        return tuple(names)

    def reductions(self, scope: Scope | None = None) -> tuple[Reduce, ...]:
        """All reductions in launch order, or those of one scope."""
        return tuple(r for k in self.kernels for r in k.reductions if scope in (None, r.scope))

    def __str__(self) -> str:
        lines = [f"program {self.name}: {self.dtype}"]
        lines += [f"  step    {scalar.name} = {scalar.expr}" for scalar in self.scalars]
        return "\n".join([*lines, *map(str, self.kernels)])
