"""What must hold after each stage of lowering. A LoweringError names the stage and the node that broke it.

These are checks of the compiler, not of rules: what an author can get wrong was answered when the rule was defined.
They cost about a fifth of lowering, and always run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from .axes import Axes, Over, is_coarser
from .dtypes import STORAGES
from .errors import LoweringError
from .expr import Call, Const, Expr, Reduction, Select, Symbol
from .kinds import NEWS, Kind, Space
from .ops import Fn, ReduceOp
from .outsides import Outside
from .program import Arg, Kernel, Let, Program, Reduce, Store, made, old, scratch_of
from .rule import PARAMETER, Rule
from .walk import walk

NUMBER, WIDE, TRUTH, WORD = "a number", "a wide number", "a truth", "a word"
"""What a name can stand for; in a loop of less than float64, wide numbers are float64 and never mixed with others."""
NO_NUMBERS = [(space, name) for space in (Space.TENSOR, Space.ALL) for name in STORAGES if name != "float64"]
"""A tensor's own number, and one for all, is of one storage."""


def settled(rule: str, stores: Mapping[Symbol, Expr]) -> None:
    """No flag, no new value and no choice that is made already is left."""
    for node in walk(*stores.values()):
        if isinstance(node, Symbol) and node.kind in (Kind.FLAG, *NEWS.values()):
            raise _broken("settle", rule, node, f"a {node.kind.value} is left")
        if isinstance(node, Select) and isinstance(node.condition, Const):
            raise _broken("settle", rule, node, "a constant choice is left")


def pruned(rule: Rule, stores: Mapping[Symbol, Expr], wanted: Iterable[Expr] = ()) -> None:
    """Every store can reach the parameter or a result: it is one, or its old value is read.

    stores: those of all kinds of steps that the rule itself tells apart. `wanted`: what is wanted beside them.
    """
    read = {node for node in walk(*stores.values(), *wanted) if isinstance(node, Symbol)}
    for target in stores:
        if target is not PARAMETER and target not in read and not rule.slots[target.name].result:
            raise _broken("prune", rule.name, target, "nothing reads what is stored")


def guarded(rule: str, found: Sequence[Reduction]) -> None:
    """A guard is at most one reduction over all tensors, to a truth, of nothing that is reduced itself."""
    for node in found:
        is_truth = node.op is ReduceOp.ALL_FINITE and node.over is Space.ALL
        if not is_truth or len(found) > 1:
            raise _broken("settle", rule, node, "a guard is one all_finite(..., over='all')")


def expanded(rule: str, stores: Mapping[Symbol, Expr], compute: str) -> None:
    """Nothing is left that no backend has words for, and no conversion where all is float64."""
    for node in walk(*stores.values()):
        row = node.fn.row if isinstance(node, Call) else None
        if row is not None and (row.expanded or (row.in_loop and compute == "float64" and row.is_widening)):
            raise _broken("expand", rule, node, f"{row.symbol} is left")


def split(stores: Mapping[Symbol, Expr], stages: Sequence[Sequence[Reduction | Outside]]) -> None:
    """Every reduction, and what every function outside is given, has a kernel after those that it needs.

    It comes before the last one, and does one of the two.
    """
    places = {made: k for k, stage in enumerate(stages) for made in stage}
    mixed = next((stage[0] for stage in stages if len({type(made) for made in stage}) > 1), None)
    if mixed is not None:
        raise _broken("split", "its kernels", mixed, "a kernel reduces and stores for a function")
    needed: dict[Expr, int] = {}
    for node in walk(*stores.values()):
        needed[node] = max([needed[child] for child in node.children], default=-1)
        if isinstance(node, Reduction | Outside):
            place = places.get(node, -1)
            if not needed[node] < place < len(stages) - 1:
                raise _broken("split", "its kernels", node, f"kernel {place} is too early, too late, or none")
            needed[node] = place


def numbered(program: Program) -> None:
    """The program is what program.py says it is."""
    _check_arrays(program)
    joined = [reduce.what for reduce in program.reductions(Space.ALL)]
    if len(set(joined)) < len(joined):
        raise _broken("number", program.name, joined[0], "what goes over all tensors is reduced twice")
    step = dict.fromkeys(program.inputs, NUMBER)
    for let in program.step:
        _define(program, step, let, in_step=True)
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
                raise _broken("number", kernel.name, load, "it is made later, or is not any more what it was")
        there |= {made(reduce.name) for reduce in kernel.reductions}
        there |= {store.array for store in kernel.stores if store.array.startswith("_")}
        there -= {store.array for store in kernel.stores if not store.array.startswith("_")}


def _check_detours(program: Program, step: Mapping[str, str]) -> None:
    """A function is given what its kernel has stored, and no earlier kernel reads what it returns."""
    lent: set[str] = set()
    for kernel in program.kernels:
        early = {load.array for load in kernel.loads} & {*program.scratch} - lent
        if early:
            raise _broken("number", kernel.name, sorted(early), "scratch is read before it is there")
        own = {detour.array for detour in kernel.detours}
        if (
            own != {store.array for store in kernel.stores if kernel.detours}
            or own & lent
            or len(own) < len(kernel.detours)
        ):
            raise _broken("number", kernel.name, sorted(own), "a function is given what its kernel does not store")
        for detour in kernel.detours:
            if any(_kind(step, number) != NUMBER for number in detour.numbers):
                raise _broken("number", kernel.name, str(detour), "a number is not known before the step")
        lent |= own


def _check_guard(program: Program) -> None:
    """The first kernel reduces the guard, to what says whether all is finite."""
    ops = {ReduceOp.ALL_FINITE, *([ReduceOp.SUM_OF_SQUARES] if program.compute == "float32" else [])}
    if program.guard is not None and (program.guarding is None or program.guarding.op not in ops):
        raise _broken("number", program.name, program.guard, "the first kernel does not reduce the guard")


def _check_arrays(program: Program) -> None:
    names = [array.name for array in program.arrays]
    inputs = [array.name for array in program.arrays if array.is_brought and array.name != "gradient"]
    own = [array.name for array in program.arrays if array.is_made]
    order = ["parameter", "gradient", *inputs, *program.slots, *map(scratch_of, range(len(program.scratch))), *own]
    if names != [name for name in order if name in names]:
        raise _broken("number", program.name, names, "arrays are unknown, twice, or out of order")
    for array in program.arrays:
        is_wrong = array.is_scratch and (array.storage, array.space) != (program.compute, Space.ELEMENT)
        if is_wrong or array.storage not in STORAGES or (array.space, array.storage) in NO_NUMBERS:
            raise _broken("number", program.name, array, "no such storage or space")
    if program.compute not in STORAGES:
        raise _broken("number", program.name, program.compute, "no such type")


def _check_kernel(program: Program, kernel: Kernel, step: Mapping[str, str], reduced: Mapping[str, Over]) -> None:
    known = dict(step)
    for given in kernel.givens:
        is_there = given.over is Space.TENSOR if given.hyper else reduced.get(given.name) is given.over
        if given.array:
            is_one = given.over is not Space.ELEMENT and _space(program, given.array) is given.over
            is_there = is_one and given.name == old(given.array)
        if not is_there or given.name in known:
            raise _broken("number", kernel.name, given, "no earlier kernel and no tensor has it, or it is there twice")
        known[given.name] = NUMBER
    late = {given.name for given in kernel.givens if not given.hyper}
    for let in kernel.head:
        late |= {let.name} if late.intersection(let.args) else set()
        _define(program, known, let, is_early=let.name not in late)
    for name in kernel.uniforms:
        if known.get(name) == TRUTH:
            raise _broken("number", kernel.name, name, "a truth enters the loop; it must come as 1 or 0")
    for load in kernel.loads:
        space = _space(program, load.array)
        is_there = space == kernel.space or (isinstance(space, Axes) and is_coarser(space, kernel.space))
        if load.name in known or load.name != old(load.array) or not is_there:
            raise _broken("number", kernel.name, load, "an unknown array, or a name that is wrong or taken")
        known[load.name] = NUMBER
    _check_draws(program, kernel, known)
    for let in kernel.body:
        _define(program, known, let, in_loop=not kernel.is_coarse)
    for store in kernel.stores:
        is_right = store.array in program.scratch if kernel.detours else kernel is program.last or kernel.is_coarse
        if not is_right or _space(program, store.array) != kernel.space:
            raise _broken("number", kernel.name, store, "not the last kernel, or an unknown array")
    _check_numbers(program, kernel, known)
    _refuse_repeats(kernel, [store.array for store in (*kernel.stores, *kernel.numbered)])
    _refuse_repeats(kernel, [*reduced, *(reduce.name for reduce in kernel.reductions)])
    ends: list[Store | Reduce] = [*kernel.stores, *kernel.reductions]
    for end in ends:
        if _kind(known, end.value) != NUMBER:
            raise _broken("number", kernel.name, end, f"{end.value!r} is no number that is defined")
    for reduce in kernel.reductions:
        if (reduce.what.op, reduce.what.over) != (reduce.op, reduce.over):
            raise _broken("number", kernel.name, reduce, f"it is not what the rule wrote, `{reduce.what}`")


def _check_draws(program: Program, kernel: Kernel, known: dict[str, str]) -> None:
    """Random bits come from four words, and have names of their own."""
    for generator in kernel.generators:
        is_new = not {generator.counted, generator.stream} & {*known}
        known |= {generator.counted: WORD, generator.stream: WORD}
        for let in generator.lets:
            _define(program, known, let, in_loop=True)
        for draw in generator.draws:
            if not is_new or draw.name in known or [_kind(known, word) for word in generator.words] != [WORD] * 4:
                raise _broken("number", kernel.name, draw, "it has a name that is taken, or is not of four words")
            known[draw.name] = WORD


def _check_numbers(program: Program, kernel: Kernel, known: Mapping[str, str]) -> None:
    """Numbers are put where nobody reads old ones any more: by kernels that do nothing else, after all others."""
    last = program.kernels[-1]
    is_end = kernel is last or (last.gathers and kernel is program.kernels[-2] and not kernel.gathers)
    for put in kernel.numbered:
        if not is_end or kernel.arrays or kernel.reductions or kernel.body or (kernel.puts and kernel.gathers):
            raise _broken("number", kernel.name, put, "not the last kernel, or one that has other things to do")
        space = Space.ALL if kernel.gathers else Space.TENSOR
        if _space(program, put.array) is not space or _kind(known, put.value) != NUMBER:
            raise _broken("number", kernel.name, put, "an unknown array, or no number that is defined")


def _check_shared(program: Program, step: Mapping[str, str]) -> None:
    for store in program.shared:
        slot = program.slots.get(store.array)
        if slot is None or slot.over != "all" or _kind(step, store.value) != NUMBER:
            raise _broken("number", program.name, store, "no slot over all, or no number of the step")


def _define(
    program: Program,
    known: dict[str, str],
    let: Let,
    in_step: bool = False,
    in_loop: bool = False,
    is_early: bool = False,
) -> None:
    """A let defines a new name from known ones of the right kinds; of an early one, all were there before the step."""
    row = let.fn.row
    is_narrow = in_loop and program.compute != "float64"
    kinds = [_kind(known, arg) for arg in let.args]
    number = WIDE if WIDE in kinds or let.fn is Fn.NARROW or (row.of_bits and is_narrow) else NUMBER
    number = WORD if row.of_words or (let.fn is Fn.WHERE and WORD in kinds) else number
    found = [
        number if kind == NUMBER and not isinstance(arg, str) else kind
        for arg, kind in zip(let.args, kinds, strict=True)
    ]
    wanted = [TRUTH if row.of_truths else number] * row.operands
    if let.fn is Fn.WHERE:
        wanted = [TRUTH, *[TRUTH if found[-1] == TRUTH else number] * 2]
    if let.name in known or found != wanted or (let.fn is Fn.WIDE and number is WIDE):
        told = ", ".join(f"{arg!r} is {kind or 'undefined'}" for arg, kind in zip(let.args, kinds, strict=True))
        raise _broken("number", program.name, let, f"{let.name!r} is defined twice, or an operand is wrong: {told}")
    if row.in_step and not in_step and not (is_early and let.fn is Fn.ROUNDED):
        raise _broken("number", program.name, let, f"{let.fn.symbol} is left to the host, not to kernels")
    if row.expanded or (row.in_loop and not (in_loop and _is_of(let.fn, program.compute))):
        raise _broken("number", program.name, let, f"{let.fn.symbol} is no operation of such a program")
    if row.in_loop:
        number = WIDE if let.fn is Fn.WIDE else WORD if row.is_word else NUMBER
    known[let.name] = TRUTH if row.is_truth else wanted[-1] if let.fn is Fn.WHERE else number


def _is_of(fn: Fn, compute: str) -> bool:
    """Whether an operation of loops is one of a program that computes in a type."""
    if fn in (Fn.WORD_BITS, Fn.NUMBER_OF_BITS):
        return compute == "float32"
    return compute != "float64" or not fn.row.is_widening


def _kind(known: Mapping[str, str], arg: Arg) -> str | None:
    if isinstance(arg, str):
        return known.get(arg)
    return TRUTH if isinstance(arg, bool) else NUMBER


def _space(program: Program, array: str) -> Over | None:
    return next((declared.space for declared in program.arrays if declared.name == array), None)


def _refuse_repeats(kernel: Kernel, names: Collection[str]) -> None:
    if len(set(names)) < len(names):
        raise _broken("number", kernel.name, list(names), "something is stored or defined twice")


def _broken(stage: str, where: str, node: object, what: str) -> LoweringError:
    text = str(node) if isinstance(node, Expr | Let) else repr(node)
    return LoweringError(f"after {stage}, in {where}: {what}. Received: `{text}`. This is a fault of the compiler.")
