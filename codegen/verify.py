"""What must hold after each stage of lowering. A LoweringError names the stage and the node that broke it.

These are checks of the compiler, not of rules: what an author can get wrong was answered when the rule was defined.
They cost about a fifth of lowering, and always run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from .axes import Axes, Over, is_coarser
from .defined import NUMBER, TRUTH, WORD, broken, define, kind_of, space_in
from .dtypes import STORAGES, storage
from .expr import Call, Const, Expr, Reduction, Select, Symbol
from .kinds import NEWS, Kind, Space
from .ops import ReduceOp
from .outsides import Outside
from .pieces import COPY, ERROR
from .program import Kernel, Program, Reduce, Store, made, old, scale_of, scratch_of
from .rule import PARAMETER, Rule
from .walk import walk

NO_NUMBERS = [(space, name) for space in (Space.TENSOR, Space.ALL) for name in STORAGES if name != "float64"]
"""A tensor's own number, and one for all, is of one storage."""


def settled(rule: str, stores: Mapping[Symbol, Expr]) -> None:
    """No flag, no new value and no choice that is made already is left."""
    for node in walk(*stores.values()):
        if isinstance(node, Symbol) and node.kind in (Kind.FLAG, *NEWS.values()):
            raise broken("settle", rule, node, f"a {node.kind.value} is left")
        if isinstance(node, Select) and isinstance(node.condition, Const):
            raise broken("settle", rule, node, "a constant choice is left")


def pruned(rule: Rule, stores: Mapping[Symbol, Expr], wanted: Iterable[Expr] = ()) -> None:
    """Every store can reach the parameter or a result: it is one, or its old value is read.

    stores: those of all kinds of steps that the rule itself tells apart. `wanted`: what is wanted beside them.
    """
    read = {node for node in walk(*stores.values(), *wanted) if isinstance(node, Symbol)}
    for target in stores:
        if target is not PARAMETER and target not in read and not rule.slots[target.name].result:
            raise broken("prune", rule.name, target, "nothing reads what is stored")


def guarded(rule: str, found: Sequence[Reduction]) -> None:
    """A guard is at most one reduction over all tensors, to a truth, of nothing that is reduced itself."""
    for node in found:
        is_truth = node.op is ReduceOp.ALL_FINITE and node.over is Space.ALL
        if not is_truth or len(found) > 1:
            raise broken("settle", rule, node, "a guard is one all_finite(..., over='all')")


def expanded(rule: str, nodes: Iterable[Expr], compute: str) -> None:
    """Nothing is left that no backend has words for, and no conversion where all is float64."""
    for node in nodes:
        row = node.fn.row if isinstance(node, Call) else None
        if row is not None and (row.expanded or (row.in_loop and compute == "float64" and row.is_widening)):
            raise broken("expand", rule, node, f"{row.symbol} is left")


def split(nodes: Iterable[Expr], stages: Sequence[Sequence[Reduction | Outside]]) -> None:
    """Every reduction, and what every function outside is given, has a kernel after those that it needs.

    It comes before the last one, and does one of the two.
    """
    places = {made: k for k, stage in enumerate(stages) for made in stage}
    mixed = next((stage[0] for stage in stages if len({type(made) for made in stage}) > 1), None)
    if mixed is not None:
        raise broken("split", "its kernels", mixed, "a kernel reduces and stores for a function")
    needed: dict[Expr, int] = {}
    for node in nodes:
        needed[node] = max([needed[child] for child in node.children]) if node.children else -1
        if isinstance(node, Reduction | Outside):
            place = places.get(node, -1)
            if not needed[node] < place < len(stages) - 1:
                raise broken("split", "its kernels", node, f"kernel {place} is too early, too late, or none")
            needed[node] = place


def numbered(program: Program) -> None:
    """The program is what program.py says it is."""
    _check_arrays(program)
    joined = [reduce.what for reduce in program.reductions(Space.ALL)]
    if len(set(joined)) < len(joined):
        raise broken("number", program.name, joined[0], "what goes over all tensors is reduced twice")
    step = dict.fromkeys(program.inputs, NUMBER)
    for let in program.step:
        define(program, step, let, in_step=True)
    reduced: dict[str, Over] = {}
    for kernel in program.kernels:
        _check_kernel(program, kernel, step, reduced)
        reduced |= {reduce.name: reduce.over for reduce in kernel.reductions}
    _check_shared(program, step)
    _check_guard(program)
    _check_detours(program, step)
    _check_order(program)


def _check_order(program: Program) -> None:
    """What a kernel stores of slots is what no later one reads; what a program makes is there before it is read."""
    there = {array.name for array in program.arrays if not array.is_made or array.is_count}
    for kernel in program.kernels if program.is_by_axes else ():
        for load in kernel.loads:
            if load.array not in there:
                raise broken("number", kernel.name, load, "it is made later, or is not any more what it was")
        there |= {made(reduce.name) for reduce in kernel.reductions}
        there |= {store.array for store in kernel.stores if store.array.startswith("_")}
        there -= {store.array for store in kernel.stores if not store.array.startswith("_")}


def _check_detours(program: Program, step: Mapping[str, str]) -> None:
    """A function is given what its kernel has stored, and no earlier kernel reads what it returns."""
    lent: set[str] = set()
    for kernel in program.kernels:
        early = {load.array for load in kernel.loads} & {*program.scratch} - lent
        if early:
            raise broken("number", kernel.name, sorted(early), "scratch is read before it is there")
        own = {detour.array for detour in kernel.detours}
        if (
            own != {store.array for store in kernel.stores if kernel.detours}
            or own & lent
            or len(own) < len(kernel.detours)
        ):
            raise broken("number", kernel.name, sorted(own), "a function is given what its kernel does not store")
        for detour in kernel.detours:
            if any(kind_of(step, number) != NUMBER for number in detour.numbers):
                raise broken("number", kernel.name, str(detour), "a number is not known before the step")
        lent |= own


def _check_guard(program: Program) -> None:
    """The first kernel reduces the guard, to what says whether all is finite."""
    ops = {ReduceOp.ALL_FINITE, *([ReduceOp.SUM_OF_SQUARES] if program.compute == "float32" else [])}
    if program.guard is not None and (program.guarding is None or program.guarding.op not in ops):
        raise broken("number", program.name, program.guard, "the first kernel does not reduce the guard")


def _check_arrays(program: Program) -> None:
    names = [array.name for array in program.arrays]
    inputs = [array.name for array in program.arrays if array.is_brought and array.name != "gradient"]
    own = [array.name for array in program.arrays if array.is_made]
    scales = map(scale_of, program.slots)
    order = [
        "parameter",
        "gradient",
        *inputs,
        *program.slots,
        ERROR,
        COPY,
        *scales,
        *map(scratch_of, range(len(program.scratch))),
        *own,
    ]
    if names != [name for name in order if name in names]:
        raise broken("number", program.name, names, "arrays are unknown, twice, or out of order")
    for array in program.arrays:
        is_wrong = array.is_scratch and (array.storage, array.space) != (program.compute, Space.ELEMENT)
        if is_wrong or array.storage not in STORAGES or (array.space, array.storage) in NO_NUMBERS:
            raise broken("number", program.name, array, "no such storage or space")
    if program.compute not in STORAGES:
        raise broken("number", program.name, program.compute, "no such type")


def _check_kernel(program: Program, kernel: Kernel, step: Mapping[str, str], reduced: Mapping[str, Over]) -> None:
    known = dict(step)
    for given in kernel.givens:
        is_there = given.over is Space.TENSOR if given.hyper else reduced.get(given.name) is given.over
        if given.array:
            is_one = given.over is not Space.ELEMENT and space_in(program, given.array) is given.over
            is_there = is_one and given.name == old(given.array)
        if not is_there or given.name in known:
            raise broken("number", kernel.name, given, "no earlier kernel and no tensor has it, or it is there twice")
        known[given.name] = NUMBER
    late = {given.name for given in kernel.givens if not given.hyper}
    for let in kernel.head:
        late |= {let.name} if late.intersection(let.args) else set()
        define(program, known, let, is_early=let.name not in late)
    for name in kernel.uniforms:
        if known.get(name) == TRUTH:
            raise broken("number", kernel.name, name, "a truth enters the loop; it must come as 1 or 0")
    for load in kernel.loads:
        space = space_in(program, load.array)
        is_there = space == kernel.space or (isinstance(space, Axes) and is_coarser(space, kernel.space))
        if load.name in known or load.name != old(load.array) or not is_there:
            raise broken("number", kernel.name, load, "an unknown array, or a name that is wrong or taken")
        known[load.name] = NUMBER
    _check_draws(program, kernel, known)
    for let in kernel.body:
        define(program, known, let, in_loop=not kernel.is_coarse)
    for store in kernel.stores:
        is_right = store.array in program.scratch if kernel.detours else kernel is program.last or kernel.is_coarse
        if not is_right or space_in(program, store.array) != kernel.space:
            raise broken("number", kernel.name, store, "not the last kernel, or an unknown array")
    _check_blocks(program, kernel, known)
    _check_numbers(program, kernel, known)
    _refuse_repeats(kernel, [store.array for store in (*kernel.stores, *kernel.numbered)])
    _refuse_repeats(kernel, [*reduced, *(reduce.name for reduce in kernel.reductions)])
    ends: list[Store | Reduce] = [*kernel.stores, *kernel.reductions]
    for end in ends:
        if kind_of(known, end.value) != NUMBER:
            raise broken("number", kernel.name, end, f"{end.value!r} is no number that is defined")
    for reduce in kernel.reductions:
        if (reduce.what.op, reduce.what.over) != (reduce.op, reduce.over):
            raise broken("number", kernel.name, reduce, f"it is not what the rule wrote, `{reduce.what}`")


def _check_draws(program: Program, kernel: Kernel, known: dict[str, str]) -> None:
    """Random bits come from four words, and have names of their own."""
    for generator in kernel.generators:
        is_new = not {generator.counted, generator.stream} & {*known}
        known |= {generator.counted: WORD, generator.stream: WORD}
        for let in generator.lets:
            define(program, known, let, in_loop=True)
        if any(kind_of(known, word) != WORD for word in generator.added):
            raise broken("number", kernel.name, generator.added, "no words are added")
        for draw in generator.draws:
            if not is_new or draw.name in known or [kind_of(known, word) for word in generator.words] != [WORD] * 4:
                raise broken("number", kernel.name, draw, "it has a name that is taken, or is not of four words")
            known[draw.name] = WORD


def _check_blocks(program: Program, kernel: Kernel, known: dict[str, str]) -> None:
    """Codes are stored of numbers that the loop stores, each block with its scale, and nothing else is codes."""
    coded = [store.array for store in kernel.stores if storage(program.storage(store.array)).is_coded]
    if coded != [one.array for one in kernel.blocks]:
        raise broken("number", kernel.name, coded, "codes are stored without blocks")
    for one in kernel.blocks:
        if one.element in known or one.largest in known or known.get(one.draw) != WORD:
            raise broken("number", kernel.name, one.array, "a name of its blocks is taken, or no random bits are there")
        known[one.element] = NUMBER
        rounds = (one.sized, one.size, WORD), (one.block, one.kept, NUMBER), (one.lets, one.code, WORD)
        for i, (lets, result, wanted) in enumerate(rounds):
            if i == 1:  # sizes are known
                known[one.largest] = WORD
            for let in lets:
                define(program, known, let, in_loop=True)
            if kind_of(known, result) != wanted:
                raise broken("number", kernel.name, one.array, f"{result!r} is not {wanted}")
        space = space_in(program, one.scale)
        if not isinstance(space, Axes) or space.length != one.length:
            raise broken("number", kernel.name, one.scale, "it has no scale for each block")


def _check_numbers(program: Program, kernel: Kernel, known: Mapping[str, str]) -> None:
    """Numbers are put where nobody reads old ones any more: by kernels that do nothing else, after all others."""
    last = program.kernels[-1]
    is_end = kernel is last or (last.gathers and kernel is program.kernels[-2] and not kernel.gathers)
    for put in kernel.numbered:
        if not is_end or kernel.arrays or kernel.reductions or kernel.body or (kernel.puts and kernel.gathers):
            raise broken("number", kernel.name, put, "not the last kernel, or one that has other things to do")
        space = Space.ALL if kernel.gathers else Space.TENSOR
        if space_in(program, put.array) is not space or kind_of(known, put.value) != NUMBER:
            raise broken("number", kernel.name, put, "an unknown array, or no number that is defined")


def _check_shared(program: Program, step: Mapping[str, str]) -> None:
    for store in program.shared:
        slot = program.slots.get(store.array)
        if slot is None or slot.over != "all" or kind_of(step, store.value) != NUMBER:
            raise broken("number", program.name, store, "no slot over all, or no number of the step")


def _refuse_repeats(kernel: Kernel, names: Collection[str]) -> None:
    if len(set(names)) < len(names):
        raise broken("number", kernel.name, list(names), "something is stored or defined twice")
