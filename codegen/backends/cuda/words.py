"""The words of generated CUDA source, for a compiler with Numba's types: arithmetic, and how memory is reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from ...dtypes import GROUP, KEPT, READ, storage
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
    for kept in READ:
        kind, lanes = named[storage(kept).read], storage(kept).lanes
        memory[f"load_{kept}"] = load(kind, kept, 1)
        memory[f"load_vector_{kept}"] = load(kind, kept, lanes)
        if kept in KEPT:
            given = named["uint32"] if storage(kept).is_coded else kind  # codes are stored of words
            memory[f"store_{kept}"] = store(given, kept, 1)
            memory[f"store_vector_{kept}"] = store(given, kept, lanes)
    int64, float64 = named["int64"], named["float64"]
    casts = {"bits_of": cast(float64, int64), "number_of": cast(int64, float64)}
    casts |= {"word_of_bits": cast(named["float32"], named["uint32"])}
    casts |= {"number_of_word_bits": cast(named["uint32"], named["float32"])}
    constants = {"INF": math.inf, "NAN": math.nan}
    arithmetic = {**named_functions, "product": product, **integers}
    arithmetic["most_of_group"] = _most_of_group(cuda, device, named, integers["word_most"])
    return {"cuda": cuda, "device": device, **arithmetic, **named, **memory, **casts, **constants}


def _most_of_group(cuda: Any, device: Any, types: dict[str, Any], larger: Callable[..., Any]) -> Callable[..., Any]:
    """The largest of the words that the threads of a group pass, which all of them have to be there for."""
    int32, uint32 = types["int32"], types["uint32"]
    assert GROUP == 8

    def most_of_group(x):  # type: ignore[no-untyped-def]
        mine = int32(255) << int32(cuda.threadIdx.x & 24)  # of the 32 threads that are run together
        two = larger(x, uint32(cuda.shfl_xor_sync(mine, int32(x), 1)))
        four = larger(two, uint32(cuda.shfl_xor_sync(mine, int32(two), 2)))
        return larger(four, uint32(cuda.shfl_xor_sync(mine, int32(four), 4)))

    made: Callable[..., Any] = device(most_of_group)
    return made


def with_values(lanes: int, make: Callable[..., Any]) -> Callable[..., Any]:
    """`make` as a function (context, address, one parameter a lane): compilers read the names of parameters."""
    shapes: dict[int, Callable[..., Any]] = {
        1: lambda context, address, a: make(),
        2: lambda context, address, a, b: make(),
        4: lambda context, address, a, b, c, d: make(),
        8: lambda context, address, a, b, c, d, e, f, g, h: make(),
    }
    return shapes[lanes]
