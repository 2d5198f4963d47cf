"""
One step of programs on a backend: "cpu", the compiled kernels, "cuda", those of a GPU or of the simulator, or
"reference", the interpreter that defines them.

`tensors` are dicts from array names ("parameter", "gradient" and slots) to arrays, updated in place.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from compare import Array, Maker

from rmsprop_jit.codegen import Program, Rule, backends
from rmsprop_jit.codegen.backends import reference
from rmsprop_jit.codegen.backends.cuda import device
from rmsprop_jit.codegen.kinds import SEED, Space

PLACES = {"cpu": "cpu", "cuda": "cuda:0"}

Tensors = list[dict[str, Array]]
Hypers = Mapping[str, float]
TensorHypers = Mapping[str, Sequence[float]]


def run(
    backend: str, program: Program, tensors: Tensors, hypers: Hypers, tensor_hypers: TensorHypers | None = None
) -> dict[str, float]:
    """One step in place; returns the reductions over all tensors, by name."""
    if backend == "reference":
        return reference.run(program, tensors, hypers, tensor_hypers or {})
    totals = run_together(backend, [(program, tensors)], {**hypers, **(tensor_hypers or {})})
    return {r.name: totals[r.what] for r in program.reductions(Space.ALL)}


def run_together(
    backend: str,
    parts: Sequence[tuple[Program, Tensors]],
    hypers: Mapping[str, float | Sequence[float]],
    **options: Any,
) -> dict[Any, float]:
    """One step of several programs, each on tensors of its own; returns the reductions over all by what they are of."""
    place = PLACES[backend]
    placed = [(program, on_gpu(tensors) if backend == "cuda" else tensors) for program, tensors in parts]
    tables = [table_of(place, program, tensors, options) for program, tensors in placed]
    launch = backends.of(place).launch(tables)
    assert launch(launch.prepared(None, hypers))
    totals = {what: total for turn in range(launch.turns) for what, total in launch.totals(turn).items()}
    if backend == "cuda":
        for (_, there), (_, tensors) in zip(placed, parts, strict=True):
            fetch(there, tensors)
    return totals


def on_gpu(tensors: Tensors) -> list[dict[str, Any]]:
    """Copies of all arrays on the GPU."""
    return each_once(tensors, device.cupy().asarray)


def fetch(there: list[dict[str, Any]], tensors: Tensors) -> None:
    """Copy all arrays back."""
    for arrays, tensor in zip(there, tensors, strict=True):
        for name, array in tensor.items():
            array[...] = arrays[name].get()


def table_of(place: str, program: Program, tensors: Sequence[Mapping[str, Any]], options: dict[str, Any]) -> Any:
    """A table that points at the arrays of some tensors."""
    address: Callable[[Any], int] = operator.attrgetter("ctypes.data" if place == "cpu" else "data.ptr")
    parameters = [tensor["parameter"] for tensor in tensors]
    shapes = [tuple(one.shape) for one in parameters]
    table = backends.of(place).table(program, [one.size for one in parameters], place, options, shapes)
    scratch = {
        name: [_scratch(place, tensor["parameter"], program.compute) for tensor in tensors] for name in program.scratch
    }
    if scratch:
        table.lend(scratch, [f"tensor {i}" for i in range(len(tensors))])
    for array in program.arrays:
        if array.is_made:
            continue
        if array.is_scratch:
            table.point(array.name, np.array([address(one) for one in scratch[array.name]], np.int64))
            continue
        assert all(tensor[array.name].dtype == array.storage for tensor in tensors)
        table.point(array.name, np.array([address(tensor[array.name]) for tensor in tensors], np.int64))
    return table


def _scratch(place: str, parameter: Any, dtype: str) -> Any:
    """What goes to a function outside, where the parameter is."""
    return (np if place == "cpu" else device.cupy()).empty(parameter.shape, dtype)


def all_arrays(rule: Rule) -> tuple[str, ...]:
    """The names of every array that a rule can touch."""
    return ("parameter", "gradient", *rule.slots)


def make_tensors(
    rule: Rule,
    sizes: Sequence[int],
    dtype: str,
    make: Maker,
    gradient: str | None = None,
) -> Tensors:
    """Fresh tensors: parameter and gradient from `make(size)`, slots at their initial values.

    What is gathered of all tensors they have in common; slots over all that the host knows are none of theirs.
    """
    tensors = []
    gathered = {name: np.array(rule.slots[name].initial, np.float64) for name in rule.gathered}
    for size in sizes:
        tensor = {"parameter": make(size).astype(dtype), "gradient": make(size).astype(gradient or dtype)}
        for name, slot in rule.slots.items():
            initial = tensor["parameter"] if slot.initial == "parameter" else slot.initial
            if slot.over in ("element", "tensor"):  # over axes: those who know the shape make them
                tensor[name] = np.full(
                    *((size, initial, dtype) if slot.over == "element" else ((), initial, np.float64))
                )
        tensors.append(tensor | gathered)
    return tensors


def copied(tensors: Tensors) -> Tensors:
    """Independent copies of all arrays."""
    return each_once(tensors, np.copy)


def each_once(tensors: Tensors, copy: Callable[[Array], Any]) -> list[dict[str, Any]]:
    """Copies of all arrays; what tensors have in common stays so."""
    made = {id(array): copy(array) for tensor in tensors for array in tensor.values()}
    return [{name: made[id(array)] for name, array in tensor.items()} for tensor in tensors]


def defaults(rule: Rule, **changes: float) -> dict[str, float]:
    """The hyperparameters of one step at their defaults, with the built-in ones."""
    return (
        {"learning_rate": 0.05, "step": 1.0, SEED[0]: 54321.0, SEED[1]: 7.0}
        | {name: h.default for name, h in rule.hypers.items()}
        | changes
    )
