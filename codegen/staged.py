"""staged(): which kernels there are where numbers are over axes: each goes over one space, and reads coarser ones.

What is over axes is computed once each, in float64, by kernels that go over those numbers alone; what a finer kernel
reads of it lies in arrays that the program makes for itself. Slots over axes are stored as soon as nobody reads their
old values any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .axes import Axes, Over
from .dtypes import storage
from .errors import RuleError
from .expr import Expr, Reduction, Select, Symbol
from .kinds import Kind, Rate, Space
from .ops import Fn
from .outsides import Outside
from .program import Arg, Array, Kernel, Let, Load, made, old
from .stages import Stage
from .walk import walk
from .writer import ONE, ZERO, Writer

Stores = Mapping[Symbol, Expr]


@dataclass
class Work:
    """What a kernel does.

    stage: kernels of a stage read what earlier ones have made. `space`: it goes over what has one number each there.
    makes: numbers over axes that finer kernels read.
    """

    stage: int
    space: Over
    reductions: list[Reduction] = field(default_factory=list)
    makes: dict[Expr, None] = field(default_factory=dict)
    stores: dict[Symbol, Expr] = field(default_factory=dict)

    @property
    def roots(self) -> list[Expr]:
        """What it computes."""
        return [*(reduction.arg for reduction in self.reductions), *self.makes, *self.stores.values()]

    def has(self, e: Expr) -> bool:
        """Whether it computes `e`, or loads it from a rule's array of its own space."""
        if isinstance(e, Reduction) or (isinstance(e, Symbol) and e.kind is Kind.COUNT):
            return False
        return e.rate >= Rate.AXES and e.space == self.space

    def reads(self) -> set[Expr]:
        """What it reads of slots and of other kernels."""
        nodes = walk(*self.roots, into=self.has)
        return {node for node in nodes if node.rate is Rate.AXES and (isinstance(node, Symbol) or not self.has(node))}


class Plan:
    """The kernels of a program, by stage and space."""

    def __init__(self) -> None:
        self.works: dict[tuple[int, Over], Work] = {}
        self.guard: Reduction | None = None
        self.wide: set[Expr] = set()
        """What is made for kernels that compute in float64."""

    def at(self, stage: int, space: Over) -> Work:
        """The kernel of a stage and space."""
        return self.works.setdefault((stage, space), Work(stage, space))

    def ordered(self) -> list[Work]:
        """Stage by stage; elements first, in case that a guard is reduced there."""
        return sorted(self.works.values(), key=lambda work: (work.stage, work.space is not Space.ELEMENT))

    def round(self, rounded: Callable[[Stores], dict[Symbol, Expr]]) -> None:
        """Let what is stored to elements be what their storages hold."""
        for work in self.works.values():
            if work.space is Space.ELEMENT:
                work.stores = rounded(work.stores)

    @property
    def stages(self) -> int:
        """How many there are."""
        return 1 + max([stage for stage, _ in self.works], default=-1)


def is_by_axes(nodes: Sequence[Expr]) -> bool:
    """Whether anything has numbers over axes."""
    return any([node.rate is Rate.AXES for node in nodes])


Guarded = Callable[[list[Stage]], Reduction | None]
"""Puts a guard among the reductions of the first stage, if there is one."""


def staged(rule: str, stores: Stores, others: Iterable[Expr], guarded: Guarded) -> Plan:
    """The kernels that store to elements and to slots over axes; `others`: what else is computed of reductions.

    Raises RuleError where functions outside are given anything.
    """
    others = [*others]
    for node in walk(*stores.values(), *others):
        if isinstance(node, Outside):
            raise RuleError(
                f"rule {rule!r} has numbers over axes and a function outside, which no kernels have together yet. "
                f"Received: `{node}`. Reduce inside of the function, or leave it out."
            )
    plan = Plan()
    roots = [(_space_of(target), value) for target, value in stores.items()]
    depths = _reduced(plan, [*(value for _, value in roots), *others])
    for space, value in roots:
        _crossed(plan, depths, value, space)
    early = plan.works.get((0, Space.ELEMENT))
    stages: list[Stage] = [[] if early is None else [*early.reductions], []]
    plan.guard = guarded(stages)
    first = 0 if plan.guard is None else 1  # no slot is stored before it
    if plan.guard is not None:
        plan.at(0, Space.ELEMENT).reductions = [one for one in stages[0] if isinstance(one, Reduction)]
    last = plan.at(max(plan.stages, first), Space.ELEMENT)
    own = {target: value for target, value in stores.items() if isinstance(_space_of(target), Axes)}
    last.stores = {target: value for target, value in stores.items() if target not in own}
    _store(plan, own, {target: max(first, _depth(depths, own[target], target.space)) for target in own})
    return plan


def _space_of(target: Symbol) -> Over:
    return target.space if target.over is not None else Space.ELEMENT


def _reduced(plan: Plan, roots: Sequence[Expr]) -> dict[Expr, int]:
    """Reductions, and what they need, each at its stage; after how many stages each node can be computed."""
    depths: dict[Expr, int] = {}
    for node in walk(*roots):
        space = node.arg.space if isinstance(node, Reduction) else node.space
        depth = max([_crossed(plan, depths, child, space) for child in node.children], default=0)
        if isinstance(node, Reduction):
            plan.at(depth, space).reductions.append(node)
            depth += 1
        depths[node] = depth
    return depths


def _crossed(plan: Plan, depths: Mapping[Expr, int], node: Expr, space: Over) -> int:
    """The stage from which on kernels over a space can read a node, which is made for them if it has to be."""
    if _is_made(node, space):
        plan.at(depths[node], node.space).makes[as_number(node)] = None
        if isinstance(space, Axes):
            plan.wide.add(as_number(node))
    return _depth(depths, node, space)


def _depth(depths: Mapping[Expr, int], node: Expr, space: Over) -> int:
    return depths[node] + _is_made(node, space)


def _is_made(node: Expr, space: Over) -> bool:
    """Whether kernels over a space read a node that another kernel makes."""
    return node.rate is Rate.AXES and node.space != space and not isinstance(node, Reduction | Symbol)


def as_number(e: Expr) -> Expr:
    """A condition as 1 or 0: only numbers lie in arrays."""
    return Select(e, ONE, ZERO) if e.is_condition else e


def _store(plan: Plan, own: Stores, earliest: dict[Symbol, int]) -> None:
    """Each slot over axes is stored when no later kernel reads its old value."""
    reading = [(work.stage, work.space, work.reads()) for work in plan.works.values()]
    reads = {target: Work(0, target.space, stores={target: value}).reads() for target, value in own.items()}
    stages = dict(earliest)
    while True:
        before = dict(stages)
        readers = [*reading, *((stages[target], target.space, reads[target]) for target in own)]
        for target in own:
            ends = [stage + (space != target.space) for stage, space, read in readers if target in read]
            stages[target] = max([stages[target], *ends])
        if stages == before:
            break
    for target, value in own.items():
        plan.at(stages[target], target.space).stores[target] = value


class StagedWriter(Writer):
    """A writer of kernels over axes, too.

    compute: what loops over elements compute in.
    """

    def __init__(self, plan: Plan, compute: str, kept: Mapping[str, str]) -> None:
        super().__init__(kept)
        self._plan, self._compute = plan, compute
        self._made: dict[Expr, str] = {}
        self._work = Work(0, Space.ELEMENT)

    def kernels(self, name: str) -> Iterator[Kernel]:
        """The kernels of the plan."""
        for i, work in enumerate(self._plan.ordered()):
            self._work = work
            stores = {Symbol(Kind.SLOT, self._place_of(e)): e for e in work.makes} | work.stores
            yield replace(self.kernel(f"{name}.{i}", [*work.reductions], stores), space=work.space)
            for reduction in work.reductions:
                if isinstance(reduction.over, Axes):
                    self._array(made(self.results[reduction]), "float64", reduction.over)

    def _place_of(self, e: Expr) -> str:
        """The array that a kernel makes of numbers over axes."""
        kept = "float64" if e in self._plan.wide else self._compute
        self._made[e] = self._array(made(f"m{len(self._made)}"), kept, e.space)
        return self._made[e]

    def _array(self, name: str, kept: str, space: Over) -> str:
        self.arrays[name] = Array(name, storage(kept).name, space)
        return name

    def is_here(self, e: Expr) -> bool:
        """Whether the loop computes `e`, or loads it from a rule's array of its own space."""
        return self._work.has(e)

    def from_outside(self, e: Expr) -> Arg:
        """What the loop does not compute; of other kernels it loads it."""
        if e.rate is not Rate.AXES:
            return super().from_outside(e)
        number = as_number(e)
        if number not in self.loads:
            array = self._array_of(number)
            self.loads[number] = Load(old(array), array)
        loaded = self.loads[number].name
        if number is e:
            return loaded
        if e not in self.body:
            self.body[e] = Let(self.made_up("c"), Fn.NE, (loaded, 0.0))
        return self.body[e].name

    def _array_of(self, e: Expr) -> str:
        if isinstance(e, Reduction):
            return made(self.results[e])
        if isinstance(e, Symbol):
            return self._array(e.name, "float64", e.space) if e.kind is Kind.COUNT else e.name
        return self._made[e]
