"""
One step of programs on a backend: "cpu", the compiled kernels, "cuda", those of a GPU in the simulator, or
"reference", the interpreter that defines them.

`tensors` are dicts from array names ("parameter", "gradient" and slots) to arrays, updated in place.
"""

import numpy as np

from rmsprop_jit.codegen import backends
from rmsprop_jit.codegen.backends import reference
from rmsprop_jit.codegen.kinds import Space

PLACES = {"cpu": "cpu", "cuda": "cuda:0"}


def run(backend, program, tensors, hypers, tensor_hypers=None):
    """One step in place; returns the reductions over all tensors, by name."""
    if backend == "reference":
        return reference.run(program, tensors, hypers, tensor_hypers or {})
    totals = run_together(backend, [(program, tensors)], {**hypers, **(tensor_hypers or {})})
    return {r.name: totals[r.what] for r in program.reductions(Space.ALL)}


def run_together(backend, parts, hypers, **options):
    """One step of several programs, each on tensors of its own; returns the reductions over all by what they are of."""
    place = PLACES[backend]
    tables = [table_of(place, program, tensors, options) for program, tensors in parts]
    launch = backends.launch({place: tables})
    assert launch(launch.prepared(None, hypers))
    return {what: total for turn in range(launch.turns) for what, total in launch.totals(turn).items()}


def table_of(place, program, tensors, options):
    """A table that points at the arrays of some tensors; in the simulator, addresses are those of NumPy arrays."""
    table = backends.of(place).table(program, [tensor["parameter"].size for tensor in tensors], place, options)
    for array in program.arrays:
        assert all(tensor[array.name].dtype == array.storage for tensor in tensors)
        table.point(array.name, np.array([tensor[array.name].ctypes.data for tensor in tensors], np.int64))
    return table


def all_arrays(rule):
    """The names of every array that a rule can touch."""
    return ("parameter", "gradient", *rule.slots)


def make_tensors(rule, sizes, dtype, make, gradient=None):
    """Fresh tensors: parameter and gradient from `make(size)`, slots at their initial values."""
    tensors = []
    for size in sizes:
        tensor = {"parameter": make(size).astype(dtype), "gradient": make(size).astype(gradient or dtype)}
        for name, slot in rule.slots.items():
            initial = tensor["parameter"] if slot.initial == "parameter" else slot.initial
            tensor[name] = np.full(size, initial, dtype)
        tensors.append(tensor)
    return tensors


def copied(tensors):
    """Independent copies of all arrays."""
    return [{name: array.copy() for name, array in tensor.items()} for tensor in tensors]


def defaults(rule, **changes):
    """The hyperparameters of one step at their defaults, with the built-in ones."""
    return {"learning_rate": 0.05, "step": 1.0} | {name: h.default for name, h in rule.hypers.items()} | changes
