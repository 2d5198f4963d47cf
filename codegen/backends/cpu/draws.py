"""Random bits in the CPU frame: made for some hundred elements at a time, then read beside them.

One call of the generator has the bits of eight elements. A loop over calls is vectorised as one over elements is, and
its words stand in a buffer as the elements lie in memory, so that the loop over elements reads them one after another.

The generator's words are computed in 64 bits each (`lane_...` in `words.py`): a vector has room for half as many, and
the halves of a product, two multiplications and six moves of 32-bit vectors, are one multiplication there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...printer import indented, mangled, operand, print_lets
from ...program import Generator, Kernel, Program
from ...rounding import EACH, WORDS

TOGETHER = 512
"""Elements whose bits are made together: enough for vectors of calls, and few enough for the nearest cache."""

ROOM = (TOGETHER // EACH + 1) * WORDS
"""Words of a buffer: elements may begin and end within a call."""


BUFFER = "words_drawn"


def buffers(program: Program) -> Iterator[str]:
    """The line that makes a buffer for all arrays that a pass draws bits for."""
    most = max(len(kernel.draws) for kernel in program.kernels)
    if most:
        yield f"{BUFFER} = words({most * ROOM})"


def loop(kernel: Kernel, start: str, compute: str, body: Iterable[str]) -> Iterator[str]:
    """The loop over the `count` elements of a row that begins at element `start`; `body` is that of element `i`."""
    if kernel.generator is None:
        yield "for i in range(count):"
        yield from indented(body)
        return
    yield f"for block in range(0, count, {TOGETHER}):"
    yield f"    width = count - block if count - block < {TOGETHER} else {TOGETHER}"
    yield f"    first = {start} + block"
    yield f"    shift = first % {EACH}"
    yield from indented(filling(kernel, kernel.generator, compute))
    yield "    for lane in range(width):"
    yield "        i = block + lane"
    yield from indented([*read(kernel), *body], 2)


def read(kernel: Kernel) -> Iterator[str]:
    """The bits of the element `lane` of those that a buffer was filled for."""
    for k, draw in enumerate(kernel.draws):
        yield f"{mangled(draw.name)} = half({BUFFER}, shift + lane + {2 * k * ROOM})"


def filling(kernel: Kernel, made: Generator, compute: str) -> Iterator[str]:
    """The loops over arrays and calls, for `width` elements from `first` on.

    One text for all arrays, which takes its time to compile.
    """
    first, *others = kernel.draws
    yield f"for k in range({len(kernel.draws)}):"
    yield f"    {made.stream} = uint64({first.stream})"
    for k, draw in enumerate(others, 1):
        yield f"    {made.stream} = uint64({draw.stream}) if k == {k} else {made.stream}"
    yield f"    for j in range((shift + width + {EACH - 1}) // {EACH}):"
    yield f"        {made.counted} = uint64(first // {EACH} + j)"
    for line in print_lets(made.lets, compute):
        yield "        " + line.replace("word_", "lane_").replace("uint32(", "uint64(")
    for k, word in enumerate(made.words):
        yield f"        {BUFFER}[k * {ROOM} + {WORDS} * j + {k}] = uint32({operand(word, 'uint32')})"
