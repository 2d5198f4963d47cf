"""What a step launches and what it copies, as text to read."""

from __future__ import annotations

from collections.abc import Iterator

from ...program import Kernel, Program
from . import frame, ticks
from .source import Blocks, KernelSource

COPIED = {
    "rows": "once: where each row begins",
    "pieces": "once: where each piece begins, its columns and its lines",
    "plan": "once: how tensors are cut, and where pieces leave what they reduce over axes",
    "joins": "once: which numbers over axes a block makes of that",
    "first": "once: which rows are a tensor's",
    "peers": "once: where the tables of this device have the rows' parts of sums over all tensors",
    "others": "once; with tensors on other devices in each step: what those have summed",
    "arrays": "when an array lies elsewhere than in the last step, as fresh gradients do: addresses",
    "hypers": "when a tensor's own number changes",
    "cells": "when a number of the step changes",
}
"""When what a kernel finds in the GPU's memory is copied there; the rest is made there."""


LOOPS = (Blocks.ROW, Blocks.PIECE, Blocks.JOIN)
"""Kernels that are launched in each step."""

COUNTED = ", or with nonfinite='skip'"
WAITS = "  else the host waits after step_0 for what it says of inf and nan, and launches the others or not"
"""What is different where a step has a guard."""


def text(program: Program) -> str:
    """The launches of a step in order, what each is for and takes, and what is copied when."""
    kernels = frame.sources(program)
    steady = [kernel for kernel in kernels if not _waits(kernel)]
    is_guarded = program.guard is not None
    ways = frame.Ways(from_memory=True, guarded=is_guarded)
    in_graph = [kernel.name for kernel in frame.sources(program, ways=ways)]
    tick = ticks.TICK_GUARDED if is_guarded else ticks.TICK
    lines = [f"{program.title}: {_number(len(steady), 'launch')} in a step, no copy while no address changes"]
    for number, kernel in enumerate(kernels, 1):
        lines += ["", *_launch(number, kernel, program.kernels[kernel.k])]
    found = [what for what in COPIED if any(what in kernel.arguments for kernel in kernels)]
    lines += ["", "copied to the GPU", *(f"  {what:<9}  {COPIED[what]}" for what in found)]
    lines += [
        "",
        f"in a graph{COUNTED if is_guarded else ''}: {_number(len(in_graph) + 1, 'launch')}, "
        "with numbers from memory, copied when one is set",
    ]
    lines += [f"  {', '.join(in_graph)}, {tick.name} (counts the step)"]
    lines += [WAITS] if is_guarded else []
    return "\n".join([*lines, "", "microseconds of the host: `python -m benchmarks cuda --host`, which needs no GPU"])


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}es"


def _waits(kernel: KernelSource) -> bool:
    """Whether a kernel is launched only when other numbers are there: none of its own are made in each step."""
    return kernel.k == 0 and kernel.blocks not in LOOPS and "arrays" not in kernel.arguments


def _launch(number: int, kernel: KernelSource, of: Kernel) -> Iterator[str]:
    """One launch: name and purpose, then a line for each of what it is launched with."""
    yield f"{number}. {kernel.name}" + (", only when a number changes" if _waits(kernel) else "")
    if kernel.blocks is Blocks.JOIN:
        does = [f"what step_{kernel.k} has reduced: {', '.join(reduce.name for reduce in of.reductions)}"]
    elif kernel.blocks in LOOPS:
        does = [str(reduce) for reduce in of.reductions]
        does += [f"stores {', '.join(store.array for store in of.stores)}"] if of.stores else []
        does += [f"then {str(detour).partition(' <- ')[2]}" for detour in of.detours]
    else:
        given = [given.name for given in of.givens]
        made = ", ".join(put.array for put in of.numbered) or f"numbers of step_{kernel.k}"
        does = [made + (f" from {', '.join(given)}" if given else "")]
    yield f"   for        {'; '.join(does)}"
    yield f"   blocks     {kernel.blocks.value}, of {kernel.threads} threads"
    yield f"   addresses  {', '.join(kernel.arguments)}"
    if kernel.numbers:
        yield f"   numbers    {', '.join(kernel.numbers)}, by value in {kernel.dtype}"
