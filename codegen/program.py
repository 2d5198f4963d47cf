"""Kernel and Program: a rule after lowering, ready to be printed, run or read.

::

    program = array* step* shared* guard? kernel+ kernels run in order, each over all tensors
    array   = name: storage, space         the parameter, its gradient, inputs, slots; one number a tensor is float64
    step    = name = fn(args)              on the host, float64, once a step
    shared  = slot <- name                 on the host, when the step is counted: one number for all tensors
    guard   = name                         a reduction; where it says that not all is finite, nothing more is done
    kernel  = given* head* (load* draw* let* (store | reduce)* | put* | gather*)
    given   = name                         a per-tensor number, or the result of an earlier kernel's reduction
    head    = name = fn(args)              float64, once a tensor
    load    = name <- array                cast from its storage to the type of the program
    draw    = name <- bits                 random bits of an element, of a rule (`draws`) or to round by (`rounding`)
    block   = how a store is done          where an array is kept in codes and scales (see `blocks.py`)
    let     = name = fn(args)              in that type, or in float64 (see `sorts.py`), once an element
    store   = array <- name                cast to its storage; over axes, once a number of a tensor that has elements
    reduce  = name = op(name) over space   float64, in row order; over axes it is made an array
    put     = array <- name                float64, once a tensor that has elements
    gather  = array <- name                float64, once a step: one number for all tensors, of what was reduced

A kernel that puts or gathers numbers does nothing else, and comes after all others, so that those read old ones; only
the last before it stores. Where several programs make a step, one of them gathers, after all kernels of all of them.

An argument is a name, a number, or a truth. Order is evaluation order, each name is defined once and before its use
(`verify` proves it). A step, given or head value that a `let` uses is rounded to the type of the program once, before
the loop. Names cannot clash: `p`, `g`, `x.x` and `s.x` are what was loaded, `p'` and `s.x'` what is stored, `h.x` is a
hyperparameter (or `s.x`, a slot over all), and the others (t0, u0, c0, k0, r0, n0) have no dot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .axes import Axes, Over
from .dtypes import storage
from .kernel import Kernel as Kernel
from .kinds import Space
from .memo import Memo, derived
from .parts import Slot
from .pieces import Arg as Arg
from .pieces import Array as Array
from .pieces import Coded as Coded
from .pieces import Detour as Detour
from .pieces import Draw as Draw
from .pieces import Gather as Gather
from .pieces import Generator as Generator
from .pieces import Given as Given
from .pieces import Let as Let
from .pieces import Load as Load
from .pieces import Reduce as Reduce
from .pieces import Store as Store
from .pieces import array_of as array_of
from .pieces import key_of as key_of
from .pieces import made as made
from .pieces import new as new
from .pieces import old as old
from .pieces import scale_of as scale_of
from .pieces import scratch_of as scratch_of

MOST_SHOWN = 60
"""Numbers of a step that the text of a program has, all of them, one a line."""


@dataclass(frozen=True, eq=False)
class Program:
    """A rule specialised for one set of flags.

    name:    the rule's name and its flags, as printed.
    compute: what the loop computes in, the name of a type of dtypes.py.
    arrays:  what is loaded or stored, in the order of a table's columns: parameter, gradient, inputs, slots as in the
             rule, scratch.
    step:    what the host computes for every step, in float64, in order. `kernels`: in launch order.
    slots:   the state beside the parameter. `shared`: what slots over all that the host knows become when
             the step is counted.
    guard:   what the first kernel reduces, see `ops.refuses`; where that refuses any tensor, no later kernel of any
             program of the step runs, and nothing has changed.
    memo:    what is derived from the program, kept as long as it lives.
    """

    name: str
    compute: str
    arrays: tuple[Array, ...]
    step: tuple[Let, ...]
    kernels: tuple[Kernel, ...]
    slots: dict[str, Slot]
    shared: tuple[Store, ...] = ()
    guard: str | None = None
    sizes: Mapping[str, Axes] = field(default_factory=dict)
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
    def scratch(self) -> tuple[str, ...]:
        """The arrays that are lent to it for a call."""
        return tuple(array.name for array in self.arrays if array.is_scratch)

    @property
    def title(self) -> str:
        """Name and types, in a line."""
        others = [f"{array.name} in {array.storage}" for array in self.arrays if array.storage != self.compute]
        return ", ".join([self.name, self.compute, *others])

    @property
    def last(self) -> Kernel:
        """The kernel that stores."""
        return next(kernel for kernel in reversed(self.kernels) if not kernel.numbered and not kernel.is_coarse)

    def type_of(self, kernel: Kernel) -> str:
        """What a kernel computes in."""
        return "float64" if kernel.is_coarse else self.compute

    def space_of(self, array: str) -> Over:
        """Where an array has one number each."""
        return self.arrays[self._columns[array]].space

    @derived
    def is_by_axes(self) -> bool:
        """Whether it has numbers over axes."""
        return any(isinstance(array.space, Axes) and not array.is_scale for array in self.arrays)

    @derived
    def is_coded(self) -> bool:
        """Whether it keeps anything in blocks."""
        return any(array.is_scale for array in self.arrays)

    @property
    def gathers(self) -> tuple[Gather, ...]:
        """What slots over all become, of what the step reduces: by the last kernel, if there are any."""
        return self.kernels[-1].gathers

    @derived
    def inputs(self) -> tuple[str, ...]:
        """The numbers that a step reads, in order of first use: hyperparameters, and slots over all."""
        used = [arg for let in self.step for arg in let.args] + [*self.scalars, *(store.value for store in self.shared)]
        return tuple(dict.fromkeys(arg for arg in used if isinstance(arg, str) and arg.startswith(("h.", "s."))))

    @derived
    def hypers(self) -> tuple[str, ...]:
        """What the caller calls `inputs`; "learning_rate" and "step" are some."""
        return tuple(map(key_of, self.inputs))

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
            used |= dict.fromkeys(arg for one in kernel.detours for arg in one.numbers if isinstance(arg, str))
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

    def reductions(self, over: Over | None = None) -> tuple[Reduce, ...]:
        """All reductions in launch order, or those over one space."""
        return tuple(r for k in self.kernels for r in k.reductions if over in (None, r.over))

    @derived
    def reduced(self) -> tuple[Reduce, ...]:
        """All reductions to one number a tensor, or for all."""
        return tuple(reduce for reduce in self.reductions() if isinstance(reduce.over, Space))

    @property
    def guarding(self) -> Reduce | None:
        """The guard, where there is one."""
        return next((reduce for reduce in self.kernels[0].reductions if reduce.name == self.guard), None)

    @property
    def written(self) -> frozenset[str]:
        """The arrays that a step changes, but for scratch."""
        writing = [kernel for kernel in self.kernels if kernel.writes]
        found = frozenset(store.array for kernel in writing for store in (*kernel.stores, *kernel.numbered))
        return found | {one.scale for kernel in writing for one in kernel.blocks}

    def bytes_per_element(self) -> float:
        """The memory traffic of one element in a step, in bytes; every loaded and every stored array counts once.

        What has fewer numbers than elements does not count, but for scales.
        """
        moved = [load.array for kernel in self.kernels for load in kernel.loads]
        moved += [store.array for kernel in self.kernels for store in kernel.stores]
        moved += [one.scale for kernel in self.kernels for one in kernel.blocks]
        return sum(storage(self.storage(array)).itemsize * self._share(array) for array in moved)

    def traffic_line(self) -> str:
        """Loads, stores and bytes per parameter, in words."""
        loads, stores = (sum(len(getattr(kernel, what)) for kernel in self.kernels) for what in ("loads", "stores"))
        moved = self.bytes_per_element()
        return f"{self.name} {self.compute}: {loads} loads, {stores} stores, {moved:g} bytes per parameter"

    def _share(self, array: str) -> float:
        """How many numbers of an array an element has; none of what is over axes, or one number."""
        space = self.space_of(array)
        if isinstance(space, Axes) and self.arrays[self._columns[array]].is_scale:
            return 1 / space.length
        return float(space is Space.ELEMENT)

    def _step_lines(self) -> list[str]:
        """The step's numbers; where functions have become arithmetic, only those that kernels use."""
        used = {*self.scalars} if len(self.step) > MOST_SHOWN else {let.name for let in self.step}
        lines = [f"  step    {let}" for let in self.step if let.name in used]
        more = len(self.step) - len(lines)
        return lines + ([f"  step    and {more} lines before them: functions and powers as arithmetic"] if more else [])

    def __str__(self) -> str:
        lines = [f"program {self.name}: {self.compute}"]
        lines += self._step_lines()
        lines += [f"  shared  {store}" for store in self.shared]
        lines += [f"  guard   {self.guard}"] if self.guard else []
        for kernel in self.kernels:
            lines += kernel.lines(self._storages, self.compute)
        return "\n".join(lines)
