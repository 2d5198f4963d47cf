"""The stand-in for CuPy is as CuPy is: what the package uses is in a table, of which both are checked."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import cupy_table
import pytest
import simulated_cupy
import simulated_streams

ROOT = Path(__file__).parents[2]
FILES = [*sorted((ROOT / "codegen" / "backends" / "cuda").glob("*.py")), ROOT / "rmsprop_jit" / "arrays" / "cupy.py"]
TABLE = cupy_table.kept()
SIGNATURES: dict[str, list[str]] = TABLE["signatures"]
KNOWN = {*SIGNATURES, *TABLE["attributes"]}

MADE = {
    "empty": "ndarray",
    "asarray": "ndarray",
    "from_dlpack": "ndarray",
    "ndarray.data": "cuda.MemoryPointer",
    "ndarray.device": "cuda.Device",
    "cuda.get_current_stream": "cuda.Stream",
    "cuda.alloc_pinned_memory": "cuda.PinnedMemoryPointer",
    **{name: name for name in ("cuda.Device", "cuda.Event", "cuda.ExternalStream", "cuda.MemoryPool", "cuda.Stream")},
    "cuda.function.Module": "cuda.function.Module",
}
"""Of what class the results and values of CuPy's are."""

OBJECTS = {"DeviceArray": "ndarray", "device.DeviceArray": "ndarray", "Array": "ndarray"}
"""What annotations of the package's own stand for."""

NUMPYS = {"ndarray.flags.c_contiguous"}
"""Attributes of what is NumPy's in CuPy, too."""


# What the package uses.


class Uses(ast.NodeVisitor):
    """Collects the dotted names of CuPy that a file uses, as far as it shows what is CuPy's."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self._kinds: dict[str, str] = {"xp": "", "cupy": ""}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outside, self._kinds = self._kinds, dict(self._kinds)
        for one in [*node.args.args, *node.args.kwonlyargs]:
            if one.annotation is not None and (kind := OBJECTS.get(ast.unparse(one.annotation))):
                self._kinds[one.arg] = kind
        self.generic_visit(node)
        self._kinds = outside

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        pairs = [(target, node.value) for target in node.targets]
        for target, value in pairs:
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs += zip(target.elts, value.elts, strict=True)
            kind = self.kind(value)
            if isinstance(target, ast.Name) and kind is not None:
                self._kinds[target.id] = kind

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        self.kind(node)

    def kind(self, node: ast.AST) -> str | None:
        """What of CuPy's a node is: "" for the module, "cuda.Stream" for a stream; None for anything else."""
        if isinstance(node, ast.Name):
            return self._kinds.get(node.id)
        if isinstance(node, ast.Call):
            if ast.unparse(node.func).rpartition(".")[2] == "cupy" and not node.args:
                return ""
            called = self.kind(node.func)
            return None if called is None else MADE.get(called)
        if isinstance(node, ast.Attribute):
            owner = self.kind(node.value)
            if owner is None:
                return None
            name = f"{owner}.{node.attr}".lstrip(".")
            self.found.add(name)
            return name if name in SIGNATURES else MADE.get(name, name)
        return None


def used() -> set[str]:
    """All that the package uses."""
    found: set[str] = set()
    for path in FILES:
        uses = Uses()
        uses.visit(ast.parse(path.read_text(encoding="utf-8")))
        found |= uses.found
    return found


def test_what_the_package_uses_of_cupy_is_in_the_table() -> None:
    found = used()
    assert {"empty", "cuda.Device", "cuda.Event.record", "cuda.function.Module.load", "ndarray.data"} <= found
    assert {"cuda.Device.synchronize", "cuda.MemoryPointer.ptr", "cuda.runtime.pointerGetAttributes"} <= found
    assert found <= KNOWN | NUMPYS


def strings(name: str) -> set[str]:
    """The strings of a file of the backends."""
    tree = ast.parse((ROOT / "codegen" / "backends" / name).read_text(encoding="utf-8"))
    return {one.value for one in ast.walk(tree) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def test_what_arrays_are_asked_by_name_is_in_the_table() -> None:
    found = strings("tensors.py") | strings("cuda/columns.py") | strings("cuda/reader.py")
    names = ["dtype", "shape", "data", "device", "_c_contiguous", "flags.c_contiguous"]
    for name in names:
        assert name in found
        assert f"ndarray.{name}" in KNOWN | NUMPYS
    assert {"data.device_id", "device.id", "ptr"} <= found
    assert {"cuda.MemoryPointer.device_id", "cuda.Device.id", "cuda.MemoryPointer.ptr"} <= KNOWN


# What the stand-in has.

ITS_OWN = {
    "ELSEWHERE",
    "device_of",
    "ndarray",
    "cuda.MemoryPointer",
    *(f"cuda.Stream.{name}" for name in ("submit", "finish", "refuse_capture")),
    "cuda.Event.finish",
    "cuda.graph.Graph",
    "cuda.runtime.CUDARuntimeError",
    "pointer_attributes",
}
"""What makes the stand-in work: nobody but tests and itself asks for it. CuPy makes arrays and pointers otherwise."""


def callables(owner: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The public functions, classes and methods of the stand-in, by the names that CuPy has for them."""
    for name, value in vars(owner).items():
        if name.startswith("_") or not callable(value):
            continue
        if not (owner is simulated_cupy and getattr(value, "__module__", "") != "simulated_cupy"):
            yield prefix + name, value
            if inspect.isclass(value) and not issubclass(value, Exception):
                yield from callables(value, f"{prefix}{name}.")


def stand_in() -> dict[str, Any]:
    """All of it."""
    found = dict(callables(simulated_cupy, ""))
    cuda = simulated_cupy.cuda
    for owner, prefix in ((cuda, "cuda."), (cuda.runtime, "cuda.runtime."), (cuda.graph, "cuda.graph.")):
        found |= dict(callables(owner, prefix))
    return found


@pytest.mark.parametrize("name", sorted(stand_in().keys() - ITS_OWN))
def test_the_stand_in_takes_what_cupy_takes(name: str) -> None:
    assert cupy_table.parameters(stand_in()[name]) == SIGNATURES[name]


def test_the_stand_in_has_what_the_package_uses() -> None:
    objects = {
        "ndarray": simulated_cupy.empty(3, "float32"),
        "cuda.MemoryPointer": simulated_cupy.empty(3, "float32").data,
        "cuda.PinnedMemoryPointer": simulated_cupy.cuda.alloc_pinned_memory(8),
        "cuda.Device": simulated_cupy.cuda.Device(),
        "cuda.Event": simulated_cupy.cuda.Event(),
        "cuda.Stream": simulated_cupy.cuda.get_current_stream(),
    }
    lacking = []
    for name in sorted(used() & KNOWN):
        owner, _, attribute = name.rpartition(".")
        there = objects.get(owner, None)
        if not (hasattr(there, attribute) if there is not None else cupy_table.has(simulated_cupy, name)):
            lacking.append(name)
    assert [name for name in lacking if not name.startswith("cuda.function")] == [], "the driver of tests loads kernels"


def test_what_nobody_asks_of_the_stand_in_is_refused() -> None:
    with pytest.raises(NotImplementedError, match=r"knows no \['out'\]"):
        simulated_cupy.empty(3).get(out=object())
    with pytest.raises(NotImplementedError, match="priority"):
        simulated_streams.Stream(priority=-1)


# CuPy itself.


def test_the_table_is_what_the_installed_cupy_says() -> None:
    cupy = pytest.importorskip("cupy")
    if cupy.__version__.split(".")[:2] == TABLE["cupy"].split(".")[:2]:
        assert cupy_table.found(f"CuPy {cupy.__version__}") | {"cupy": TABLE["cupy"]} == TABLE
    for name in sorted(used() & {*SIGNATURES}):  # of any version, what is called is there, with the parameters used
        assert callable(attrgetter(name)(cupy)), name


@pytest.mark.parametrize(
    ("said", "parameters"),
    [
        ("f(intptr_t stream, unsigned int flags=0)", ["stream", "flags=0"]),
        ("A.f(self, *shape, order='C') -> A\n\nText (with words).", ["*shape", "order='C'"]),
        ("f()", []),
    ],
)
def test_signatures_are_read_from_the_documentation_of_compiled_functions(said: str, parameters: list[str]) -> None:
    assert cupy_table.documented(said) == parameters
