"""Blocks in MLIR: sizes of new values as a matrix of a row a block, the largest of each, and of that scales and codes.

A loop over elements has made new values; three more follow for each array that is kept in codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..ops import Fn
from ..printer import mangled
from ..program import Coded, Let
from ..sorts import truths
from .mlir_lines import WORD, Block

KIND = "f32"
"""What is computed of which blocks are kept."""

NUMBERS, WORDS, CODES = f"tensor<?x{KIND}>", f"tensor<?x{WORD}>", "tensor<?xi8>"


def begun(array: str, tensor: str, length: int) -> Iterator[str]:
    """How many elements an array has, and how many blocks."""
    yield "%none = arith.constant 0 : index"
    yield f"%every = tensor.dim {array}, %none : {tensor}"
    yield f"%length = arith.constant {length} : index"
    yield "%blocks = arith.ceildivui %every, %length : index"


def stored(j: int, one: Coded, arrays: Sequence[str], drawn: Callable[[Block], None]) -> Iterator[str]:
    """The loops that make `%codes_j`, and `%scales_j#0`, of new values.

    arrays: those of these, of codes and of scales. `drawn`: adds the random bits of an element to a block.
    """
    values, codes, scales = arrays
    yield from _largest(j, one, values)
    yield from _scales(j, one, scales)
    block = Block(KIND)
    at = block.new(f"arith.divui {block.new('linalg.index 0 : index')}, %length : index")
    for k, name in enumerate(one.once, 1):
        block.lines.append(f"%{mangled(name)} = tensor.extract %scales_{j}#{k}[{at}] : {NUMBERS}")
    drawn(block)
    code = _made(block, one.lets, one.code)
    code = block.new(f"arith.trunci {code} : {WORD} to i8")
    yield f"%codes_{j} = {_generic(['#element'] * 2, 'parallel')}"
    yield f"    ins({values} : {NUMBERS}) outs({codes} : {CODES}) {{"
    yield f"  ^bb0(%{mangled(one.element)}: {KIND}, %out_0: i8):"
    yield from _ended(block, [code], ["i8"])
    yield f"}} -> {CODES}"


def _largest(j: int, one: Coded, values: str) -> Iterator[str]:
    """The largest size of each block, behind the end nothing."""
    matrix = f"tensor<?x{one.length}x{WORD}>"
    block = Block(KIND)
    number, other = block.new("linalg.index 0 : index"), block.new("linalg.index 1 : index")
    found = block.new(f"arith.addi {block.new(f'arith.muli {number}, %length : index')}, {other} : index")
    is_there = block.new(f"arith.cmpi ult, {found}, %every : index")
    found = block.new(f"arith.select {is_there}, {found}, %none : index")
    block.lines.append(f"%{mangled(one.element)} = tensor.extract {values}[{found}] : {NUMBERS}")
    size = _made(block, one.sized, one.size)
    size = block.new(f"arith.select {is_there}, {size}, {block.constant(0, WORD)} : {WORD}")
    yield f"%matrix_{j} = tensor.empty(%blocks) : {matrix}"
    yield f"%sizes_{j} = {_generic(['#pair'], 'parallel', 'parallel')} outs(%matrix_{j} : {matrix}) {{"
    yield f"  ^bb0(%nothing: {WORD}):"
    yield from _ended(block, [size], [WORD])
    yield f"}} -> {matrix}"
    yield f"%no_size_{j} = arith.constant 0 : {WORD}"
    yield f"%no_sizes_{j} = tensor.empty(%blocks) : {WORDS}"
    yield f"%start_{j} = linalg.fill ins(%no_size_{j} : {WORD}) outs(%no_sizes_{j} : {WORDS}) -> {WORDS}"
    join = Block(KIND)
    most = join.new(join.meaning(Fn.WORD_MOST, ["%in_0", "%out_0"], {"t": WORD, "v": WORD}))
    yield f"%largest_{j} = {_generic(['#pair', '#first'], 'parallel', 'reduction')}"
    yield f"    ins(%sizes_{j} : {matrix}) outs(%start_{j} : {WORDS}) {{"
    yield f"  ^bb0(%in_0: {WORD}, %out_0: {WORD}):"
    yield from _ended(join, [most], [WORD])
    yield f"}} -> {WORDS}"


def _scales(j: int, one: Coded, scales: str) -> Iterator[str]:
    """The scale of each block, and the numbers that its codes are made with."""
    count = 1 + len(one.once)
    rooms = [f"%once_{j}_{k}" for k in range(1, count)]
    yield from (f"{room} = tensor.empty(%blocks) : {NUMBERS}" for room in rooms)
    block = Block(KIND)
    made = [_made(block, one.block, one.kept), *(block.operand(name) for name in one.once)]
    types = ", ".join([NUMBERS] * count)
    yield f"%scales_{j}:{count} = {_generic(['#element'] * (1 + count), 'parallel')}"
    yield f"    ins(%largest_{j} : {WORDS}) outs({', '.join([scales, *rooms])} : {types}) {{"
    outs = [f"%out_{k}: {KIND}" for k in range(count)]
    yield f"  ^bb0({', '.join([f'%{mangled(one.largest)}: {WORD}', *outs])}):"
    yield from _ended(block, made, [KIND] * count)
    yield f"}} -> ({types})"


def _made(block: Block, lets: Sequence[Let], result: object) -> str:
    """The lines of some lets, and the name of one of them."""
    block.lets(lets, truths(lets))
    return block.operand(str(result))


def _generic(maps: Sequence[str], *iterators: str) -> str:
    kinds = ", ".join(f'"{one}"' for one in iterators)
    return f"linalg.generic {{indexing_maps = [{', '.join(maps)}], iterator_types = [{kinds}]}}"


def _ended(block: Block, made: Sequence[str], kinds: Sequence[str]) -> Iterator[str]:
    """The lines of a loop's body, and what it yields."""
    yield from (f"    {line}" for line in block.lines)
    yield f"    linalg.yield {', '.join(made)} : {', '.join(kinds)}"
