"""Kernel and Program: a rule after lowering, ready to be printed, run or read.

::

    program = array* step* kernel+         kernels run in order, each over all tensors
    array   = name: storage, space         the parameter, its gradient, inputs, slots
    step    = name = fn(args)              on the host, float64, once a step
    kernel  = given* head* load* let* (store | reduce)*
    given   = name                         a per-tensor number, or the result of an earlier kernel's reduction
    head    = name = fn(args)              float64, once a tensor
    load    = name <- array                cast from its storage to the type of the program
    let     = name = fn(args)              in that type, or in float64 (see `sorts.py`), once an element
    store   = array <- name                cast to its storage
    reduce  = name = op(name) over space   float64, in row order

An argument is a name, a number, or a truth. Order is evaluation order, each name is defined once and before its use
(`verify` proves it). A step, given or head value that a `let` uses is rounded to the type of the program once, before
the loop. Names cannot clash: `p`, `g`, `x.x` and `s.x` are what was loaded, `p'` and `s.x'` what is stored, `h.x` is a
hyperparameter, and the others (t0, u0, c0, k0, r0) have no dot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .dtypes import storage
from .expr import Reduction, Symbol
from .kinds import Kind, Space
from .memo import Memo, derived
from .ops import Fn, ReduceOp, numeral
from .parts import Slot

Arg = str | float | bool
"""A name, a number, or a truth."""

SHORT = {"parameter": "p", "gradient": "g"}


def array_of(leaf: Symbol) -> str:
    """The name of the array that a symbol stands for: no slot has a dot in its name, every input has."""
    return f"x.{leaf.name}" if leaf.kind is Kind.INPUT else leaf.name


def old(array: str) -> str:
    """The name of what a kernel loads from an array."""
    return SHORT.get(array) or (array if array.startswith("x.") else f"s.{array}")


def new(array: str) -> str:
    """The name of what a kernel stores to an array, if it computes it."""
    return f"{old(array)}'"


@dataclass(frozen=True)
class Array:
    """An array that every tensor has: "parameter", "gradient", an input "x.<name>" or a slot.

    storage: a row of dtypes.py.
    """

    name: str
    storage: str
    space: Space = Space.ELEMENT

    @property
    def is_brought(self) -> bool:
        """Whether every call brings it, as it does gradients and further inputs."""
        return self.name == "gradient" or self.name.startswith("x.")


@dataclass(frozen=True)
class Given:
    """A number that a tensor (or all tensors) share: a per-tensor hyperparameter (`hyper`), or a reduction's result."""

    name: str
    over: Space
    hyper: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({'one a tensor' if self.over is Space.TENSOR else 'one for all'})"


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

    def __str__(self) -> str:
        args = [arg if isinstance(arg, str) else numeral(arg) for arg in self.args]
        symbol = self.fn.symbol
        return f"{self.name} = " + (f" {symbol} ".join(args) if self.fn.is_infix else f"{symbol}({', '.join(args)})")


@dataclass(frozen=True)
class Store:
    """`array <- value`."""

    array: str
    value: Arg


@dataclass(frozen=True)
class Reduce:
    """`name = op(value) over space`.

    what: the reduction as the rule wrote it, which is the same in all programs of the rule. Results over all tensors of
          several programs are joined by it, never by name.
    """

    name: str
    op: ReduceOp
    value: Arg
    over: Space
    what: Reduction = field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.name} = {self.op.symbol}({self.value}) over {self.over.value}"


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

    @derived
    def uniforms(self) -> tuple[str, ...]:
        """Names from outside the loop that the loop uses, in order of use."""
        inside = {load.name for load in self.loads} | {let.name for let in self.body}
        used = [arg for let in self.body for arg in let.args]
        used += [store.value for store in self.stores] + [reduce.value for reduce in self.reductions]
        return tuple(dict.fromkeys(arg for arg in used if isinstance(arg, str) and arg not in inside))

    @derived
    def outside(self) -> tuple[str, ...]:
        """Names from outside the kernel that loop and head use, in order of use."""
        places = {let.name: i for i, let in enumerate(self.head)}
        used: dict[str, None] = {}
        done = 0
        for name in self.uniforms:
            end = places.get(name, -1) + 1
            args = [arg for let in self.head[done:end] for arg in let.args] if end else [name]
            used |= dict.fromkeys(arg for arg in args if isinstance(arg, str) and arg not in places)
            done = max(done, end)
        return tuple(used)

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arrays that are loaded or stored, each once, in order of use."""
        return tuple(dict.fromkeys([*(x.array for x in self.loads), *(x.array for x in self.stores)]))

    def lines(self, storages: dict[str, str], compute: str) -> Iterator[str]:
        """The text of the kernel; a cast is shown where one is made."""
        yield f"kernel {self.name}: {len(self.loads)} loads, {len(self.stores)} stores"
        yield from (f"  given   {given}" for given in self.givens)
        yield from (f"  head    {let}" for let in self.head)
        for load in self.loads:
            kept = storages[load.array]
            yield f"  load    {load.name} <- {load.array}" + (f": {kept} as {compute}" if kept != compute else "")
        yield from (f"  let     {let}" for let in self.body)
        for store in self.stores:
            kept = storages[store.array]
            yield f"  store   {store.array} <- {store.value}" + (f" as {kept}" if kept != compute else "")
        yield from (f"  reduce  {reduce}" for reduce in self.reductions)


@dataclass(frozen=True, eq=False)
class Program:
    """A rule specialised for one set of flags.

    name:    the rule's name and its flags, as printed.
    compute: what the loop computes in, the name of a type of dtypes.py.
    arrays:  what is loaded or stored, in the order of a table's columns: parameter, gradient, inputs, slots as in the
             rule.
    step:    what the host computes for every step, in float64, in order.
    kernels: in launch order; all but the last only reduce.
    slots:   the arrays that are state.
    memo:    what is derived from the program, kept as long as it lives.
    """

    name: str
    compute: str
    arrays: tuple[Array, ...]
    step: tuple[Let, ...]
    kernels: tuple[Kernel, ...]
    slots: dict[str, Slot]
    memo: Memo = field(default_factory=Memo, repr=False)

    @derived
    def _columns(self) -> dict[str, int]:
        return {array.name: j for j, array in enumerate(self.arrays)}

    @derived
    def _storages(self) -> dict[str, str]:
        return {array.name: array.storage for array in self.arrays}

    def column(self, array: str) -> int:
        """The place of an array in a row of addresses."""
        return self._columns[array]

    def storage(self, array: str) -> str:
        """The storage of an array."""
        return self._storages[array]

    @derived
    def brought(self) -> tuple[str, ...]:
        """The arrays that every call brings."""
        return tuple(array.name for array in self.arrays if array.is_brought)

    @property
    def title(self) -> str:
        """Name and types, in a line."""
        others = [f"{array.name} in {array.storage}" for array in self.arrays if array.storage != self.compute]
        return ", ".join([self.name, self.compute, *others])

    @derived
    def hypers(self) -> tuple[str, ...]:
        """The hyperparameters of a step that are read, in order of first use; "learning_rate" and "step" are some."""
        used = [arg for let in self.step for arg in let.args] + list(self.scalars)
        return tuple(dict.fromkeys(arg[2:] for arg in used if isinstance(arg, str) and arg.startswith("h.")))

    @derived
    def tensor_hypers(self) -> tuple[str, ...]:
        """The per-tensor hyperparameters that a kernel reads."""
        return tuple(dict.fromkeys(given.hyper for k in self.kernels for given in k.givens if given.hyper))

    @derived
    def scalars(self) -> tuple[str, ...]:
        """The numbers of a step that kernels use: hyperparameters and results of `step`, in order of first use."""
        used: dict[str, None] = {}
        for kernel in self.kernels:
            given = {given.name for given in kernel.givens}
            used |= dict.fromkeys(name for name in kernel.outside if name not in given)
        return tuple(used)

    def needed(self, names: Iterable[str]) -> tuple[Let, ...]:
        """The lets of the step that some of its names need, in order."""
        wanted = set(names)
        found = []
        for let in reversed(self.step):
            if let.name in wanted:
                found.append(let)
                wanted |= {arg for arg in let.args if isinstance(arg, str)}
        return tuple(reversed(found))

    def reductions(self, over: Space | None = None) -> tuple[Reduce, ...]:
        """All reductions in launch order, or those over one space."""
        return tuple(r for k in self.kernels for r in k.reductions if over in (None, r.over))

    @property
    def written(self) -> frozenset[str]:
        """The arrays that a step changes."""
        return frozenset(store.array for kernel in self.kernels for store in kernel.stores)

    def bytes_per_element(self) -> int:
        """The memory traffic of one element in a step, in bytes; every loaded and every stored array counts once."""
        moved = [load.array for kernel in self.kernels for load in kernel.loads]
        moved += [store.array for kernel in self.kernels for store in kernel.stores]
        return sum(storage(self.storage(array)).itemsize for array in moved)

    def __str__(self) -> str:
        lines = [f"program {self.name}: {self.compute}"]
        lines += [f"  step    {let}" for let in self.step]
        for kernel in self.kernels:
            lines += kernel.lines(self._storages, self.compute)
        return "\n".join(lines)
