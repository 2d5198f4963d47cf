"""lower(): a rule and a set of flags become a Program.

settle    flags become constants, options fold away                          (simplify.py)
prune     what cannot reach the parameter or a result is dropped: slots by liveness
expand    exp, log, tanh and powers become arithmetic                        (expand.py)
split     each depth of reductions is a kernel of its own, in front of the last one, and so is what each depth of
          functions outside is given                                         (stages.py)
number    numbers that slots have one a tensor, or one for all, are put by kernels after all others, which still read
          the old ones; expressions become named single assignments, in evaluation order; what is the same for a
          whole step leaves the loop for the host, what is the same for a tensor goes to the kernel's head

After each stage `verify` looks at what came out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial

from . import beside, blocks, dtypes, verify
from .expand import expanded
from .expr import Expr, Symbol
from .guards import guarded
from .kinds import Kind
from .names import BUILT_IN_FLAGS
from .parts import Slot
from .pieces import COPY, ERROR, Array
from .program import Program, Store
from .rounding import arrays_of, rounded
from .rule import PARAMETER, Rule
from .simplify import settle
from .staged import StagedWriter, is_by_axes, staged
from .stages import split
from .walk import walk
from .writer import Writer

Stores = dict[Symbol, Expr]


def lower(rule: Rule, flags: Collection[str], dtype: str, kept: Mapping[str, str] | None = None) -> Program:
    """The program of `rule` with exactly the flags in `flags` on.

    dtype: the storage of parameters and slots; the program computes in its type.
    kept:  the storages of slots, gradients ("gradient") and inputs ("x.<name>"), where they have another.
    """
    live_stores, slots = live(rule, flags)
    compute = dtypes.dtype(dtype).compute
    storages = blocks.chosen(kept or {}, slots)
    values = beside.read(blocks.decoded(expanded(live_stores, compute), storages), storages)
    shared = {target: value for target, value in values.items() if target.kind is Kind.SHARED_SLOT}
    numbers = {target: value for target, value in values.items() if target.kind is Kind.TENSOR_SLOT}
    gathers = {target: value for target, value in values.items() if target.kind is Kind.GATHERED_SLOT}
    stores = {target: value for target, value in values.items() if target not in shared | numbers | gathers}
    nodes = [*walk(*stores.values(), *numbers.values(), *gathers.values(), *shared.values())]
    verify.expanded(rule.name, nodes, compute)
    kept_as = {"parameter": compute if ERROR in storages else dtype, **storages}
    if is_by_axes(nodes):
        found = partial(guarded, rule, flags, compute, stored=values.values())
        plan = staged(rule.name, stores, [*numbers.values(), *gathers.values()], found)
        plan.round(lambda own: beside.written(rounded(own, kept_as, compute), storages))
        by_axes = StagedWriter(plan, compute, storages)
        writer: Writer = by_axes
        guard, kernels = plan.guard, tuple(by_axes.kernels(rule.name))
    else:
        stages = split(nodes)
        guard = guarded(rule, flags, compute, stages, values.values())
        stores = beside.written(rounded(stores, kept_as, compute), storages)
        writer = Writer(storages)
        kernels = tuple(
            writer.kernel(f"{rule.name}.{depth}", stage, stores if depth == len(stages) - 1 else {})
            for depth, stage in enumerate(stages)
        )
    suffix = "".join(f"+{flag}" for flag in (*rule.flags, *BUILT_IN_FLAGS) if flag in flags)
    if numbers:
        kernels += (writer.kernel(f"{rule.name}.{len(kernels)}", [], {}, numbers),)
    if gathers:
        kernels += (writer.gathering(f"{rule.name}.{len(kernels)}", gathers),)
    put = tuple(Store(target.name, writer.known(value)) for target, value in shared.items())
    names = ("parameter", "gradient", *(f"x.{name}" for name in rule.inputs), *slots, ERROR, COPY)
    step, arrays = tuple(writer.step.values()), tuple(arrays_of(kernels, names, slots, dtype, storages))
    arrays += tuple(Array(name, compute) for name in writer.scratch.values())
    held = None if guard is None else writer.results[guard]
    arrays += tuple(writer.arrays.values())
    program = Program(rule.name + suffix, compute, arrays, step, kernels, slots, put, held, dict(writer.sizes))
    verify.numbered(program)
    return program


def live(rule: Rule, flags: Collection[str]) -> tuple[Stores, dict[str, Slot]]:
    """What a rule stores for one set of flags, and the slots that exist: all that can reach a parameter or a result.

    A value can get there in a later step, of another kind: what the step decides is left open here.
    """
    stores, decided = settled(rule, flags), rule.decided_by_step
    wanted = [*averaged(rule, flags).values(), *_common(rule, flags)]
    reaching, slots = prune(rule, _open(rule, flags, decided) if decided else stores, wanted)
    verify.pruned(rule, reaching, wanted)
    return {target: value for target, value in stores.items() if target in reaching}, slots


def _common(rule: Rule, flags: Collection[str]) -> frozenset[Symbol]:
    """Gathered slots that some tensors read, by shape or name: all tensors have a part in what is reduced for those."""
    shapes = {name for name, flag in rule.flags.items() if flag.is_of_variables}
    if not rule.gathered or not shapes:
        return frozenset()
    reaching, _ = prune(rule, _open(rule, flags, rule.decided_by_step | shapes))
    return frozenset(target for target in reaching if target.kind is Kind.GATHERED_SLOT)


def _open(rule: Rule, flags: Collection[str], left: Collection[str]) -> Stores:
    """The rule's stores where all flags but these are settled, which can differ from step to step, say."""
    values = settle(rule.stores.values(), flags, left)
    return {
        target: values[value]
        for target, value in rule.stores.items()
        if isinstance(target, Symbol) and values[value] is not target
    }


def settled(rule: Rule, flags: Collection[str]) -> Stores:
    """The rule's stores for one set of flags; a slot or parameter stored unchanged is no store."""
    values = settle(rule.stores.values(), flags)
    stores = {target: values[value] for target, value in rule.stores.items() if isinstance(target, Symbol)}
    verify.settled(rule.name, stores)
    return {target: value for target, value in stores.items() if value is not target}


def averaged(rule: Rule, flags: Collection[str]) -> Stores:
    """The averaged weights for one set of flags, whatever step it is; empty where they are the parameter itself."""
    own = rule.averages
    return {} if own is None else _open(own, flags, own.decided_by_step)


def prune(rule: Rule, stores: Stores, wanted: Iterable[Expr] = ()) -> tuple[Stores, dict[str, Slot]]:
    """Only the stores whose value can reach the parameter or a result, now or at a later step, and their slots.

    wanted: what is wanted beside them: what is made of slots elsewhere, or slots that other tensors read.
    """
    stack: list[Expr] = [target for target in stores if target is PARAMETER or rule.slots[target.name].result]
    stack.extend(wanted)
    seen: set[Expr] = set()
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(node.children)
            if isinstance(node, Symbol) and node in stores:  # its old value is read, or it is a result
                stack.append(stores[node])
    slots = {name: slot for name, slot in rule.slots.items() if rule.symbol(name) in seen}
    return {target: value for target, value in stores.items() if target in seen}, slots
