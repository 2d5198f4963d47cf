"""One-way imports: each module uses only what stands before it, and importing the package loads nothing heavy."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rmsprop_jit
import rmsprop_jit.codegen
from rmsprop_jit.rules.table import HOMES

FRONT = Path(rmsprop_jit.__file__).parent
CODEGEN = FRONT / "codegen"

ORDER = [
    {"bits", "errors", "integers", "kinds", "locks", "memo", "memory"},
    {"operations", "interned", "texts"},
    {"ops", "dtypes", "refusals", "equations", "places", "reading", "axes"},
    {"expr", "parts"},
    {"expansions", "names", "philox", "signatures", "walk"},
    {"outsides"},
    {"functions", "listing", "locals", "news", "pieces"},
    {"blocks", "letters"},
    {"latex"},
    {"simplify", "rule", "draws", "kernel"},
    {"composed", "expand", "program"},
    {"defined", "schedule", "sorts"},
    {"beside", "rounding", "verify"},
    {"printer", "stages"},
    {"guards", "writer"},
    {"staged"},
    {"lower", "scalars", "rows", "private"},
    {"room"},
    {"store"},
    {"backends"},
    {"pipeline"},
    {"codes"},
    {""},
]
"""The layers of codegen/, each knowing only those before it; "" is the package itself."""

BACKENDS = [
    {"entries", "object_file", "cuda_compilers", "llvm_bits", "mlir_lines", "mlir_places", "coarse"},
    {"ledger", "mlir_blocks"},
    {"detours", "marked", "mlir"},
    {"contract"},
    {"hypers"},
    {"joint", "reference"},
    {"cpu"},
    {"attribute", "lists", "noted", "spans", "shim"},
    {"inside"},
    {"dlpack"},
    {"tensors"},
    {"cuda"},
    {""},
]
"""The layers of codegen/backends/; a place's backend knows no other's, but for what reads tensors on the host."""

KNOWN = {
    "": {""},
    "rules.around": {"", "composed", "names", "rule"},
    "rules.decays": {"", "names", "rule"},
    "rules.steps": {"", "expr", "ops", "places"},
    "rules.row": {""},
    "rules.named": {""},
    "rules.by_tensor": {"", "composed", "expr", "kinds", "lower", "ops", "outsides", "walk"},
    "rules.dialects": {"", "expr", "names"},
    "rules": {"", "names"},
    "errors": {"errors"},
    "checkers": {"backends.cuda_compilers", "dtypes"},
    "options": {"integers", "kinds", "memo"},
    "option_table": {"", "dtypes"},
    "storages": {"", "codes", "dtypes", "integers", "kinds", "pieces"},
    "rates": {""},
    "settings": {"memo"},
    "flags": {"", "expr", "kinds", "lower", "simplify", "walk"},
    "averages": {"backends", "backends.entries", "backends.ledger", "pieces"},
    "beside": {"backends", "backends.entries", "backends.ledger", "dtypes", "pieces"},
    "arrays.homes": {"backends.contract"},
    "arrays.numpy": {"backends", "backends.contract", "memory"},
    "torch.common": {"", "kinds"},
    "torch.engine": {"backends.attribute", "locks"},
    "torch.kept": {"", "backends.tensors"},
    "torch.lent": {"memory"},
    "torch.launches": {"", "backends"},
    "torch.optimizers": {""},
    "torch.words": {""},
    "arrays.torch": {"backends.contract"},
    "arrays.versions": {"backends.inside"},
    "arrays.tensors": {"backends.attribute", "backends.spans", "backends.tensors", "memory"},
    "arrays.exchanged": {"backends.contract"},
    "arrays.cupy": {"backends", "backends.contract", "backends.cuda.device", "backends.cuda.foreign"},
    "buckets": {"", "backends", "backends.contract", "backends.entries", "backends.ledger", "kinds"},
    "ahead": {"backends.entries"},
    "rests": {"backends", "backends.entries", "backends.ledger"},
    "plan": {"backends.contract", "backends.entries", "backends.ledger"},
    "calls": {"backends.contract", "backends.entries"},
    "chosen": {"backends", "backends.contract", "backends.entries", "backends.ledger"},
    "counting": {"backends", "backends.entries", "backends.ledger"},
    "members": {"backends.contract", "dtypes", "memo", "pieces"},
    "readers": {"backends.contract"},
    "moving": {"backends", "backends.entries"},
    "attributes": {"locks"},
    "capture": {"backends"},
    "scratch": {"backends.contract"},
    "combinators": {"", "names"},
    "composing": {"", "composed", "expr", "names", "rule"},
    "stateless": {"backends.ledger"},
    "slots": {"", "backends", "backends.entries", "backends.ledger", "codes", "pieces"},
    "by_name": {""},
    "shared": {"", "backends"},
    "state": {"backends", "backends.entries", "backends.ledger", "pieces"},
    "transfers": {"backends", "backends.entries"},
    "state_view": {"dtypes", "pieces"},
    "saving": {"memory"},
    "cache": {"backends", "room", "store"},
    "identity": {"backends.lists", "memory"},
    "shown": {""},
}
"""What each module of the front end knows of codegen/: its public names (""), or more. No other knows any of it.

"rules" is each family of rules.
"""

OUTSIDE = {"numpy", "numba", "llvmlite", "cupy", "numba_cuda", "numba_cuda_mlir", "cuda", "platformdirs"}
"""What codegen/ may use beside the standard library."""

HEAVY = ["numba", "llvmlite", "torch", "jax", "cupy", "matplotlib", "sklearn", "autograd", "rich", "keras", "scipy"]
HEAVY += ["safetensors"]  # which is of saving and loading alone


def modules(root: Path) -> dict[str, Path]:
    """All modules under a folder by dotted name; a package is its folder's, the folder itself is ""."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        *folders, stem = path.relative_to(root).with_suffix("").parts
        found[".".join(folders if stem == "__init__" else [*folders, stem])] = path
    return found


CODEGEN_MODULES = modules(CODEGEN)
FRONT_MODULES = {name: path for name, path in modules(FRONT).items() if name.split(".")[0] != "codegen"}


def imports(path: Path, root: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules that a file imports relatively, wherever it does, as dotted names under `root`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            folders = path.relative_to(root).parts[:-1]
            above = len(folders) + 1 - node.level
            assert above >= 0, f"{path}: `{'.' * node.level}{node.module or ''}` leaves {root.name}"
            parts = [*folders[:above], *(node.module.split(".") if node.module else ())]
            for alias in node.names:
                whole = ".".join([*parts, alias.name])
                yield whole if whole in known else ".".join(parts)


CODEGEN_USES = {name: {*imports(path, CODEGEN, CODEGEN_MODULES)} for name, path in CODEGEN_MODULES.items()}
EVERYTHING = {**FRONT_MODULES, **{f"codegen.{name}".rstrip("."): path for name, path in CODEGEN_MODULES.items()}}
FRONT_USES = {name: {*imports(path, FRONT, EVERYTHING)} for name, path in FRONT_MODULES.items()}


def place(module: str, layers: list[set[str]]) -> int:
    """The layer of a module, by the first part of its name."""
    return next(i for i, layer in enumerate(layers) if module.split(".")[0] in layer)


def assert_no_circle(uses: dict[str, set[str]]) -> None:
    uses = {name: used & uses.keys() - {name} for name, used in uses.items()}
    while uses:
        free = [name for name, used in uses.items() if not used & uses.keys()]
        assert free, f"a circle in {sorted(uses)}"
        for name in free:
            del uses[name]


@pytest.mark.parametrize("module", CODEGEN_MODULES)
def test_a_module_of_codegen_imports_only_earlier_ones(module: str) -> None:
    for used in CODEGEN_USES[module]:
        if module.split(".")[0] == used.split(".")[0] == "backends":
            continue
        assert place(used, ORDER) < place(module, ORDER), f"{module} must not import {used}"


INSIDE_BACKENDS = {
    name.removeprefix("backends").removeprefix("."): {
        one.removeprefix("backends").removeprefix(".") for one in used if one.split(".")[0] == "backends"
    }
    for name, used in CODEGEN_USES.items()
    if name.split(".")[0] == "backends"
}


@pytest.mark.parametrize("module", INSIDE_BACKENDS)
def test_a_backend_imports_no_other(module: str) -> None:
    for used in INSIDE_BACKENDS[module]:
        if module.split(".")[0] == used.split(".")[0]:
            continue
        assert place(used, BACKENDS) < place(module, BACKENDS), f"{module} must not import {used}"


@pytest.mark.parametrize("uses", [CODEGEN_USES, FRONT_USES], ids=["codegen", "front"])
def test_there_are_no_circles(uses: dict[str, set[str]]) -> None:
    assert "backends.cpu.llvm" in CODEGEN_USES["backends.cpu.jit"]
    assert "arrays.homes" in FRONT_USES["optimizer"]
    assert_no_circle(uses)


def test_a_circle_is_noticed() -> None:
    with pytest.raises(AssertionError, match="a circle in"):
        assert_no_circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})


def test_few_modules_of_the_front_end_know_codegen() -> None:
    known = {
        name: {one.removeprefix("codegen").removeprefix(".") for one in used if one.split(".")[0] == "codegen"}
        for name, used in FRONT_USES.items()
    }
    families = {f"rules.{family}" for family in ("parts", *HOMES.values())}
    assert {name: used for name, used in known.items() if used and name not in families} | {
        "rules": KNOWN["rules"]
    } == KNOWN
    for family in families - {"rules.cautious"}:  # which puts combinators around others
        assert known[family] == KNOWN["rules"], family


@pytest.mark.parametrize("path", CODEGEN_MODULES.values(), ids=lambda path: str(path.relative_to(CODEGEN)))
def test_codegen_imports_itself_relatively_and_little_else(path: Path) -> None:
    own = {"codegen", "rmsprop_jit"} | {name.split(".")[0] for name in FRONT_MODULES if name}
    assert not absolute(path) & own
    assert absolute(path) <= OUTSIDE | sys.stdlib_module_names


SCRIPTS = [path for path in FRONT_MODULES.values() if path.parent.name == "examples" and path.stem != "__init__"]


@pytest.mark.parametrize("path", FRONT_MODULES.values(), ids=lambda path: str(path.relative_to(FRONT)))
def test_the_front_end_imports_itself_relatively(path: Path) -> None:
    assert not absolute(path) & ({"codegen"} if path in SCRIPTS else {"codegen", "rmsprop_jit"})


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_imports_what_a_user_can_import(path: Path) -> None:
    """By whole names, for it is there to be copied; and nothing of the package but what is public."""
    assert not [*imports(path, FRONT, FRONT_MODULES)]
    assert absolute(path) <= {"rmsprop_jit", "numpy", "rich", "autograd", "torch"} | sys.stdlib_module_names
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rmsprop_jit"):
            public = {"rmsprop_jit": rmsprop_jit.__all__, "rmsprop_jit.codegen": rmsprop_jit.codegen.__all__}
            assert {alias.name for alias in node.names} <= {*public[str(node.module)]}


def absolute(path: Path) -> set[str]:
    """The first parts of what a file imports by its whole name, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert node.module is not None
            found.add(node.module.split(".")[0])
    return found


def loaded_after(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after a statement."""
    script = f"import sys\n{statement}\nimport json\nprint(json.dumps(sorted(sys.modules)))"
    path = [str(FRONT.parent), *filter(None, sys.path)]
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{script}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", ["rmsprop_jit", "rmsprop_jit.codegen"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    assert not loaded_after(f"import {module}") & set(HEAVY)


def test_constructing_and_building_load_no_compiler() -> None:
    lines = (
        "import numpy, rmsprop_jit",
        "optimizer = rmsprop_jit.RMSprop(centered=True, clipnorm=1.0, use_ema=True)",
        "optimizer.build([numpy.zeros(3, 'float32')])",
        "optimizer.explain()",
    )
    assert not loaded_after("; ".join(lines)) & set(HEAVY)


def test_importing_the_package_loads_no_more_of_it_than_the_language() -> None:
    """And the table of rules, which knows the names of classes and nothing else."""
    found = loaded_after("import rmsprop_jit; dir(rmsprop_jit)")
    table = {"rmsprop_jit", "rmsprop_jit.rules", "rmsprop_jit.rules.table"}
    language = {name for name in found if f"{name}.".startswith("rmsprop_jit.codegen.")}
    assert {name for name in found if name.startswith("rmsprop_jit")} == table | language
    parts = {name.removeprefix("rmsprop_jit.codegen.backends.").partition(".")[0] for name in language}
    assert not parts & {"cpu", "cuda", "mlir", "reference", "joint"}


def test_a_class_loads_its_family_alone() -> None:
    found = loaded_after("from rmsprop_jit import Lion; Lion()")
    families = {f"rmsprop_jit.rules.{family}" for family in HOMES.values()}
    assert found & families == {"rmsprop_jit.rules.signs"}


def test_a_step_of_kept_code_loads_no_compiler_of_python_nor_what_only_compiling_needs(tmp_path: Path) -> None:
    lines = (
        f"import os; os.environ['RMSPROP_JIT_CACHE_DIR'] = {str(tmp_path)!r}",
        "import numpy, rmsprop_jit",
        "weights = numpy.zeros(3, 'float32')",
        "rmsprop_jit.RMSprop().apply([numpy.ones_like(weights)], [weights])",
    )
    first, again = loaded_after("; ".join(lines)), loaded_after("; ".join(lines))
    assert "numba" in first
    assert "numba.np.linalg" not in first  # Numba's arrays, and SciPy for them, would be half of a first step
    assert not again & {"numba", "subprocess", "numpy.ma", "importlib.metadata", "rmsprop_jit.files", "safetensors"}
