"""Public names: listed, sorted, documented."""

import ast
import inspect
import subprocess
import sys
import types
from typing import Any

import pytest

import rmsprop_jit
from rmsprop_jit import codegen
from rmsprop_jit.rules import table

PACKAGES = [rmsprop_jit, codegen]
NAMES = [(package, name) for package in PACKAGES for name in package.__all__]


def order(package: types.ModuleType, name: str) -> tuple[int, str]:
    """CONSTANTS, then Classes (some of whose names are short for others), then functions, each by name."""
    is_class = isinstance(getattr(package, name), type)
    return (0 if name.isupper() and not is_class else 1 if name[0].isupper() else 2, name)


def public_globals(package: types.ModuleType) -> set[str]:
    """What a package's module defines or imports for others, now or when first asked; submodules aside."""
    later = getattr(package, "_COMPILER", {}) | getattr(package, "_HOMES", {})
    return later.keys() | {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType) and name != "annotations"
    }


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_all_is_sorted_and_complete(package: types.ModuleType) -> None:
    taken_over = codegen.functions.__all__ if package is codegen else []
    own = package.__all__[: len(package.__all__) - len(taken_over)]
    assert own == sorted(own, key=lambda name: order(package, name))
    assert package.__all__[len(own) :] == taken_over == sorted(taken_over)
    assert len(set(package.__all__)) == len(package.__all__)
    assert set(package.__all__) == public_globals(package)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_a_star_import_gives_all(package: types.ModuleType) -> None:
    names: dict[str, Any] = {}
    exec(f"from {package.__name__} import *", names)
    assert names.keys() - {"__builtins__"} == set(package.__all__)


def is_documented(thing: object) -> bool:
    return bool((inspect.getdoc(thing) or "").strip())


def label(value: str | types.ModuleType) -> str:
    return value if isinstance(value, str) else value.__name__


@pytest.mark.parametrize(("package", "name"), NAMES, ids=label)
def test_a_public_name_has_a_docstring_of_its_own(package: types.ModuleType, name: str) -> None:
    thing = getattr(package, name)
    if isinstance(thing, type) or callable(thing):
        assert thing.__doc__
        assert thing.__doc__.strip()
        assert not thing.__doc__.startswith(f"{name}("), "the text that a dataclass makes up"


@pytest.mark.parametrize(("package", "name"), NAMES, ids=label)
def test_a_public_function_or_class_knows_its_name(package: types.ModuleType, name: str) -> None:
    thing = getattr(package, name)
    if isinstance(thing, type) or callable(thing):
        assert thing.__name__ == name
        assert thing.__module__.startswith("rmsprop_jit.")


CLASSES = [(package, name) for package, name in NAMES if isinstance(getattr(package, name), type)]


@pytest.mark.parametrize(("package", "name"), CLASSES, ids=label)
def test_public_methods_have_docstrings(package: types.ModuleType, name: str) -> None:
    bare = []
    for owner in getattr(package, name).__mro__:
        if not owner.__module__.startswith("rmsprop_jit"):
            continue
        for attribute, value in vars(owner).items():
            is_method = isinstance(value, types.FunctionType | classmethod | staticmethod | property)
            if is_method and not attribute.startswith("_") and not is_documented(getattr(owner, attribute)):
                bare.append(f"{owner.__name__}.{attribute}")
    assert not bare


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_the_package_is_documented(package: types.ModuleType) -> None:
    assert is_documented(package)


def test_the_errors_are_one_tree() -> None:
    for name in ("RuleError", "LoweringError", "BackendError", "ArrayError", "OptionError"):
        error = getattr(rmsprop_jit, name)
        assert error is getattr(codegen, name)
        assert issubclass(error, rmsprop_jit.RmspropJitError)
    assert issubclass(rmsprop_jit.ArrayError, ValueError)
    assert issubclass(rmsprop_jit.OptionError, ValueError)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_what_is_imported_later_is_listed_already(package: types.ModuleType) -> None:
    script = f"import {package.__name__} as package; print(set(package.__all__) - set(dir(package)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"


def imported_for_checkers() -> dict[str, str]:
    """The families from which the table of rules imports each class, where only type checkers look."""
    (block,) = (node for node in ast.parse(inspect.getsource(table)).body if isinstance(node, ast.If))
    lines = [node for node in block.body if isinstance(node, ast.ImportFrom) and node.module != "row"]
    families = [node for node in lines if node.level == 1]
    assert all(alias.asname == alias.name for node in families for alias in node.names)
    return {alias.name: str(node.module) for node in families for alias in node.names}


def test_type_checkers_see_the_classes_of_the_table() -> None:
    assert imported_for_checkers() == table.HOMES
    assert table.HOMES.keys() < set(rmsprop_jit.__all__)
    classes = [getattr(rmsprop_jit, name) for name in table.HOMES]
    assert [row.rule.name for row, _ in table.TABLE.values()] == [name.lower() for name in table.HOMES]
    assert [made for _, made in table.TABLE.values()] == classes


def test_a_name_that_is_not_there_is_refused() -> None:
    with pytest.raises(AttributeError, match=r"'rmsprop_jit' has no attribute 'RMSProp'"):
        _ = rmsprop_jit.RMSProp
    assert rmsprop_jit.RMSprop is vars(rmsprop_jit)["RMSprop"]
    assert rmsprop_jit.schedules.ExponentialDecay is rmsprop_jit.ExponentialDecay
