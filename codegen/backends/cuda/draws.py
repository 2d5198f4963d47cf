"""Random bits in the CUDA frame: a call of a generator for as many elements as it has bits for."""

from __future__ import annotations

from collections.abc import Iterator

from ...pieces import WORDS
from ...printer import indented, mangled, operand
from ...program import Draw, Generator, Kernel
from .printing import print_lets

BEGIN = "begin"
"""The variable that holds the number in its tensor of the first element of what is done at once.

Vectors begin at multiples of their lanes there, so that all bits of one are of one call, or of whole calls; single
elements may be any.
"""


def functions(kernel: Kernel, k: int, compute: str) -> Iterator[str]:
    """What makes the four words of a call, for the k-th kernel."""
    for j, made in enumerate(kernel.generators):
        yield from ("@device", f"def {_name(k, j)}({', '.join([made.counted, made.stream, *_numbers(kernel, made)])}):")
        yield from indented(print_lets(made.lets, compute))
        yield f"    return {', '.join(operand(word, 'uint32') for word in made.words)}"
        yield from ("", "")


def of_vector(kernel: Kernel, k: int, index: str, v: int, lanes: int) -> Iterator[str]:
    """The bits of the elements of the v-th vector, which begins at element `index` of the row."""
    first = f"{BEGIN} + int64({index})"
    for j, made in enumerate(kernel.generators):
        for draw in made.draws:
            for lane in range(0, lanes, made.each):
                words = [f"w{v}{lane // made.each}_{mangled(draw.name)}_{i}" for i in range(WORDS)]
                yield f"{', '.join(words)} = {_called(kernel, _name(k, j), made, draw, f'{first} + {lane}')}"
                names = [f"l{v}{lane + i}_{mangled(draw.name)}" for i in range(min(lanes, made.each))]
                if lanes < made.each:
                    yield f"part = int32(({first}) % {made.each})"
                    yield from (f"{name} = {_chosen(made, words, f'(part + {i})')}" for i, name in enumerate(names))
                else:
                    yield from (f"{name} = {_part(made, words, i)}" for i, name in enumerate(names))


def of_single(kernel: Kernel, k: int, index: str) -> Iterator[str]:
    """The bits of the row's element `index`."""
    element = f"{BEGIN} + int64({index})"
    for j, made in enumerate(kernel.generators):
        for draw in made.draws:
            words = [f"w_{mangled(draw.name)}_{i}" for i in range(WORDS)]
            yield f"{', '.join(words)} = {_called(kernel, _name(k, j), made, draw, element)}"
            yield f"part = int32(({element}) % {made.each})"
            yield f"{mangled(draw.name)} = {_chosen(made, words, 'part')}"


def _part(made: Generator, words: list[str], i: int) -> str:
    """The bits of the i-th element of a call."""
    if made.bits == 32:
        return words[i]
    return f"word_right({words[i // 2]}, uint32(16))" if i % 2 else _lower(words[i // 2])


def _chosen(made: Generator, words: list[str], part: str) -> str:
    """The bits of the element of a call that a variable says."""
    first, second, third, last = words
    a, b, c = (made.each // WORDS * i for i in (1, 2, 3))
    chosen = f"({first} if {part} < {a} else {second}) if {part} < {b} else ({third} if {part} < {c} else {last})"
    return chosen if made.bits == 32 else _lower(f"word_right({chosen}, uint32({part} % 2 * 16))")


def _lower(word: str) -> str:
    return f"word_and({word}, uint32(65535))"


def _name(k: int, j: int) -> str:
    return f"drawn_{k}_{j}"


def _called(kernel: Kernel, name: str, made: Generator, draw: Draw, element: str) -> str:
    arguments = [f"uint32(({element}) // {made.each})", f"uint32({draw.stream})", *_numbers(kernel, made)]
    return f"{name}({', '.join(arguments)})"


def _numbers(kernel: Kernel, made: Generator) -> list[str]:
    """The numbers from outside the loop that words are made of."""
    used = {arg for let in made.lets for arg in let.args}
    return [mangled(name) for name in kernel.uniforms if name in used]
