"""One-way imports: each module uses only what stands before it, and importing the package loads nothing heavy."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import rmsprop_jit

FRONT = Path(rmsprop_jit.__file__).parent
CODEGEN = FRONT / "codegen"

ORDER = [
    {"errors", "kinds", "locks"},
    {"ops", "dtypes"},
    {"expr"},
    {"functions", "names", "walk"},
    {"simplify", "rule"},
    {"program"},
    {"printer", "schedule", "verify"},
    {"lower", "scalars", "rows", "private"},
    {"store"},
    {"backends"},
    {"pipeline"},
    {"__init__"},
]
"""The layers of codegen/, each knowing only those before it."""

OUTSIDE = {"numpy", "numba", "llvmlite", "cupy", "numba_cuda", "numba_cuda_mlir", "cuda", "platformdirs"}
"""What codegen/ may use beside the standard library."""

HEAVY = ["numba", "llvmlite", "torch", "jax", "cupy", "matplotlib", "sklearn", "autograd", "rich", "keras", "scipy"]

CODEGEN_FILES = sorted(CODEGEN.rglob("*.py"))
FRONT_FILES = sorted(path for path in FRONT.rglob("*.py") if not path.is_relative_to(CODEGEN))


def place(module):
    """The layer of a module of codegen/, by the first part of its path."""
    return next(i for i, layer in enumerate(ORDER) if module in layer)


def imports(path):
    """The import statements of a file, as (level, dotted name), wherever they are."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module:
                yield node.level, node.module
            else:
                yield from ((node.level, alias.name) for alias in node.names)


def module_of(path):
    """The part of codegen/ that a file is in."""
    return path.relative_to(CODEGEN).parts[0].removesuffix(".py")


def inside(path):
    """The parts of codegen/ that a file imports, its own package's siblings included."""
    depth = len(path.relative_to(CODEGEN).parts)
    for level, name in imports(path):
        if level:
            assert level <= depth, f"{path}: `{'.' * level}{name}` leaves codegen"
            yield name.split(".")[0] if level == depth else module_of(path)


@pytest.mark.parametrize("path", CODEGEN_FILES, ids=lambda path: str(path.relative_to(CODEGEN)))
def test_a_module_of_codegen_imports_only_earlier_ones(path):
    own = module_of(path)
    for used in inside(path):
        if own == used == "backends":
            continue
        assert place(used) < place(own), f"{own} must not import {used}"


@pytest.mark.parametrize("path", CODEGEN_FILES, ids=lambda path: str(path.relative_to(CODEGEN)))
def test_codegen_imports_itself_relatively_and_little_else(path):
    absolute = {name.split(".")[0] for level, name in imports(path) if not level}
    assert absolute <= OUTSIDE | sys.stdlib_module_names
    own = {"codegen", "rmsprop_jit"} | {module.stem for module in FRONT.glob("*.py")}
    assert not {name for level, name in imports(path) if not level and name.split(".")[0] in own - {"__init__"}}


def test_backends_do_not_import_each_other_in_a_circle():
    files = {path.stem: path for path in (CODEGEN / "backends").glob("*.py") if path.stem != "__init__"}
    uses = {
        stem: {name.split(".")[0] for level, name in imports(path) if level == 1} & files.keys()
        for stem, path in files.items()
    }
    while uses:
        free = [stem for stem, used in uses.items() if not used & uses.keys()]
        assert free, f"a circle in {sorted(uses)}"
        for stem in free:
            del uses[stem]


def front_name(path):
    """A module of the front end, as "arrays.homes"; a package is its `__init__`."""
    return ".".join(path.relative_to(FRONT).with_suffix("").parts)


FRONT_NAMES = {front_name(path) for path in FRONT_FILES}


def front_imports(path):
    """The modules of the front end and of codegen/ that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("rmsprop_jit") for alias in node.names), "imports are relative"
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.relative_to(FRONT).parts[: -node.level]
            parts = [*folder, *(node.module.split(".") if node.module else ())]
            for alias in node.names:
                whole = [".".join([*parts, *more]) for more in ((alias.name,), ())]
                yield next((name for name in whole if name in FRONT_NAMES), whole[0])


def test_few_modules_of_the_front_end_know_codegen():
    users = {
        front_name(path) for path in FRONT_FILES if any(name.split(".")[0] == "codegen" for name in front_imports(path))
    }
    rules = {name for name in FRONT_NAMES if name.startswith("rules.")}
    assert users <= rules | {"_kernels", "arrays.cupy", "arrays.numpy", "errors", "flags", "options"}


def test_the_front_end_has_no_circles():
    uses = {front_name(path): set(front_imports(path)) & FRONT_NAMES - {front_name(path)} for path in FRONT_FILES}
    assert "arrays.homes" in uses["optimizer"]
    while uses:
        free = [stem for stem, used in uses.items() if not used & uses.keys()]
        assert free, f"a circle in {sorted(uses)}"
        for stem in free:
            del uses[stem]


def loaded_after(statement):
    """The top-level modules that a fresh interpreter has loaded after a statement."""
    script = (
        f"import sys\n{statement}\nimport json\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    )
    path = [str(FRONT.parent), *filter(None, sys.path)]
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{script}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", ["rmsprop_jit", "rmsprop_jit.codegen"])
def test_importing_loads_nothing_heavy(module):
    assert not loaded_after(f"import {module}") & set(HEAVY)


def test_constructing_and_building_load_no_compiler():
    lines = (
        "import numpy, rmsprop_jit",
        "optimizer = rmsprop_jit.RMSprop(centered=True, clipnorm=1.0, use_ema=True)",
        "optimizer.build([numpy.zeros(3, 'float32')])",
        "optimizer.explain()",
    )
    assert not loaded_after("; ".join(lines)) & set(HEAVY)
