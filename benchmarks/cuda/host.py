"""`python -m benchmarks cuda --host`: how long the host is busy with a step on a GPU, measured without a GPU.

Kernels are not started (see `nothing`), so what is left is what Python does: look at every array, and prepare launches.
CuPy's arrays, or torch's tensors, of the processor's memory stand for those of a GPU; where a package is not there,
classes with the same attributes stand for its own, and the table says so.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import rmsprop_jit
from rmsprop_jit.codegen.backends.cuda import torch_streams

from .. import report
from ..rows import Row, Rows
from ..workloads import PLAIN, Array
from . import nothing

TENSORS, SIZE = 1000, 16
CALLS = 200

LIMITS = {
    "CuPy arrays, same gradients": 20e-6,
    "CuPy arrays, fresh gradients": 600e-6,
    "torch tensors, same gradients": 300e-6,
    "torch tensors, fresh gradients": 600e-6,
}
"""Seconds of one call with 1,000 tensors, at most: of the shortest of many, which other programs disturb least."""

EVERYTHING = {**PLAIN, "centered": True, "momentum": 0.9, "use_ema": True, "weight_decay": 0.01}
SETS: dict[str, tuple[dict[str, Any], float]] = {
    "momentum, centered, decay, EMA": (EVERYTHING, 60e-6),
    "a schedule": ({"learning_rate": rmsprop_jit.ExponentialDecay(0.1, 100, 0.9)}, 90e-6),
    "clipnorm": ({**PLAIN, "clipnorm": 1.0}, 60e-6),
    "global_clipnorm": ({**PLAIN, "global_clipnorm": 1.0}, 60e-6),
    "global_clipnorm, a schedule": (
        {"learning_rate": rmsprop_jit.ExponentialDecay(0.1, 100, 0.9), "global_clipnorm": 1.0},
        120e-6,
    ),
    "accumulation": ({**PLAIN, "gradient_accumulation_steps": 2}, 90e-6),
}
"""Sets of options for CuPy's arrays with the same gradients, and their limits."""

RULES = {
    "Adam": 40e-6,
    "AdamW": 40e-6,
    "CautiousAdamW": 60e-6,
    "StableAdamW": 60e-6,
    "Adafactor": 60e-6,
    "Prodigy": 60e-6,
}
"""Rules for CuPy's arrays with the same gradients, and their limits. Most have other numbers in every step."""

LIMITS |= {f"CuPy arrays, {name}": limit for name, (_, limit) in SETS.items()}
LIMITS |= {f"CuPy arrays, {name}": limit for name, limit in RULES.items()}

FRESH = 4
"""Lists of gradients that take turns: each differs from the one before."""


class OwnTensor:
    """A tensor that answers what torch's is asked."""

    def __init__(self, host: Array) -> None:
        self._host, self._ptr, self._count = host, host.ctypes.data, host.size
        self.shape, self.dtype, self.device = host.shape, f"torch.{host.dtype}", "cuda:0"
        self.requires_grad = False

    def data_ptr(self) -> int:
        """Where it begins."""
        return self._ptr

    def is_contiguous(self) -> bool:
        """It is."""
        return True

    def numel(self) -> int:
        """How many elements it has."""
        return self._count

    def get_device(self) -> int:
        """The number of its device."""
        return 0

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self._host.__array_interface__


def torch_at_hand() -> Any:
    """The module torch, or None."""
    try:
        import torch
    except ImportError:
        return None
    return torch


@contextlib.contextmanager
def on_a_gpu(torch: Any) -> Iterator[None]:
    """In the `with` block torch's tensors in the processor's memory say that they are on a GPU."""
    stream = SimpleNamespace(cuda_stream=0)
    says = [
        (torch.Tensor, "__dlpack_device__", lambda tensor: nothing.ON_GPU),
        (torch.Tensor, "__cuda_array_interface__", property(_interface)),
        (torch.cuda, "current_stream", lambda index=None: stream),
    ]
    with nothing.replaced(*says):
        try:
            yield
        finally:
            torch_streams.forget()


def _interface(tensor: Any) -> dict[str, Any]:
    """What torch says of tensors on a GPU. (NumPy would hold on to the storage, which then cannot be resized.)"""
    dtype = np.dtype(str(tensor.dtype).removeprefix("torch."))
    strides = tuple(step * dtype.itemsize for step in tensor.stride())
    where = {"data": (tensor.data_ptr(), False), "strides": strides}
    return {"typestr": dtype.str, "shape": tuple(tensor.shape), "version": 3, **where}


def measured() -> Rows:
    """A row for each kind of arrays, with the same gradients and with fresh ones."""
    torch, arrays = torch_at_hand(), nothing.arrays_at_hand()
    stands_in = "" if arrays is not nothing.OwnArray else "CuPy is not installed: a class with its attributes"
    rows: Rows = []
    with nothing.no_gpu(arrays) as driver:
        rows += _both("CuPy arrays", driver.array, stands_in)
        sets = [_row(f"CuPy arrays, {name}", driver.array, 1, stands_in, some) for name, (some, _) in SETS.items()]
        sets += [_row(f"CuPy arrays, {name}", driver.array, 1, stands_in, {}, name) for name in RULES]
        if torch is None:
            rows += _both("torch tensors", OwnTensor, "torch is not installed: a class with its attributes")
        else:
            with on_a_gpu(torch):
                rows += _both("torch tensors", torch.from_numpy, "")
    return rows + sets


def _both(kind: str, make: Callable[[Array], Any], note: str) -> Rows:
    return [_row(f"{kind}, {which} gradients", make, count, note) for which, count in (("same", 1), ("fresh", FRESH))]


def _row(
    name: str,
    make: Callable[[Array], Any],
    lists: int,
    note: str,
    options: Mapping[str, Any] = PLAIN,
    rule: str = "RMSprop",
) -> Row:
    seconds = host_times(make, lists, options=options, rule=rule)
    return {"case": name, "least_s": seconds[0], "host_s": median(seconds), "limit_s": LIMITS[name], "note": note}


def host_times(
    make: Callable[[Array], Any],
    lists: int,
    tensors: int = TENSORS,
    options: Mapping[str, Any] = PLAIN,
    rule: str = "RMSprop",
) -> list[float]:
    """Seconds of calls of a rule's step, the shortest first; lists of gradients take turns."""
    rng = np.random.default_rng(0)

    def arrays() -> list[Any]:
        return [make(rng.standard_normal(SIZE).astype(np.float32)) for _ in range(tensors)]

    variables, gradients = arrays(), [arrays() for _ in range(lists)]
    optimizer = getattr(rmsprop_jit, rule)(**options)
    optimizer.build(variables)
    turns = itertools.cycle(gradients)
    for _ in range(2 * lists + 2):
        optimizer.apply(next(turns))
    return sorted(_one(optimizer, next(turns)) for _ in range(CALLS))


def _one(optimizer: rmsprop_jit.Optimizer, gradients: list[Any]) -> float:
    begin = time.perf_counter()
    optimizer.apply(gradients)
    return time.perf_counter() - begin


def show(console: Console) -> bool:
    """Measure, and print the table; whether all stayed within their limits."""
    table = Table("1,000 tensors", "shortest call", "median", "limit", "instead of the real arrays")
    rows = measured()
    for row in rows:
        table.add_row(
            row["case"], *(report.seconds(row[name]) for name in ("least_s", "host_s", "limit_s")), row["note"]
        )
    console.print(table)
    return all(row["least_s"] <= row["limit_s"] for row in rows)
