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

from . import verify
from .dtypes import storage
from .expand import expanded
from .expr import Call, Const, Expr, Reduction, Select, Symbol
from .guards import guarded
from .kinds import Kind, Rate, Space
from .names import BUILT_IN_FLAGS
from .ops import Fn
from .outsides import Outside
from .parts import Slot
from .pieces import Array, Detour, Draw, Generator, scratch_of
from .program import Arg, Gather, Given, Kernel, Let, Load, Program, Reduce, Store, array_of, new, old
from .rounding import CALL, STREAM, arrays_of, drawn_words, rounded, stream_of
from .rule import PARAMETER, Rule
from .simplify import settle
from .stages import Stage, split
from .walk import rewrite, walk

Stores = dict[Symbol, Expr]

ONE, ZERO = Const(1.0), Const(0.0)
NOTHING: Mapping[Symbol, Expr] = {}


def lower(rule: Rule, flags: Collection[str], dtype: str, kept: Mapping[str, str] | None = None) -> Program:
    """The program of `rule` with exactly the flags in `flags` on.

    dtype: the storage of parameters and slots; the program computes in its type.
    kept:  the storages of slots, gradients ("gradient") and inputs ("x.<name>"), where they have another.
    """
    storages = kept or {}
    live_stores, slots = live(rule, flags)
    compute = storage(dtype).compute
    values = expanded(live_stores, compute)
    verify.expanded(rule.name, values, compute)
    shared = {target: value for target, value in values.items() if target.kind is Kind.SHARED_SLOT}
    numbers = {target: value for target, value in values.items() if target.kind is Kind.TENSOR_SLOT}
    gathers = {target: value for target, value in values.items() if target.kind is Kind.GATHERED_SLOT}
    stores = {target: value for target, value in values.items() if target not in shared | numbers | gathers}
    stages = split({**stores, **numbers, **gathers})
    guard = guarded(rule, flags, compute, stages, values.values())
    stores = rounded(stores, {"parameter": dtype, **storages}, compute)
    writer = _Writer()
    suffix = "".join(f"+{flag}" for flag in (*rule.flags, *BUILT_IN_FLAGS) if flag in flags)
    kernels = tuple(
        writer.kernel(f"{rule.name}.{depth}", stage, stores if depth == len(stages) - 1 else {})
        for depth, stage in enumerate(stages)
    )
    if numbers:
        kernels += (writer.kernel(f"{rule.name}.{len(kernels)}", [], {}, numbers),)
    if gathers:
        kernels += (writer.gathering(f"{rule.name}.{len(kernels)}", gathers),)
    put = tuple(Store(target.name, writer.known(value)) for target, value in shared.items())
    names = ("parameter", "gradient", *(f"x.{name}" for name in rule.inputs), *slots)
    step, arrays = tuple(writer.step.values()), tuple(arrays_of(kernels, names, slots, dtype, storages))
    arrays += tuple(Array(name, compute) for name in writer.scratch.values())
    held = None if guard is None else writer.results[guard]
    program = Program(rule.name + suffix, compute, arrays, step, kernels, slots, put, held)
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
    """Gathered slots that tensors of some shape read: tensors of any shape have a part in what is reduced for those."""
    shapes = {name for name, flag in rule.flags.items() if flag.of is not None}
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


class _Writer:
    """Numbers expressions. All kernels of a program share names, so that the next can read a reduction."""

    def __init__(self) -> None:
        self.step: dict[Expr, Let] = {}
        self.results: dict[Expr, str] = {}
        self.scratch: dict[Outside, str] = {}

    def kernel(
        self,
        name: str,
        stage: Stage,
        stores: Mapping[Symbol, Expr],
        numbers: Mapping[Symbol, Expr] = NOTHING,
    ) -> Kernel:
        """The kernel that makes what a stage has, and stores, or puts these numbers."""
        reductions = [one for one in stage if isinstance(one, Reduction)]
        outsides = {one: scratch_of(len(self.scratch) + i) for i, one in enumerate(stage) if isinstance(one, Outside)}
        self.givens: dict[Expr, Given] = {}
        self.head: dict[Expr, Let] = {}
        self.loads: dict[Expr, Load] = {}
        self.body: dict[Expr, Let] = {}
        self.draws: dict[Expr, Draw] = {}
        self.generator: Generator | None = None
        self.counts, self.letter = dict.fromkeys("tucw", 0), "t"
        self.wanted = {value: new(target.name) for target, value in stores.items()}
        self.wanted |= {one.arg: new(name) for one, name in outsides.items()}
        for reduction in reductions:
            self.results[reduction] = f"r{len(self.results)}"
        roots = [*(one.arg for one in stage), *stores.values()]
        for node in walk(*roots, into=self._is_in_loop):  # operands first, so that nothing recurs
            if node.rate is Rate.ELEMENT:
                self.element(node)
        reduces = [Reduce(self.results[r], r.op, self.element(r.arg), r.over, r.written) for r in reductions]
        written = [Store(target.name, self.element(value)) for target, value in stores.items()]
        written += [Store(name, self.element(one.arg)) for one, name in outsides.items()]
        detours = [Detour(name, e.function, tuple(map(self.known, e.numbers))) for e, name in outsides.items()]
        self.scratch |= outsides
        puts = [Store(target.name, self.uniform(value)) for target, value in numbers.items()]
        return Kernel(
            name,
            tuple(self.givens.values()),
            tuple(self.head.values()),
            tuple(self.loads.values()),
            tuple(self.body.values()),
            tuple(written),
            tuple(reduces),
            tuple(puts),
            draws=tuple(self.draws.values()),
            generator=self.generator,
            detours=tuple(detours),
        )

    def drawn(self, e: Symbol) -> str:
        """The name of the random bits for what is stored to an array."""
        if e is CALL or e is STREAM:
            return "q0" if e is CALL else "q1"
        if self.generator is None:
            outer, self.body, self.letter = self.body, {}, "w"
            words = tuple([self.element(word) for word in drawn_words()])
            lets, self.body, self.letter = tuple(self.body.values()), outer, "t"
            self.generator = Generator(self.drawn(CALL), self.drawn(STREAM), lets, words)
        return self.draws.setdefault(e, Draw(f"n{len(self.draws)}", e.name, stream_of(e.name))).name

    def gathering(self, name: str, gathers: Mapping[Symbol, Expr]) -> Kernel:
        """The kernel that makes these numbers for all tensors."""
        self.givens, self.head = {}, {}
        self.counts = dict.fromkeys("tuc", 0)
        written = rewrite(gathers.values(), lambda node: node.written if isinstance(node, Reduction) else node)
        made = [Gather(target.name, self.uniform(value), written[value]) for target, value in gathers.items()]
        head = tuple(self.head.values())
        return Kernel(name, tuple(self.givens.values()), head, (), (), (), (), gathers=tuple(made))

    def _is_in_loop(self, e: Expr) -> bool:
        """Whether a loop computes the operands of `e`: what a function has made of them is loaded."""
        return e.rate is Rate.ELEMENT and not isinstance(e, Outside)

    def made_up(self, letter: str) -> str:
        """A name for what the rule does not name."""
        self.counts[letter] += 1
        return f"{letter}{self.counts[letter] - 1}"

    def element(self, e: Expr) -> Arg:
        """The name (or constant) of `e` as the loop sees it."""
        if isinstance(e, Const):
            return e.value
        if e.rate < Rate.ELEMENT:
            return self._truth(e, self.body) if e.is_condition else self.uniform(e)
        if isinstance(e, Symbol) and e.kind is Kind.DRAW:
            return self.drawn(e)
        if isinstance(e, Symbol):
            return self.loads.setdefault(e, Load(old(array_of(e)), array_of(e))).name
        if isinstance(e, Outside):
            array = self.scratch[e]
            return self.loads.setdefault(e, Load(old(array), array)).name
        if e not in self.body:
            fn, args = operation(e)
            names = tuple([self.element(arg) for arg in args])
            self.body[e] = Let(self.wanted.get(e) or self.made_up(self.letter), fn, names)
        return self.body[e].name

    def uniform(self, e: Expr) -> Arg:
        """The name of `e`, which is the same for all elements, as a kernel's head sees it."""
        if self._is_new_in_head(e):
            for node in walk(e, into=self._is_new_in_head):
                if self._is_new_in_head(node):
                    fn, args = operation(node)
                    self.head[node] = Let(self.made_up("u"), fn, tuple([self._in_head(arg) for arg in args]))
        return self._in_head(e)

    def _is_new_in_head(self, e: Expr) -> bool:
        return not (e.is_known or isinstance(e, Reduction | Symbol) or e in self.head)

    def _in_head(self, e: Expr) -> Arg:
        if isinstance(e, Const):
            return e.value
        if e.is_known:
            return self._truth(e, self.head) if e.is_condition else self.known(e)
        if isinstance(e, Reduction):
            return self.givens.setdefault(e, Given(self.results[e], e.over)).name
        if isinstance(e, Symbol):
            if e.kind in (Kind.TENSOR_SLOT, Kind.GATHERED_SLOT):
                over = Space.ALL if e.kind is Kind.GATHERED_SLOT else Space.TENSOR
                return self.givens.setdefault(e, Given(old(e.name), over, array=e.name)).name
            return self.givens.setdefault(e, Given(f"h.{e.name}", Space.TENSOR, e.name)).name
        return self.head[e].name

    def _truth(self, e: Expr, lets: dict[Expr, Let]) -> Arg:
        """A condition from outside: only numbers come in, so it is computed there as 1 or 0, and tested here."""
        if e not in lets:
            number = self.uniform(Select(e, ONE, ZERO))
            lets[e] = Let(self.made_up("c"), Fn.NE, (number, 0.0))
        return lets[e].name

    def known(self, e: Expr) -> Arg:
        """The name of `e`, which the host computes before the step."""
        for node in walk(e, into=lambda node: node not in self.step):
            if isinstance(node, Call | Select) and node not in self.step:
                fn, args = operation(node)
                self.step[node] = Let(f"k{len(self.step)}", fn, tuple([self._in_step(arg) for arg in args]))
        return self._in_step(e)

    def _in_step(self, e: Expr) -> Arg:
        if isinstance(e, Const):
            return e.value
        if isinstance(e, Symbol):
            return old(e.name) if e.kind is Kind.SHARED_SLOT else f"h.{e.name}"
        return self.step[e].name


def operation(e: Expr) -> tuple[Fn, tuple[Expr, ...]]:
    """`e` as an operation and its operands."""
    if isinstance(e, Select):
        return Fn.WHERE, e.children
    assert isinstance(e, Call), e
    return e.fn, e.args
