"""What this package and the stand-in use of CuPy: names, and their parameters as CuPy declares them.

`python tests/support/cupy_table.py` writes them anew, of the CuPy that is installed. It needs no GPU.
"""

from __future__ import annotations

import inspect
import json
import re
from operator import attrgetter
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("cupy_signatures.json")

CALLABLES = """
empty asarray from_dlpack
ndarray.get ndarray.set ndarray.copy ndarray.view ndarray.reshape ndarray.astype ndarray.__dlpack__
ndarray.__dlpack_device__ ndarray.sum ndarray.clip
cuda.Device cuda.Device.synchronize
cuda.Event cuda.Event.record
cuda.ExternalStream
cuda.MemoryPool cuda.MemoryPool.malloc
cuda.MemoryPointer.copy_from_host_async
cuda.Stream cuda.Stream.begin_capture cuda.Stream.end_capture cuda.Stream.is_capturing cuda.Stream.synchronize
cuda.Stream.wait_event
cuda.alloc_pinned_memory cuda.get_current_stream cuda.using_allocator
cuda.function.Module cuda.function.Module.load cuda.function.Module.get_function
cuda.graph.Graph.launch
cuda.runtime.eventRecord cuda.runtime.pointerGetAttributes cuda.runtime.streamWaitEvent
""".split()

ATTRIBUTES = """
ndarray ndarray.T ndarray.__cuda_array_interface__ ndarray._c_contiguous ndarray.data ndarray.device ndarray.dtype
ndarray.flags
ndarray.itemsize ndarray.nbytes ndarray.ndim ndarray.shape ndarray.size ndarray.strides
cuda cuda.function cuda.graph cuda.graph.Graph cuda.runtime
cuda.Device.compute_capability cuda.Device.id
cuda.Event.done cuda.Event.ptr
cuda.MemoryPointer cuda.MemoryPointer.device_id cuda.MemoryPointer.ptr
cuda.PinnedMemoryPointer.ptr
cuda.Stream.device_id cuda.Stream.null cuda.Stream.ptr
cuda.runtime.CUDARuntimeError cuda.runtime.streamCaptureModeGlobal cuda.runtime.streamCaptureModeRelaxed
cuda.runtime.streamCaptureModeThreadLocal
""".split()

OF_INSTANCES = {"cuda.Event.ptr", "cuda.Stream.device_id", "cuda.Stream.ptr", "cuda.runtime.CUDARuntimeError.status"}
"""What classes do not have: objects get it when they are made."""


def found(name: str) -> dict[str, Any]:
    """The table, of the module `cupy`."""
    import cupy

    missing = [one for one in (*CALLABLES, *ATTRIBUTES) if one not in OF_INSTANCES and not has(cupy, one)]
    assert not missing, f"{name} has no {missing}"
    signatures = {one: parameters(attrgetter(one)(cupy)) for one in CALLABLES}
    return {"cupy": cupy.__version__, "signatures": signatures, "attributes": sorted({*ATTRIBUTES, *OF_INSTANCES})}


def has(module: Any, name: str) -> bool:
    """Whether a name with dots is there."""
    try:
        attrgetter(name)(module)
    except AttributeError:
        return False
    return True


def kept() -> dict[str, Any]:
    """The table as it is kept."""
    table: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return table


def parameters(function: Any) -> list[str]:
    """The parameters of a function, a method without its self, or a class: `name`, `name=default`, `*`, `*name`."""
    try:
        declared = list(inspect.signature(function).parameters.values())
    except ValueError:  # compiled: the first line of the documentation has them, with types of C
        return documented(function.__doc__ or "()")
    said: list[str] = []
    for one in declared:
        if one.kind is one.KEYWORD_ONLY and not any(name.startswith("*") for name in said):
            said.append("*")
        stars = "*" if one.kind is one.VAR_POSITIONAL else "**" if one.kind is one.VAR_KEYWORD else ""
        default = "" if one.default is one.empty else f"={_named(one.default)}"
        said.append(f"{stars}{one.name}{default}")
    return [name for name in said if name != "self"]


def documented(text: str) -> list[str]:
    """What stands in the parentheses of a line such as `Device.f(self, size_t size, stream=None) -> int`."""
    inside = re.match(r"[\w.]*\((.*?)\)(?: ->|$)", text.strip().partition("\n")[0])
    assert inside is not None, text[:80]
    words = [word.strip() for word in inside.group(1).split(",")]
    return [re.sub(r"^(?:\w+ )+(?=[\w*])", "", word) for word in words if word not in ("", "self")]


def _named(default: Any) -> str:
    return default.__name__ if isinstance(default, type) else repr(default)


if __name__ == "__main__":
    FILE.write_text(json.dumps(found("CuPy"), indent=1) + "\n", encoding="utf-8")
