"""Writer: numbers expressions, and so makes kernels of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from . import blocks, draws, rounding
from .axes import Axes
from .dtypes import BLOCK, storage
from .expr import Call, Const, Expr, Reduction, Select, Symbol
from .kinds import Kind, Rate, Space
from .ops import Fn
from .outsides import Outside
from .pieces import Array, Coded, Detour, Draw, Generator, scale_of, scratch_of
from .program import Arg, Gather, Given, Kernel, Let, Load, Reduce, Store, array_of, new, old
from .stages import Stage
from .walk import rewrite, walk

COUNTERS = dict(zip((*rounding.COUNTERS, *draws.COUNTERS), ("q0", "q1", "q2", "q3"), strict=True))
"""What the words are called that generators make theirs of."""

ONE, ZERO = Const(1.0), Const(0.0)
NOTHING: Mapping[Symbol, Expr] = {}


class Words(Protocol):
    """What makes random words: a module, of rounding or of a rule's draws."""

    COUNTERS: tuple[Symbol, Symbol]
    EACH: int
    CALLS: int
    TURNS: int

    def drawn_words(self) -> tuple[Expr, ...]:
        """The four words of a call, which are for so many elements."""

    def added_words(self) -> tuple[Expr, ...]:
        """What is added to them from turn to turn."""

    def stream_of(self, name: str, /) -> int:
        """The word that tells what is drawn under a name from the others of a variable."""


class Writer:
    """All kernels of a program share names, so that the next can read a reduction.

    arrays: what the program makes for itself. `sizes`: what tensors' counts are called that depend on their axes.
    kept:   the storages of arrays, where they are not kept as they are computed.
    """

    def __init__(self, kept: Mapping[str, str]) -> None:
        self.kept = kept
        self.step: dict[Expr, Let] = {}
        self.results: dict[Expr, str] = {}
        self.scratch: dict[Outside, str] = {}
        self.arrays: dict[str, Array] = {}
        self.sizes: dict[str, Axes] = {}

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
        self._begin()
        self.wanted = {value: new(target.name) for target, value in stores.items()}
        self.wanted |= {one.arg: new(name) for one, name in outsides.items()}
        for reduction in reductions:
            self.results[reduction] = f"r{len(self.results)}"
        roots = [*(one.arg for one in stage), *stores.values()]
        for node in walk(*roots, into=self._is_in_loop):  # operands first, so that nothing recurs
            if self.is_here(node):
                self.element(node)
        reduces = [Reduce(self.results[r], r.op, self.element(r.arg), r.over, r.written) for r in reductions]
        written = [Store(target.name, self.element(value)) for target, value in stores.items()]
        written += [Store(name, self.element(one.arg)) for one, name in outsides.items()]
        kept = [(store.array, storage(self.kept.get(store.array, "float32"))) for store in written]
        coded = [self._coded(array) for array, row in kept if row.is_coded]
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
            generators=tuple(self.generators.values()),
            detours=tuple(detours),
            blocks=tuple(coded),
        )

    def _begin(self) -> None:
        """Nothing is written of the next kernel yet."""
        self.givens: dict[Expr, Given] = {}
        self.head: dict[Expr, Let] = {}
        self.loads: dict[Expr, Load] = {}
        self.body: dict[Expr, Let] = {}
        self.draws: dict[Expr, Draw] = {}
        self.generators: dict[Kind, Generator] = {}
        self.counts, self.letter = dict.fromkeys("tucwb", 0), "t"

    def drawn(self, e: Symbol) -> str:
        """The name of the random bits that a draw of a rule has, or what is stored to an array is rounded by."""
        if e in self.draws:
            return self.draws[e].name
        kind: Words = draws if e.kind is Kind.RANDOM else rounding
        what = f"draw {e.name}" if e.kind is Kind.RANDOM else e.name
        draw = self.draws[e] = Draw(f"n{len(self.draws)}", what, kind.stream_of(e.name))
        made = self.generators.get(e.kind)
        if made is None:
            made = self._generator(kind)
        self.generators[e.kind] = made._replace(draws=(*made.draws, draw))
        return draw.name

    def _generator(self, kind: Words) -> Generator:
        """What makes words; all names in it are its own."""
        outer, self.body, self.letter = self.body, {}, "w"
        words = tuple([self.element(word) for word in kind.drawn_words()])
        added = tuple([self.element(word) for word in kind.added_words()])
        lets, self.body, self.letter = tuple(self.body.values()), outer, "t"
        counted, stream = (COUNTERS[e] for e in kind.COUNTERS)
        return Generator(counted, stream, lets, words, kind.EACH, (), kind.CALLS, kind.TURNS, added)

    def _coded(self, array: str) -> Coded:
        """How an array of codes is stored."""
        draw = self.drawn(Symbol(Kind.DRAW, array))
        element, largest = self.made_up("b"), self.made_up("b")
        kept = storage(self.kept[array])
        known: dict[Expr, Arg] = {blocks.VALUE: element, blocks.LARGEST: largest, blocks.RANDOM: draw}
        size, scale, code = blocks.size(), blocks.scale(), blocks.code(kept.most, not kept.is_unsigned)
        of_size = dict(known)  # what the second loop needs of this it computes anew
        sized = self._lets([size], of_size)
        once = [node for node in walk(code) if blocks.is_of_block(node)]
        block = self._lets([scale, *once], known)
        lets = self._lets([code], known)
        names = array, scale_of(array), BLOCK, element, draw
        return Coded(*names, sized, str(of_size[size]), largest, block, known[scale], lets, str(known[code]))

    def _lets(self, roots: Sequence[Expr], known: dict[Expr, Arg]) -> tuple[Let, ...]:
        """What makes some values of what is known, which has them then, too."""
        made = []
        for node in walk(*roots, into=lambda node: node not in known):
            if isinstance(node, Const):
                known[node] = node.value
            elif node not in known:
                fn, args = operation(node)
                made.append(Let(self.made_up("b"), fn, tuple([known[arg] for arg in args])))
                known[node] = made[-1].name
        return tuple(made)

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
        return self.is_here(e) and not isinstance(e, Outside)

    def is_here(self, e: Expr) -> bool:
        """Whether the loop computes `e`, or loads it, an element at a time."""
        return e.rate is Rate.ELEMENT

    def made_up(self, letter: str) -> str:
        """A name for what the rule does not name."""
        self.counts[letter] += 1
        return f"{letter}{self.counts[letter] - 1}"

    def element(self, e: Expr) -> Arg:
        """The name (or constant) of `e` as the loop sees it."""
        there = self.body.get(e)
        if there is not None:
            return there.name
        if isinstance(e, Const):
            return e.value
        if not self.is_here(e):
            return self.from_outside(e)
        if isinstance(e, Symbol) and e.kind in (Kind.DRAW, Kind.RANDOM):
            return COUNTERS.get(e) or self.drawn(e)
        if isinstance(e, Symbol):
            return self.loads.setdefault(e, Load(old(array_of(e)), array_of(e))).name
        if isinstance(e, Outside):
            array = self.scratch[e]
            return self.loads.setdefault(e, Load(old(array), array)).name
        fn, args = operation(e)
        names = tuple([self.element(arg) for arg in args])
        self.body[e] = made = Let(self.wanted.get(e) or self.made_up(self.letter), fn, names)
        return made.name

    def from_outside(self, e: Expr) -> Arg:
        """What the loop does not compute."""
        return self._truth(e, self.body) if e.is_condition else self.uniform(e)

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
            if e.over is not None:
                self.sizes[e.name] = e.over
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
