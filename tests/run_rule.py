"""
One step of a Program on a backend: "cpu", the compiled kernels, "cuda", those of a GPU in the simulator, or
"reference", the interpreter that defines them.

`tensors` are dicts from array names ("parameter", "gradient" and slots) to arrays, updated in place.
"""

import numpy as np

from rmsprop_jit.codegen.backends import cuda, numba_cpu, reference
from rmsprop_jit.codegen.kinds import Space
from rmsprop_jit.codegen.scalars import compile_scalars


def run(backend, program, tensors, hypers, tensor_hypers=None):
    """One step in place; returns the reductions over all tensors, by name."""
    if backend == "reference":
        return reference.run(program, tensors, hypers, tensor_hypers or {})
    table = TABLES[backend](program, tensors, hypers, tensor_hypers or {})
    LAUNCHES[backend]([table])()
    return {r.name: table.total_of(r.what) for r in program.reductions() if r.over is Space.ALL}


def run_together(backend, parts, hypers):
    """One step of several programs in one launch; `parts` are (program, tensors)."""
    LAUNCHES[backend]([TABLES[backend](program, tensors, hypers, {}) for program, tensors in parts])()


def table_on_cpu(program, tensors, hypers, tensor_hypers):
    """A table of the CPU backend."""
    table = numba_cpu.Table(program, [tensor["parameter"].size for tensor in tensors])
    table.scalars[:] = compile_scalars(program)(hypers)
    return pointed(table, program, tensors, tensor_hypers)


def table_on_cuda(program, tensors, hypers, tensor_hypers):
    """A table of the CUDA backend; in the simulator, addresses are those of NumPy arrays."""
    table = cuda.Table(program, [tensor["parameter"].size for tensor in tensors], 0)
    table.scalars[:] = [hypers[name] for name in table.cells]
    return pointed(table, program, tensors, tensor_hypers)


def pointed(table, program, tensors, tensor_hypers):
    """The table with the tensors' addresses and numbers."""
    for j, array in enumerate(program.arrays):
        assert all(tensor[array.name].dtype == array.storage for tensor in tensors)
        table.arrays[:, j] = [tensor[array.name].ctypes.data for tensor in tensors]
    for j, name in enumerate(program.tensor_hypers):
        table.hypers[:, j] = tensor_hypers[name]
    return table


TABLES = {"cpu": table_on_cpu, "cuda": table_on_cuda}
LAUNCHES = {"cpu": numba_cpu.Launch, "cuda": cuda.Launch}


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
