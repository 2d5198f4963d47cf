"""What is between the loops, as source: uniforms_k, numbers that a loop uses, and fold_k, numbers for the host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...dtypes import COMPILED, storage
from ...kinds import Space
from ...printer import indented, mangled, operand
from ...program import Kernel, Reduce
from .printing import print_lets
from .shape import Shape, folded, start
from .sums import Partial, part_names, parts_of
from .ticks import ROW_AFTER_STEP


def fold_kernel(shape: Shape, kernel: Kernel) -> list[str]:
    """One block: what a kernel reduces over all tensors, from all rows of one table."""
    partials = [partial for partial in shape.partials_of(kernel) if partial.reduce.over is Space.ALL]
    reductions = [partial.reduce for partial in partials]
    body = ["thread = int32(cuda.threadIdx.x)", shape.lanes(), *_rows(shape, partials, "0", "every_row")]
    body += [*shape.fold_tree(reductions), "if thread == 0:"]
    body += [f"    store_float64(totals + {shape.index[reduce.name] * 8}, {reduce.name})" for reduce in reductions]
    return body


def uniforms_kernel(shape: Shape, kernel: Kernel) -> list[str]:
    """The numbers of a kernel that are in memory: by one block for all tensors, or by blocks that share the tensors.

    Those that it puts are of tensors that have rows.

    All threads of a block fold; the first of them computes what follows.
    """
    of_all, of_tensors = shape.given_to(kernel)
    body = ["thread = int32(cuda.threadIdx.x)"]
    body += [shape.lanes()] if of_all or of_tensors else []
    body += _totals(shape, [partial.reduce for partial in of_all])
    has_rows = "load_int64(first + tensor * 8) < load_int64(first + tensor * 8 + 8)"
    when = f"if (thread == 0) & ({has_rows}):" if kernel.puts else "if thread == 0:"
    numbers = [when, *indented([*_scalars(shape, kernel), *_head(shape, kernel), *_stores(shape, kernel)])]
    if not shape.is_per_tensor(kernel):
        return body + numbers
    loop: list[str] = []
    if of_tensors:
        loop += _rows(shape, of_tensors, "load_int64(first + tensor * 8)", "load_int64(first + tensor * 8 + 8)")
        loop += shape.fold_tree([partial.reduce for partial in of_tensors])
    loop += [*numbers, "tensor = tensor + int64(cuda.gridDim.x)"]
    return [*body, "tensor = int64(cuda.blockIdx.x)", "while tensor < tensors:", *indented(loop)]


def _rows(shape: Shape, partials: Sequence[Partial], begin: str, end: str) -> Iterator[str]:
    """Partial results of some rows of this table, in order of row for each thread."""
    yield from (f"{partial.reduce.name} = {start(partial.reduce)}" for partial in partials)
    yield from (f"row = int64({begin} + thread)", f"end = {end}", "while row < end:")
    for partial in partials:
        at = f"partial + (row * {shape.width} + {partial.at}) * {shape.kept.itemsize}"
        yield from indented(_row(partial.reduce, shape.kept.name, at))
    yield f"    row = row + {shape.threads}"


def _row(reduce: Reduce, dtype: str, at: str) -> Iterator[str]:
    """A row's partial result, of a table that computes in `dtype`, joined to the reduction's in float64."""
    parts = parts_of(reduce.op, dtype)
    names = part_names(reduce, parts)
    for i, name in enumerate(names):
        yield f"{name} = float64(load_{dtype}({at} + {i * storage(dtype).itemsize}))"
    yield f"element = {parts.whole.format(*names)}"
    yield folded(reduce, "element")


def _totals(shape: Shape, reductions: Sequence[Reduce]) -> Iterator[str]:
    """Reductions over all tensors: the rows of all tables of this device (`peers`), then what other devices have."""
    for reduce in reductions:
        yield f"{reduce.name} = {start(reduce)}"
        for j, dtype in enumerate(COMPILED):
            at = (shape.index[reduce.name] * len(COMPILED) + j) * 16
            yield f"peer = peers + load_int64(peers + {at})"
            yield f"last = peers + load_int64(peers + {at + 8})"
            yield "while peer < last:"
            yield "    at = load_int64(peer)"
            yield "    end = load_int64(peer + 8)"
            yield "    stride = load_int64(peer + 16)"
            yield "    row = int64(thread)"
            yield "    while row < end:"
            yield from indented(_row(reduce, dtype, "at + row * stride"), 2)
            yield f"        row = row + {shape.threads}"
            yield "    peer = peer + 24"
    if reductions:
        yield from shape.fold_tree(reductions)
    for reduce in reductions:
        yield f"element = load_float64(others + {shape.index[reduce.name] * 8})"
        yield folded(reduce, "element")


def _scalars(shape: Shape, kernel: Kernel) -> Iterator[str]:
    """The step's numbers that this kernel needs, where they are not given to it."""
    if not shape.from_memory:
        return
    if shape.ways.columns:
        yield f"ahead = load_int64(clock + {ROW_AFTER_STEP})"
    lets = shape.program.needed(kernel.outside)
    read = {*kernel.outside, *(arg for let in lets for arg in let.args)}
    for j, name in enumerate(shape.program.inputs):
        if name in read:
            place = "clock" if name == "h.step" else f"cells + {j * 8}"
            if name in shape.ways.columns:
                place = f"ahead + {8 + 8 * shape.ways.columns.index(name)}"
            yield f"wide_{mangled(name)} = load_float64({place})"
    for let in lets:
        yield shape.wide(let)


def _head(shape: Shape, kernel: Kernel) -> Iterator[str]:
    """What is given to all tensors or one, the latter's own numbers among it, and what follows from that."""
    hypers = shape.program.tensor_hypers
    for given in kernel.givens:
        if given.hyper:
            at = f"hypers + (tensor * {len(hypers)} + {hypers.index(given.hyper)}) * 8"
            if given.hyper == "learning_rate" and shape.ways.columns:  # which of those in the row it is
                at = f"ahead + {8 * len(shape.ways.columns)} + int64(load_float64({at})) * 8"
            yield f"wide_{mangled(given.name)} = load_float64({at})"
        elif given.array:
            yield f"wide_{mangled(given.name)} = load_float64({_number(shape, given.array)})"
        else:
            yield f"wide_{given.name} = {given.name}"
    yield from print_lets(kernel.head, "float64", "wide_", shape.type_of(kernel).name)


def _stores(shape: Shape, kernel: Kernel) -> Iterator[str]:
    """The numbers, each rounded once; the tensors' own are float64."""
    kind = shape.type_of(kernel).name
    for name, place in shape.places(kernel).items():
        yield f"store_{kind}({place}, {kind}(wide_{mangled(name)}))"
    for put in kernel.numbered:
        yield f"store_float64({_number(shape, put.array)}, {operand(put.value, 'float64', 'wide_')})"


def _number(shape: Shape, array: str) -> str:
    """Where a tensor's own number is, or one for all, of which all tensors have the same address."""
    column = shape.program.column(array)
    further = "" if shape.program.arrays[column].is_common else " + tensor"
    return f"load_int64(arrays + ({column} * tensors{further}) * 8)"
