"""What became of each kernel's loop: read from the LLVM IR that machine code is made of.

Loops are found in the graph of blocks; those with vectors move several elements of arrays at once. Whose loop one is
follows from the arrays, which its loads and stores name by their scopes (see `strips.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ...program import Kernel, Program
from . import llvm

FUNCTION = re.compile(r"^define .*?^}", re.MULTILINE | re.DOTALL)
LABEL = re.compile(r'^("?[\w.$-]+"?):.*\n', re.MULTILINE)
JUMP = re.compile(r'label %("?[\w.$-]+"?)')
ACCESS = re.compile(r"\b(load|store) (?:<(?:vscale x )?(\d+) x )?(?:float|double|i16|i8)\b.*!alias\.scope !(\d+)")
FILL = re.compile(r"@llvm\.memset\..*!alias\.scope !(\d+)")
PACKED = re.compile(r"<(?:vscale x )?(\d+) x (float|double)>")
BITS = {"float": 32, "double": 64}
NODE = re.compile(r"^!(\d+) = (?:distinct )?!\{(.*)\}$", re.MULTILINE)
DOMAIN = '!"rmsprop_jit"'


class Loop(NamedTuple):
    """The loop of a kernel: elements in one iteration, and the bits of its vectors (0 if there are none).

    is_filled: whether there is none, since all that it stores is zeros: the system's own function fills memory.
    """

    elements: int = 1
    bits: int = 0
    is_filled: bool = False

    def __str__(self) -> str:
        if self.is_filled:
            return "zeros alone, by memset"
        if not self.bits:
            return "no vectors: one element at a time, several times slower"
        return f"{self.elements} elements at a time in vectors of {self.bits} bits"


class _Found(NamedTuple):
    """A loop with vectors, by the columns of the arrays that it loads and stores."""

    loads: frozenset[int]
    stores: frozenset[int]
    loop: Loop


def loops(program: Program, ir: str) -> dict[str, Loop]:
    """The loop of each kernel that goes over elements, by the kernel's name."""
    found = list(_found(ir, llvm.vector_bits(ir)))
    kernels = [kernel for kernel in program.kernels if kernel.loads or kernel.stores]
    made = {kernel.name: _of(program, kernel, kernels, found) for kernel in kernels}
    columns = _columns(ir)
    filled = {columns[at] for at in FILL.findall(ir) if at in columns}
    for kernel in kernels:
        loads, stores = _touched(program, kernel)
        if not (made[kernel.name].bits or loads) and stores <= filled:
            made[kernel.name] = Loop(is_filled=True)
    return made


def _of(program: Program, kernel: Kernel, kernels: list[Kernel], found: list[_Found]) -> Loop:
    """The loop of a kernel; of several that touch the same arrays, they are in the order of the kernels."""
    loads, stores = _touched(program, kernel)
    alike = [other for other in kernels if _touched(program, other) == (loads, stores)]
    # LLVM may leave a load out that nothing needs, and fill an array apart from the loop.
    able = [one for one in found if bool(one.loads) == bool(loads) and bool(one.stores) == bool(stores)]
    fitting = [one.loop for one in able if one.loads <= loads and one.stores <= stores]
    exact = [one.loop for one in found if (one.loads, one.stores) == (loads, stores)]
    own = exact or fitting
    share, rest = divmod(len(own), len(alike))
    if share == 0 or rest:
        return min(own, default=Loop()) if len(own) >= len(alike) else Loop()
    at = next(i for i, other in enumerate(alike) if other is kernel) * share
    return max(own[at : at + share])


def _touched(program: Program, kernel: Kernel) -> tuple[frozenset[int], frozenset[int]]:
    """The columns that a kernel loads, and those that it stores."""
    loads = frozenset(program.column(load.array) for load in kernel.loads)
    return loads, frozenset(program.column(store.array) for store in kernel.stores)


def _found(ir: str, widest: int) -> Iterator[_Found]:
    """The loops of some IR that have vectors, in its order; `widest` bounds their bits: what a register holds."""
    columns = _columns(ir)
    for function in FUNCTION.findall(ir):
        for body in _innermost(dict(_blocks(function))):
            accesses = [
                (what, int(lanes or 0), columns[at]) for what, lanes, at in ACCESS.findall(body) if at in columns
            ]
            lanes = max((lanes for _, lanes, _ in accesses), default=0)
            if not lanes:
                continue
            bits = max(BITS[kind] for wide, kind in PACKED.findall(body) if int(wide) == lanes)
            moved: Counter[tuple[str, int]] = Counter()
            for what, wide, column in accesses:
                moved[what, column] += wide or 1
            loads, stores = (frozenset(j for how, j in moved if how == what) for what in ("load", "store"))
            yield _Found(loads, stores, Loop(max(moved.values()), min(lanes * bits, widest)))


def _blocks(function: str) -> Iterator[tuple[str, str]]:
    """The blocks of a function by their labels, the first one first."""
    _, *parts = LABEL.split(function)
    yield from zip(parts[::2], parts[1::2], strict=True)


def _innermost(blocks: Mapping[str, str]) -> Iterator[str]:
    """The text of each loop that has no loop inside, in order.

    An edge to a block that every way from the entry leads through closes a loop: all blocks from there to it.
    """
    sources: dict[str, list[str]] = {label: [] for label in blocks}
    for label, body in blocks.items():
        for target in JUMP.findall(body):
            sources.setdefault(target, []).append(label)
    entry = next(iter(blocks), "")
    loops: dict[str, set[str]] = {}
    for head, into in sources.items():
        for source in into:
            inside, left = {head}, [source]
            while left:
                label = left.pop()
                if label not in inside:
                    inside.add(label)
                    left += sources[label]
            if entry not in inside:
                loops[head] = inside | loops.get(head, set())
    for head, inside in loops.items():
        if not any(other in inside for other in loops if other != head):
            yield "".join(blocks[label] for label in blocks if label in inside)


def _columns(ir: str) -> dict[str, int]:
    """Which array a list of scopes means, by the number of its metadata."""
    nodes = dict(NODE.findall(ir))
    domains = {f"!{number}" for number, text in nodes.items() if text == DOMAIN}
    scopes = {}
    for number, text in nodes.items():
        name, _, domain = text.partition(", ")
        if domain in domains:
            scopes[f"!{number}"] = int(name.strip('!"'))
    return {
        number: column
        for number, text in nodes.items()
        for column in [scopes[scope] for scope in text.split(", ") if scope in scopes][:1]
    }
