"""The NumPy interpreter: the definition of what a program does, in any float dtype.

It follows the program letter by letter, one NumPy operation for each `let`, and is what every other backend is tested
against, bit for bit. It allocates a temporary per operation and is never used for speed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..axes import Over, size_in
from ..dtypes import storage
from ..errors import ArrayError
from ..kinds import SIZES, Space
from ..ops import Fn, refuses
from ..program import Arg, Coded, Draw, Generator, Kernel, Let, Program, made, new
from ..scalars import evaluate
from ..sorts import is_of_words, is_wide, wides, words
from . import coarse
from .hypers import lengths

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

Tensor = dict[str, "Array"]
"""The arrays of one tensor by name: "parameter", "gradient" and slots, all of one shape, or one number."""


def run(
    program: Program,
    tensors: Sequence[Tensor],
    hypers: Mapping[str, float],
    tensor_hypers: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, float]:
    """Do one step of `program` in place on `tensors`, or nothing, where its guard refuses it.

    Returns the reductions over all tensors, by name, and new values of slots over all that the host knows (as "s.x'";
    their old ones come with `hypers`, as "s.x").

    hypers:        the step's numbers, with "learning_rate" and "step".
    tensor_hypers: per-tensor numbers, one for each tensor.
    """
    sizes = [float(tensor["parameter"].size) for tensor in tensors]
    step = evaluate(program, {**hypers, SIZES[Space.ALL]: sum(sizes)})
    shapes = [tensor["parameter"].shape for tensor in tensors]
    own_hypers = {**(tensor_hypers or {}), SIZES[Space.TENSOR]: sizes, **lengths(program, shapes)}
    tensors = [{**tensor, **coarse.own_arrays(program, shape)} for tensor, shape in zip(tensors, shapes, strict=True)]
    totals: dict[str, float] = {}
    own_numbers = {given.name: given.hyper for kernel in program.kernels for given in kernel.givens if given.hyper}
    per_tensor: list[dict[str, float]] = [
        {name: float(own_hypers[hyper][i]) for name, hyper in own_numbers.items()} for i in range(len(tensors))
    ]
    kind = storage(program.compute).scalar
    tensors = [{**one, **{name: np.zeros(one["parameter"].shape, kind) for name in program.scratch}} for one in tensors]
    with np.errstate(all="ignore"):
        for kernel in program.kernels:
            partial = [
                _run_tensor(program, kernel, tensor, {**step, **totals, **own})
                for tensor, own in zip(tensors, per_tensor, strict=True)
            ]
            for tensor in tensors:
                _take(kernel, tensor, step)
            for reduce in kernel.reductions:
                results = [own[reduce.name] for own in partial if reduce.name in own]
                if reduce.over is Space.ALL:
                    totals[reduce.name] = reduce.op.joined(results)
                elif reduce.over is Space.TENSOR:
                    for own, result in zip(per_tensor, results, strict=True):
                        own[reduce.name] = result
            if kernel is program.kernels[0] and _is_refused(program, [*per_tensor, totals]):
                return totals
        _gather(program.kernels[-1], tensors, {**step, **totals}, storage(program.compute).scalar)
    shared = {new(store.array): _value(store.value, step, float) for store in program.shared}
    return totals | shared


def _take(kernel: Kernel, tensor: Tensor, step: Mapping[str, float]) -> None:
    """What functions outside make of what a kernel has stored."""
    for detour in kernel.detours if tensor["parameter"].size else ():
        given = [float(_value(arg, step, float)) for arg in detour.numbers]
        tensor[detour.array][...] = detour.function(tensor[detour.array], *given)


def _is_refused(program: Program, found: Sequence[Mapping[str, float]]) -> bool:
    """Whether a program's guard lets nothing be done."""
    guard = program.guarding
    return guard is not None and any(refuses(guard.op, own[guard.name]) for own in found if guard.name in own)


def _gather(kernel: Kernel, tensors: Sequence[Tensor], outside: Mapping[str, float], compute: Any) -> None:
    """What slots over all become; every tensor has the same array of each."""
    if kernel.gathers:
        wide = _head(kernel, tensors[0], outside, compute)
        for tensor in tensors:
            for one in kernel.gathers:
                tensor[one.array][...] = _value(one.value, wide, np.float64)


def _head(kernel: Kernel, tensor: Tensor, outside: Mapping[str, float], compute: Any) -> dict[str, Any]:
    """All numbers that a kernel has for a tensor, in float64."""
    wide: dict[str, Any] = {name: np.float64(value) for name, value in outside.items()}
    wide |= {given.name: np.float64(tensor[given.array]) for given in kernel.givens if given.array}
    for let in kernel.head:
        made = let.fn(*(_value(arg, wide, np.float64) for arg in let.args))
        wide[let.name] = np.float64(compute(made)) if let.fn is Fn.ROUNDED else made
    return wide


def _run_tensor(program: Program, kernel: Kernel, tensor: Tensor, outside: Mapping[str, float]) -> dict[str, float]:
    """One kernel on one tensor; returns its reductions, but for those over axes, which become arrays."""
    compute = storage(program.type_of(kernel)).scalar
    wide = _head(kernel, tensor, outside, compute)
    names: dict[str, Any] = {name: compute(wide[name]) for name in kernel.uniforms}
    shape = tensor["parameter"].shape
    spaces = coarse.spaces_of(program, kernel, with_scales=True)
    places: dict[Over, Array] = {space: coarse.whose(shape, kernel.space, space) for space in spaces}
    is_flat = program.is_by_axes or program.is_coded
    count = (size_in(shape, kernel.space),) if is_flat else shape
    for load in kernel.loads:
        loaded = tensor[load.array].reshape(count if program.space_of(load.array) == kernel.space else -1)
        whose = places.get(program.space_of(load.array))
        names[load.name] = (loaded if whose is None else loaded[whose]).astype(compute, copy=True)
    wide_names, word_names = wides(kernel.body), words(kernel.body)
    for generator in kernel.generators:
        for draw in generator.draws:
            names[draw.name] = _drawn(generator, draw, names, count, compute)
    for let in kernel.body:
        kind = np.float64 if is_wide(let, wide_names) else np.uint32 if is_of_words(let, word_names) else compute
        names[let.name] = _computed(let, names, kind, compute)
    coded = {one.array: one for one in kernel.blocks}
    rows = {store.array: storage(program.storage(store.array)) for store in kernel.stores}
    unsigned = {store.value: store.array for store in kernel.stores if rows[store.array].is_unsigned}
    for let in kernel.body:
        if let.name in unsigned:  # what is made of it has nothing below zero
            _refuse_negative(unsigned[let.name], _value(let.args[-1], names, compute))
    for store in kernel.stores if tensor["parameter"].size else ():
        if store.array in coded:
            _store_blocks(coded[store.array], _value(store.value, names, compute), names, tensor)
            continue
        kept = rows[store.array].scalar
        stored = np.broadcast_to(_value(store.value, names, compute), count)
        tensor[store.array][...] = stored.reshape(tensor[store.array].shape).astype(kept)
    for put in kernel.puts if tensor["parameter"].size else ():
        tensor[put.array][...] = _value(put.value, wide, np.float64)
    found = {}
    for reduce in kernel.reductions:
        elements = np.broadcast_to(_value(reduce.value, names, compute), count)
        if reduce.over in places:
            own = tensor[made(reduce.name)]
            own[:] = reduce.op.over(elements, places[reduce.over], own.size)
        else:
            found[reduce.name] = reduce.op(elements)
    return found


def _refuse_negative(array: str, value: Any) -> None:
    if (np.asarray(value) < 0).any():
        raise ArrayError(
            f"slot {array!r} is declared nonnegative, and kept in codes without sign. Received: a new value of "
            f"{np.min(value)!s}. Declare it without `nonnegative`; compiled kernels would make zero of such values."
        )


def _store_blocks(coded: Coded, value: Any, names: Mapping[str, Any], tensor: Tensor) -> None:
    """Codes and scales of new values."""
    stored, size = tensor[coded.array], tensor[coded.array].size
    whole = np.zeros((tensor[coded.scale].size, coded.length), np.float32)
    whole.ravel()[:size] = value
    inside = {**names, coded.element: whole}
    known = words((*coded.sized, *coded.block, *coded.lets))

    def compute(lets: Sequence[Let]) -> None:
        for let in lets:
            inside[let.name] = _computed(let, inside, np.uint32 if is_of_words(let, known) else np.float32, np.float32)

    compute(coded.sized)
    inside[coded.largest] = inside[coded.size].max(axis=1, keepdims=True)
    compute(coded.block)
    tensor[coded.scale][...] = _value(coded.kept, inside, np.float32).ravel()
    drawn = np.zeros(whole.shape, np.uint32)
    drawn.ravel()[:size] = names[coded.draw]
    inside[coded.draw] = drawn
    compute(coded.lets)
    codes = np.asarray(inside[coded.code]).ravel()[:size].view(np.int32)
    stored[...] = codes.reshape(stored.shape).astype(stored.dtype)


def _drawn(made: Generator, draw: Draw, names: Mapping[str, Any], shape: tuple[int, ...], compute: Any) -> Array:
    """The random bits of all elements, a word each."""
    size = math.prod(shape)
    calls = np.arange(-(-size // made.each), dtype=np.uint64).astype(np.uint32)
    inside = {**names, made.counted: calls, made.stream: np.full_like(calls, draw.stream)}
    known = words(made.lets)
    for let in made.lets:
        inside[let.name] = _computed(let, inside, np.uint32 if is_of_words(let, known) else compute, compute)
    drawn = np.stack([inside[str(word)] for word in made.words], axis=1).astype("<u4")
    return drawn.view(f"<u{made.bits // 8}").ravel()[:size].astype(np.uint32).reshape(shape)


def _computed(let: Let, names: Mapping[str, Any], kind: Any, compute: Any) -> Any:
    """The value of a let of a loop, whose operands are of a kind."""
    value = let.fn(*(_value(arg, names, kind) for arg in let.args))
    return value.astype(compute) if let.fn in (Fn.NARROW, Fn.NUMBER) else value


def _value(arg: Arg, names: Mapping[str, Any], compute: Any) -> Any:
    if isinstance(arg, str):
        return names[arg]
    return np.bool_(arg) if isinstance(arg, bool) else compute(arg)
