"""fold_k, the rows' partial results as one number a tensor, and uniforms_k, the numbers that a loop uses, as source."""

from __future__ import annotations

from collections.abc import Iterator

from ...kinds import Space
from ...printer import indented, mangled, print_lets
from ...program import Kernel
from .shape import Shape, folded, start


def fold_kernel(shape: Shape, kernel: Kernel) -> list[str]:
    """One tensor a block: its rows' partial results, in order of row for each thread, then by a tree."""
    body = ["thread = int32(cuda.threadIdx.x)", "tensor = int64(cuda.blockIdx.x)"]
    body += [f"{reduce.name} = {start(reduce)}" for reduce in kernel.reductions]
    body += ["row = load_int64(first + tensor * 8) + thread", "end = load_int64(first + tensor * 8 + 8)"]
    body += ["while row < end:"]
    for partial in shape.partials_of(kernel):
        for i, name in enumerate(partial.names()):
            at = f"(row * {shape.width} + {partial.at + i}) * {shape.type.itemsize}"
            body.append(f"    {name} = float64(load_{shape.type.name}(partial + {at}))")
        body.append(f"    element = {partial.parts.whole.format(*partial.names())}")
        body.append(f"    {folded(partial.reduce, 'element')}")
    body.append(f"    row = row + {shape.threads}")
    body += shape.fold_tree(kernel.reductions)
    body.append("if thread == 0:")
    for reduce in kernel.reductions:
        at = f"(tensor * {len(shape.partials)} + {shape.own_index[reduce.name]}) * 8"
        body.append(f"    store_float64(own + {at}, {reduce.name})")
    return body


def uniforms_kernel(shape: Shape, kernel: Kernel) -> list[str]:
    """One block: what a kernel uses from outside its loop, for every tensor."""
    body = ["thread = int32(cuda.threadIdx.x)", *_totals(shape, kernel), *_scalars(shape, kernel)]
    body += ["tensor = int64(thread)", "while tensor < tensors:"]
    body += indented([*_head(shape, kernel)])
    for j, name in enumerate(kernel.uniforms):
        at = f"(tensor * {len(kernel.uniforms)} + {j}) * {shape.type.itemsize}"
        body.append(f"    store_{shape.type.name}(uniforms + {at}, {shape.type.name}(wide_{mangled(name)}))")
    body.append(f"    tensor = tensor + {shape.threads}")
    return body


def _totals(shape: Shape, kernel: Kernel) -> Iterator[str]:
    """Reductions over all tensors: over the tables of this device (`peers`), then what other devices have."""
    reductions = [shape.partials[given.name].reduce for given in kernel.givens if given.over is Space.ALL]
    if not reductions:
        return
    for reduce in reductions:
        j = shape.own_index[reduce.name]
        yield f"{reduce.name} = {start(reduce)}"
        yield f"peer = peers + load_int64(peers + {j * 16})"
        yield f"last = peers + load_int64(peers + {j * 16 + 8})"
        yield "while peer < last:"
        yield "    at = load_int64(peer)"
        yield "    end = load_int64(peer + 8)"
        yield "    stride = load_int64(peer + 16)"
        yield "    row = int64(thread)"
        yield "    while row < end:"
        yield "        element = load_float64(at + row * stride)"
        yield f"        {folded(reduce, 'element')}"
        yield f"        row = row + {shape.threads}"
        yield "    peer = peer + 24"
    yield from shape.fold_tree(reductions)
    for reduce in reductions:
        yield f"{reduce.name} = lanes_{reduce.name}[0]"
        yield f"element = load_float64(others + {shape.own_index[reduce.name] * 8})"
        yield folded(reduce, "element")
        yield f"wide_{reduce.name} = {reduce.name}"


def _scalars(shape: Shape, kernel: Kernel) -> Iterator[str]:
    """The step's numbers that this kernel needs."""
    lets = shape.program.needed(kernel.outside)
    read = {*kernel.outside, *(arg for let in lets for arg in let.args)}
    for j, hyper in enumerate(shape.program.hypers):
        if f"h.{hyper}" in read:
            place = "clock" if hyper == "step" else f"cells + {j * 8}"
            yield f"wide_{mangled(f'h.{hyper}')} = load_float64({place})"
    for let in lets:
        yield shape.wide(let)


def _head(shape: Shape, kernel: Kernel) -> Iterator[str]:
    """The tensor's own numbers and what follows from them."""
    hypers = shape.program.tensor_hypers
    for given in kernel.givens:
        if given.hyper:
            at = f"hypers + (tensor * {len(hypers)} + {hypers.index(given.hyper)}) * 8"
            yield f"wide_{mangled(given.name)} = load_float64({at})"
        elif given.over is Space.TENSOR:
            at = f"own + (tensor * {len(shape.partials)} + {shape.own_index[given.name]}) * 8"
            yield f"wide_{given.name} = load_float64({at})"
    yield from print_lets(kernel.head, "float64", "wide_")
