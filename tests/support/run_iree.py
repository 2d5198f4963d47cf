"""One step of a program as MLIR, compiled and run by IREE on the CPU; the extra `mlir` must be installed."""

import functools
from typing import Any

import numpy as np
from run_rule import Tensors

from rmsprop_jit.codegen import Kernel, Program
from rmsprop_jit.codegen.axes import places, size_in
from rmsprop_jit.codegen.backends import coarse, mlir
from rmsprop_jit.codegen.backends.hypers import lengths
from rmsprop_jit.codegen.kinds import SIZES, Space
from rmsprop_jit.codegen.program import made, old
from rmsprop_jit.codegen.scalars import evaluate

FLAGS = ["--iree-input-demote-f64-to-f32=false", "--iree-llvmcpu-target-cpu=host"]


def run_with_iree(
    program: Program, tensors: Tensors, hypers: dict[str, float], tensor_hypers: dict[str, list[float]]
) -> None:
    """One step in place, kernel by kernel; reductions are joined between kernels, as a caller does."""
    module = load(mlir.source(program))
    sizes = [float(tensor["parameter"].size) for tensor in tensors]
    numbers = [evaluate(program, {**hypers, SIZES[Space.ALL]: sum(sizes)}) for _ in tensors]
    shapes = [tensor["parameter"].shape for tensor in tensors]
    tensor_hypers = {**tensor_hypers, SIZES[Space.TENSOR]: sizes, **lengths(program, shapes)}
    for own, i in zip(numbers, range(len(tensors)), strict=True):
        own.update({old(slot): float(tensors[i][slot]) for k in program.kernels for slot in k.numbers})
        own.update({f"h.{name}": float(values[i]) for name, values in tensor_hypers.items()})
    tensors = [tensor | coarse.own_arrays(program, tensor["parameter"].shape) for tensor in tensors]
    for k, kernel in enumerate(program.kernels):
        arrays, scalars = mlir.arguments(program, k)
        for tensor, own in zip(tensors, numbers, strict=True):
            shape = tensor["parameter"].shape
            inputs: list[Any] = [tensor[name].ravel() for name in arrays]
            inputs += [np.array(own[name], np.float64) for name in scalars]
            spaces = mlir.spaces(program, k)
            inputs += [number for space in spaces for number in places(shape, kernel.space, space)]
            inputs += [size_in(shape, kernel.space)] if spaces else []
            results = module[f"step_{k}"](*inputs) if kernel.stores or kernel.reductions or kernel.numbered else ()
            results = results if isinstance(results, tuple | list) else (results,)
            for store, result in zip(kernel.stores, results, strict=False):
                tensor[store.array][...] = result.to_host().reshape(tensor[store.array].shape)
            for one, result in zip(kernel.blocks, results[len(kernel.stores) :], strict=False):
                tensor[one.scale][...] = result.to_host()
            for reduce, result in zip(kernel.reductions, results[len(kernel.stores) :], strict=False):
                if reduce.over in spaces:
                    tensor[made(reduce.name)][...] = result.to_host()
                else:
                    own[reduce.name] = float(result.to_host())
            for put, result in zip(kernel.numbered, results, strict=False):
                tensor[put.array][...] = result.to_host()
        join(kernel, numbers)


def join(kernel: Kernel, numbers: list[dict[str, float]]) -> None:
    for reduce in kernel.reductions:
        if reduce.over is Space.ALL:
            total = reduce.op.joined([own[reduce.name] for own in numbers])
            for own in numbers:
                own[reduce.name] = total


@functools.lru_cache(8)
def load(text: str) -> Any:
    """A module compiled for this processor and loaded; the compiler verifies it on the way.

    It holds functions alone: another step of the same program is another call of them.
    """
    from iree import compiler, runtime

    binary = compiler.compile_str(text, target_backends=["llvm-cpu"], extra_args=FLAGS)
    context = runtime.SystemContext(config=runtime.Config("local-sync"))
    context.add_vm_module(runtime.VmModule.copy_buffer(context.instance, binary))
    return context.modules.module
