"""The wheel: one import package, everything it needs and nothing else, and it runs from where it is installed."""

import configparser
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ["pyproject.toml", "README.md", "LICENSE", "rmsprop_jit", "codegen", "tests", "benchmarks"]
UNWANTED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info")

pytestmark = [
    pytest.mark.skipif(not (ROOT / "codegen").is_dir(), reason="the tests run without the source tree"),
    pytest.mark.xdist_group("wheel"),
]


def run(*command: str | Path, **options: Any) -> str:
    """Run a command; its output is in the message if it fails."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=300, **options
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def copy_of_the_source(folder: Path) -> Path:
    """The source tree, links kept as links, without what version control ignores."""
    folder.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, symlinks=True, ignore=UNWANTED)
        elif source.exists():
            shutil.copy2(source, folder / part)
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a freshly built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    source = copy_of_the_source(folder / "source")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", source)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def files(wheel: Path) -> list[str]:
    """The files in the wheel."""
    return zipfile.ZipFile(wheel).namelist()


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the wheel installed and finds its dependencies where this one does."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=False, symlinks=os.name != "nt")
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    made = scripts / ("python.exe" if os.name == "nt" else "python")
    run(sys.executable, "-m", "pip", "--python", made, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    purelib = Path(run(made, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    (purelib / "dependencies.pth").write_text("\n".join(sorted(ours)) + "\n")
    return made


def test_the_only_import_package_is_rmsprop_jit(files: list[str]) -> None:
    tops = {name.split("/")[0] for name in files}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"rmsprop_jit"}


def test_every_module_is_in_the_wheel(files: list[str]) -> None:
    front = [path for path in (ROOT / "rmsprop_jit").rglob("*.py") if "codegen" not in path.parts]
    expected = {str(path.relative_to(ROOT)) for path in front}
    expected |= {f"rmsprop_jit/{path.relative_to(ROOT)}" for path in (ROOT / "codegen").rglob("*.py")}
    expected = {name.replace(os.sep, "/") for name in expected}
    assert {name for name in files if name.endswith(".py")} == expected
    for package in (
        "",
        "arrays/",
        "examples/",
        "rules/",
        "codegen/",
        "codegen/backends/cpu/",
        "codegen/backends/cuda/",
    ):
        assert f"rmsprop_jit/{package}__init__.py" in expected


def test_the_wheel_is_typed_and_has_no_tests(files: list[str]) -> None:
    assert "rmsprop_jit/py.typed" in files
    unwanted = ("test", "benchmark", "golden", "simulated")
    assert not [name for name in files if any(word in name.lower() for word in unwanted)]
    assert len(files) == len(set(files))


def test_the_wheel_is_for_every_machine(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_metadata(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    text = archive.read(name).decode()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Name: {project['name']}\n" in text
    assert f"Version: {project['version']}\n" in text
    assert "License-File: LICENSE\n" in text
    for requirement in project["dependencies"]:
        assert f"Requires-Dist: {requirement}" in text.replace(" ", "").replace("Requires-Dist:", "Requires-Dist: ")


def test_the_command_has_its_module(wheel: Path, files: list[str]) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in files if name.endswith(".dist-info/entry_points.txt"))
    scripts = configparser.ConfigParser()
    scripts.read_string(archive.read(name).decode())
    for target in scripts["console_scripts"].values():
        assert target.split(":")[0].replace(".", "/") + ".py" in files


STEP = """
import pathlib, sys
import numpy, rmsprop_jit
import rmsprop_jit.codegen
for module in (rmsprop_jit, rmsprop_jit.codegen):
    assert pathlib.Path(module.__file__).is_relative_to(sys.prefix), module.__file__
try:
    import codegen
except ImportError:
    pass
else:
    raise AssertionError(codegen.__file__)
weights = numpy.array([1.0, 2.0], numpy.float32)
optimizer = rmsprop_jit.RMSprop(learning_rate=0.1)
optimizer.apply([numpy.array([0.5, -0.5], numpy.float32)], [weights])
print(rmsprop_jit.__version__, *weights)
"""


def test_it_runs_from_where_it_is_installed(python: Path, tmp_path: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    printed = run(python, "-W", "error", "-c", STEP, cwd=tmp_path, env=environment).split()
    assert printed[0] == version
    assert abs(float(printed[1]) - (1 - 0.1 / 0.1**0.5)) < 1e-5
    assert abs(float(printed[2]) - (2 + 0.1 / 0.1**0.5)) < 1e-5
