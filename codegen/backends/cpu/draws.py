"""Random bits in the CPU frame: made for some hundred elements at a time, then read beside them.

One call of a generator has the bits of several elements. A loop over calls is vectorised as one over elements is, and
its words stand in a buffer as the elements lie in memory, so that the loop over elements reads them one after another.

A generator's words are computed in 64 bits each (`lane_...` in `words.py`): a vector has room for half as many, and
the halves of a product, two multiplications and six moves of 32-bit vectors, are one multiplication there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...pieces import WORDS
from ...printer import indented, mangled, operand, print_lets
from ...program import Generator, Kernel, Program

TOGETHER = 512
"""Elements whose bits are made together: enough for vectors of calls, and few enough for the nearest cache."""

ABREAST, CALLS_ABREAST = 8, 4
"""Vectors of numbers that are made of words, and of calls, that are worked on at once. With twice as many numbers as
calls a step of SGLD takes a tenth less than with as many, also where there are but 16 registers (measured).
"""

WHOLE = ABREAST * 16
"""Elements of so many of the widest vectors; with fewer LLVM knows best (two thirds of the time, measured)."""


def buffers(program: Program) -> Iterator[str]:
    """The lines that make buffers for all that a pass draws."""
    for j in range(max(len(kernel.generators) for kernel in program.kernels)):
        made = [kernel.generators[j] for kernel in program.kernels if j < len(kernel.generators)]
        yield f"words_drawn_{j} = words({max(len(one.draws) * _room(one) for one in made)})"
        if any(one.added for one in made):
            yield f"words_added_{j} = words({max(one.calls * WORDS for one in made)})"


def _room(made: Generator) -> int:
    """Words of a draw: elements may begin and end within what is made together."""
    return (TOGETHER // _span(made) + 1) * _span(made) // made.each * WORDS


def _span(made: Generator) -> int:
    """Elements whose words are made together."""
    return made.each * made.calls * made.turns


def read(kernel: Kernel) -> Iterator[str]:
    """The bits of the element `lane` of those that buffers were filled for; blocks read their own later."""
    later = {one.draw for one in kernel.blocks}
    for made in kernel.generators:
        for draw in made.draws:
            if draw.name not in later:
                yield f"{mangled(draw.name)} = {taken(kernel, draw.name, 'lane')}"


def over(kernel: Kernel, body: Iterable[str]) -> Iterator[str]:
    """The loop over `width` elements, of which `lane` is one. To make numbers of words is one long chain of operations.

    It is there twice then: what is left of so many vectors at once is done in few, nearly all of a short tensor.
    """
    loop = ["for lane in range(width):", *indented(body)]
    if any(made.bits == 32 for made in kernel.generators):
        yield f"if width >= {WHOLE}:"
        yield from indented([*loop, f"    abreast({ABREAST})"])
        yield "else:"
        loop = [*indented(loop)]
    yield from loop


def taken(kernel: Kernel, draw: str, lane: str) -> str:
    """The bits of an element, of a draw."""
    j, made = next((j, made) for j, made in enumerate(kernel.generators) if draw in [one.name for one in made.draws])
    k = [one.name for one in made.draws].index(draw)
    place = f"shift_{j} + {lane} + {made.each // WORDS * k * _room(made)}"
    return f"words_drawn_{j}[{place}]" if made.bits == 32 else f"half(words_drawn_{j}, {place})"


def filling(kernel: Kernel, first: str, compute: str) -> Iterator[str]:
    """The loops over draws and calls, for `width` elements from `first` on."""
    if kernel.generators:
        yield f"first = {first}"
    for j, made in enumerate(kernel.generators):
        yield from _filling(j, made, compute)


def _filling(j: int, made: Generator, compute: str) -> Iterator[str]:
    """One text for all draws of a generator, which takes its time to compile."""
    first, *others = made.draws
    span, stride = _span(made), made.calls * WORDS
    yield f"shift_{j} = first % {span}"
    yield f"for k in range({len(made.draws)}):"
    yield f"    {made.stream} = uint64({first.stream})"
    for k, draw in enumerate(others, 1):
        yield f"    {made.stream} = uint64({draw.stream}) if k == {k} else {made.stream}"
    spans = f"range((shift_{j} + width + {span - 1}) // {span})"
    if made.turns == 1:
        yield f"    words_begin = k * {_room(made)}"
        yield f"    for j in {spans}:"
        yield from indented([*_called(j, made, f"first // {span} + j", compute), f"abreast({CALLS_ABREAST})"], 2)
        return
    yield f"    for group in {spans}:"
    yield f"        words_begin = k * {_room(made)} + group * {stride * made.turns}"
    yield f"        for j in range({made.calls}):"
    yield from indented(_called(j, made, f"(first // {span} + group) * {made.calls * made.turns} + j", compute), 3)
    yield f"        take_turns(words_drawn_{j}, words_begin, words_added_{j}, {stride}, {made.turns})"


def _called(j: int, made: Generator, call: str, compute: str) -> Iterator[str]:
    """The words of the `j`-th call of those that are made together, and what is added to them."""
    yield f"{made.counted} = uint64({call})"
    for line in print_lets(made.lets, compute):
        yield line.replace("word_", "lane_").replace("uint32(", "uint64(")
    for k, word in enumerate(made.words):
        yield f"words_drawn_{j}[words_begin + {WORDS} * j + {k}] = uint32({operand(word, 'uint32')})"
    for k, word in enumerate(made.added):
        yield f"words_added_{j}[{WORDS} * j + {k}] = uint32({operand(word, 'uint32')})"
