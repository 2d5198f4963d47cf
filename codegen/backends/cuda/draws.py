"""Random bits in the CUDA frame: a call of the generator for eight elements of a vector, or for a single one."""

from __future__ import annotations

from collections.abc import Iterator

from ...printer import indented, mangled, operand, print_lets
from ...program import Draw, Kernel
from ...rounding import EACH, WORDS

BEGIN = "begin"
"""The variable that holds the number of a row's first element in its tensor."""


def functions(kernel: Kernel, compute: str) -> Iterator[str]:
    """What makes the four words of a call."""
    made = kernel.generator
    if made is not None:
        yield from ("@device", f"def drawn({', '.join([made.counted, made.stream, *_numbers(kernel)])}):")
        yield from indented(print_lets(made.lets, compute))
        yield f"    return {', '.join(operand(word, 'uint32') for word in made.words)}"
        yield from ("", "")


def of_vector(kernel: Kernel, index: str, v: int, lanes: int) -> Iterator[str]:
    """The bits of the elements of the v-th vector, which begins at element `index` of the row."""
    for draw in kernel.draws:
        for group in range(lanes // EACH):
            words = [f"w{v}{group}_{mangled(draw.name)}_{k}" for k in range(WORDS)]
            yield f"{', '.join(words)} = {_called(kernel, draw, f'{BEGIN} + int64({index}) + {EACH * group}')}"
            for half in range(EACH):
                bits = f"word_right({words[half // 2]}, uint32(16))" if half % 2 else _lower(words[half // 2])
                yield f"l{v}{EACH * group + half}_{mangled(draw.name)} = {bits}"


def of_single(kernel: Kernel) -> Iterator[str]:
    """The bits of the row's element `i`."""
    for draw in kernel.draws:
        words = [f"w_{mangled(draw.name)}_{k}" for k in range(WORDS)]
        yield f"{', '.join(words)} = {_called(kernel, draw, f'{BEGIN} + int64(i)')}"
        yield f"half = int32(({BEGIN} + int64(i)) % {EACH})"
        first, second, third, last = words
        chosen = f"({first} if half < 2 else {second}) if half < 4 else ({third} if half < 6 else {last})"
        yield f"{mangled(draw.name)} = {_lower(f'word_right({chosen}, uint32(half % 2 * 16))')}"


def _lower(word: str) -> str:
    return f"word_and({word}, uint32(65535))"


def _called(kernel: Kernel, draw: Draw, element: str) -> str:
    arguments = [f"uint32(({element}) // {EACH})", f"uint32({draw.stream})", *_numbers(kernel)]
    return f"drawn({', '.join(arguments)})"


def _numbers(kernel: Kernel) -> list[str]:
    """The numbers from outside the loop that words are made of."""
    used = {arg for let in kernel.generator.lets for arg in let.args} if kernel.generator else set()
    return [mangled(name) for name in kernel.uniforms if name in used]
