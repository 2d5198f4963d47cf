"""The NumPy interpreter: the definition of what a program does, in any float dtype.

It follows the program letter by letter, one NumPy operation for each `let`, and is what every other backend is tested
against. It allocates a temporary per operation and is never used for speed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arithmetic import COMBINE, IDENTITY, MEANING, REDUCTION
from ..expr import Fn, Scope
from ..host import evaluate
from ..kernel import Arg, Kernel, Let, Program

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

Tensor = dict[str, "Array"]
"""The arrays of one tensor by name: "parameter", "gradient" and slots, all of one shape and dtype."""


def run(
    program: Program,
    tensors: Sequence[Tensor],
    hypers: Mapping[str, float],
    tensor_hypers: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, float]:
    """Do one step of `program` in place on `tensors`; returns the reductions over all tensors, by name.

    hypers:        the step's numbers, with "learning_rate" and "step".
    tensor_hypers: per-tensor numbers, one for each tensor.
    """
    scalars = {scalar.name: evaluate(scalar.expr, hypers, program.dtype) for scalar in program.scalars}
    totals: dict[str, float] = {}
    own_numbers = {given.name: given.hyper for kernel in program.kernels for given in kernel.givens if given.hyper}
    per_tensor: list[dict[str, float]] = [
        {name: float((tensor_hypers or {})[hyper][i]) for name, hyper in own_numbers.items()}
        for i in range(len(tensors))
    ]
    with np.errstate(all="ignore"):
        for kernel in program.kernels:
            partial = [
                _run_tensor(kernel, program.dtype, tensor, {**scalars, **totals, **own})
                for tensor, own in zip(tensors, per_tensor, strict=True)
            ]
            for reduce in kernel.reductions:
                total = IDENTITY[reduce.op]
                for own, results in zip(per_tensor, partial, strict=True):
                    own[reduce.name] = results[reduce.name]
                    total = COMBINE[reduce.op](total, results[reduce.name])
                if reduce.scope is Scope.ALL:
                    totals[reduce.name] = total
                    for own in per_tensor:
                        del own[reduce.name]
    return totals


def _run_tensor(kernel: Kernel, dtype: str, tensor: Tensor, uniforms: dict[str, float]) -> dict[str, float]:
    """One kernel on one tensor; returns its reductions."""
    compute = np.dtype(dtype).type
    outside: dict[str, Any] = {name: np.float64(value) for name, value in uniforms.items()}
    for let in kernel.head:
        outside[let.name] = _meaning(let, [_value(arg, outside, np.float64) for arg in let.args])
    names: dict[str, Any] = {name: compute(outside[name]) for name in kernel.uniforms}
    shape = tensor["parameter"].shape
    for load in kernel.loads:
        names[load.name] = tensor[load.array].astype(compute, copy=True)
    for let in kernel.body:
        names[let.name] = _meaning(let, [_value(arg, names, compute) for arg in let.args])
    for store in kernel.stores:
        tensor[store.array][...] = _value(store.value, names, compute)
    return {
        reduce.name: REDUCTION[reduce.op](np.broadcast_to(_value(reduce.value, names, compute), shape))
        for reduce in kernel.reductions
    }


def _meaning(let: Let, args: list[Any]) -> Any:
    return np.where(*args) if let.fn is Fn.WHERE else MEANING[let.fn](*args)


def _value(arg: Arg, names: Mapping[str, Any], compute: Any) -> Any:
    return names[arg] if isinstance(arg, str) else compute(arg)
