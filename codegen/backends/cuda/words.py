"""The words of generated CUDA source, for a compiler with Numba's types: arithmetic, and how memory is reached."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ...dtypes import COMPILED, storage
from ...ops import FUNCTIONS


def words(
    cuda: ModuleType,
    device: object,
    types: object,
    load: Callable[..., Any],
    store: Callable[..., Any],
    cast: Callable[[Any, Any], Any],
    functions: ModuleType = math,
) -> dict[str, Any]:
    """What generated source may name.

    device: the decorator of functions that kernels call.
    load:   from (type, lanes) to a function (address) -> lanes numbers, in one access.
    store:  from (type, lanes) to a function (address, *lanes numbers).
    cast:   from two types of the same size to a function that reads the bits of one as the other.
    functions: where sqrt and the like are from.
    """
    named_functions = {name: getattr(functions, name) for name in (*FUNCTIONS, "floor")}
    named: dict[str, Any] = {name: getattr(types, name) for name in ("float32", "float64", "int32", "int64")}
    memory = {"load_int64": load(named["int64"], 1)}
    for dtype in COMPILED:
        lanes = storage(dtype).lanes
        memory[f"load_{dtype}"] = load(named[dtype], 1)
        memory[f"store_{dtype}"] = store(named[dtype], 1)
        memory[f"load_vector_{dtype}"] = load(named[dtype], lanes)
        memory[f"store_vector_{dtype}"] = store(named[dtype], lanes)
    int64, float64 = named["int64"], named["float64"]
    casts = {"bits_of": cast(float64, int64), "number_of": cast(int64, float64)}
    constants = {"INF": math.inf, "NAN": math.nan}
    return {"cuda": cuda, "device": device, **named_functions, **named, **memory, **casts, **constants}


def with_values(lanes: int, make: Callable[..., Any]) -> Callable[..., Any]:
    """`make` as a function (context, address, one parameter a lane): compilers read the names of parameters."""
    shapes: dict[int, Callable[..., Any]] = {
        1: lambda context, address, a: make(),
        2: lambda context, address, a, b: make(),
        4: lambda context, address, a, b, c, d: make(),
    }
    return shapes[lanes]
