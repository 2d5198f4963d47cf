"""Places in MLIR: which number over axes an element has, and which elements a number has, by three integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..axes import Axes

PAIRS = "#pair = affine_map<(d0, d1) -> (d0, d1)>", "#first = affine_map<(d0, d1) -> (d0)>"
"""The maps of what is reduced over axes: a number, and the elements that it has."""

SIZE = "%size"
"""How many elements (or numbers over axes) a kernel goes over."""

New = Callable[[str], str]
"""Adds a line to a block, and returns the name of its value."""


def arguments(spaces: Sequence[Axes]) -> list[str]:
    """The integers that a function takes: `Places` of each space, and how many elements it goes over."""
    found = [f"%{name}_{i}: i64" for i, _ in enumerate(spaces) for name in "abc"]
    return [*found, f"{SIZE}: i64"] if spaces else []


def indices(spaces: Sequence[Axes]) -> Iterator[str]:
    """The same as indices."""
    names = [f"%{name}_{i}" for i, _ in enumerate(spaces) for name in "abc"] + [SIZE] if spaces else []
    yield from (f"%at_{name[1:]} = arith.index_cast {name} : i64 to index" for name in names)


def place(new: New, i: int, element: str) -> str:
    """The place of an element's number in the i-th space: `((i // a) % b) * c + i % c`."""
    a, b, c = (f"%at_{name}_{i}" for name in "abc")
    run = new(f"arith.divui {element}, {a} : index")
    group = new(f"arith.remui {run}, {b} : index")
    line = new(f"arith.muli {group}, {c} : index")
    column = new(f"arith.remui {element}, {c} : index")
    return new(f"arith.addi {line}, {column} : index")


def each(i: int, name: str) -> Iterator[str]:
    """How many numbers the i-th space has, and how many elements each may have: the last ones may have fewer."""
    a, b, c = (f"%at_{letter}_{i}" for letter in "abc")
    yield f"%numbers_{name} = arith.muli {b}, {c} : index"
    yield f"%turn_{name} = arith.muli {a}, {b} : index"
    yield f"%turns_{name} = arith.ceildivui %at_size, %turn_{name} : index"
    yield f"%lines_{name} = arith.divui {a}, {c} : index"
    yield f"%each_{name} = arith.muli %turns_{name}, %lines_{name} : index"


def element(new: New, i: int, name: str) -> tuple[str, str]:
    """Which element the second index means of the number that the first one means, and whether there is one."""
    a, _, c = (f"%at_{letter}_{i}" for letter in "abc")
    number, other = new("linalg.index 0 : index"), new("linalg.index 1 : index")
    group, column = new(f"arith.divui {number}, {c} : index"), new(f"arith.remui {number}, {c} : index")
    turn = new(f"arith.divui {other}, %lines_{name} : index")
    line = new(f"arith.remui {other}, %lines_{name} : index")
    begin = new(f"arith.muli {turn}, %turn_{name} : index")
    run = new(f"arith.muli {group}, {a} : index")
    down = new(f"arith.muli {line}, {c} : index")
    sofar = new(f"arith.addi {begin}, {run} : index")
    further = new(f"arith.addi {down}, {column} : index")
    found = new(f"arith.addi {sofar}, {further} : index")
    is_there = new(f"arith.cmpi ult, {found}, %at_size : index")
    none = new("arith.constant 0 : index")
    return new(f"arith.select {is_there}, {found}, {none} : index"), is_there


def reduced(i: int, name: str, start: str, lines: Sequence[str], value: str, joined: Sequence[str]) -> Iterator[str]:
    """All elements of each number, made by `lines`, as a matrix; and its rows as what `joined` makes of them."""
    yield from each(i, name)
    matrix, found = "tensor<?x?xf64>", "tensor<?xf64>"
    yield f"%matrix_{name} = tensor.empty(%numbers_{name}, %each_{name}) : {matrix}"
    head = '{indexing_maps = [#pair], iterator_types = ["parallel", "parallel"]}'
    yield f"%values_{name} = linalg.generic {head} outs(%matrix_{name} : {matrix}) {{"
    yield "  ^bb0(%nothing: f64):"
    yield from (f"    {line}" for line in lines)
    yield f"    linalg.yield {value} : f64"
    yield f"}} -> {matrix}"
    yield f"%identity_{name} = arith.constant {start} : f64"
    yield f"%none_{name} = tensor.empty(%numbers_{name}) : {found}"
    filled = f"ins(%identity_{name} : f64) outs(%none_{name} : {found}) -> {found}"
    yield f"%start_{name} = linalg.fill {filled}"
    head = '{indexing_maps = [#pair, #first], iterator_types = ["parallel", "reduction"]}'
    yield f"%result_{name} = linalg.generic {head}"
    yield f"    ins(%values_{name} : {matrix}) outs(%start_{name} : {found}) {{"
    yield "  ^bb0(%in_0: f64, %out_0: f64):"
    yield from (f"    {line}" for line in joined[:-1])
    yield f"    linalg.yield {joined[-1]} : f64"
    yield f"}} -> {found}"
