"""The words of generated CUDA source, for a compiler with Numba's types: arithmetic, and how memory is reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from ...dtypes import KEPT, READ, storage
from ...ops import FUNCTIONS

TYPES = ("float32", "float64", "int32", "int64", "uint32", "uint64")


def words(
    cuda: ModuleType,
    device: object,
    types: object,
    load: Callable[..., Any],
    store: Callable[..., Any],
    cast: Callable[[Any, Any], Any],
    product: Callable[..., Any],
    integers: Mapping[str, Callable[..., Any]],
    functions: ModuleType = math,
) -> dict[str, Any]:
    """What generated source may name.

    device: the decorator of functions that kernels call.
    load:   from (type, storage, lanes) to a function (address) -> lanes numbers of that type, in one access.
    store:  from (type, storage, lanes) to a function (address, *lanes numbers).
    cast:   from two types of the same size to a function that reads the bits of one as the other.
    product: of two numbers, which is rounded before anything is added to it.
    integers: the operations on words (see `integers.py`), by name.
    functions: where sqrt and the like are from.
    """
    named_functions = {name: getattr(functions, name) for name in (*FUNCTIONS, "floor")}
    named: dict[str, Any] = {name: getattr(types, name) for name in TYPES}
    memory = {"load_int64": load(named["int64"], "int64", 1)}
    for kept in [name for name in READ if not storage(name).most]:
        kind, lanes = named[storage(kept).read], storage(kept).lanes
        memory[f"load_{kept}"] = load(kind, kept, 1)
        memory[f"load_vector_{kept}"] = load(kind, kept, lanes)
        if kept in KEPT:
            memory[f"store_{kept}"] = store(kind, kept, 1)
            memory[f"store_vector_{kept}"] = store(kind, kept, lanes)
    int64, float64 = named["int64"], named["float64"]
    casts = {"bits_of": cast(float64, int64), "number_of": cast(int64, float64)}
    casts |= {"word_of_bits": cast(named["float32"], named["uint32"])}
    casts |= {"number_of_word_bits": cast(named["uint32"], named["float32"])}
    constants = {"INF": math.inf, "NAN": math.nan}
    arithmetic = {**named_functions, "product": product, **integers}
    return {"cuda": cuda, "device": device, **arithmetic, **named, **memory, **casts, **constants}


def with_values(lanes: int, make: Callable[..., Any]) -> Callable[..., Any]:
    """`make` as a function (context, address, one parameter a lane): compilers read the names of parameters."""
    shapes: dict[int, Callable[..., Any]] = {
        1: lambda context, address, a: make(),
        2: lambda context, address, a, b: make(),
        4: lambda context, address, a, b, c, d: make(),
        8: lambda context, address, a, b, c, d, e, f, g, h: make(),
    }
    return shapes[lanes]
