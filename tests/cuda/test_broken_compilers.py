"""Compilers that are installed and cannot be used: what is said, and what to do. Each in a process that pretends."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOLD = """
import rmsprop_jit
try:
    print(len(rmsprop_jit.RMSprop(compiler={compiler!r}).explain({form!r})))
except rmsprop_jit.BackendError as problem:
    print(problem)
"""

WITHOUT_ROW_STACK = """
import numpy
if hasattr(numpy, "row_stack"):
    del numpy.row_stack
    numpy.__version__ = "2.5.0"
"""
"""NumPy 2.5, as far as its importers can see."""

WARNS = """
import importlib.abc, importlib.util, sys, warnings

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name == "numba_cuda_mlir" else None
    def exec_module(self, module):
        warnings.warn("this will go away", DeprecationWarning)

import rmsprop_jit
sys.meta_path.insert(0, Finder())
"""


def told(script: str, folder: Path, *flags: str) -> str:
    """What a script prints, without the simulator and with an empty cache."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"}
    environment["RMSPROP_JIT_CACHE_DIR"] = str(folder)
    command = [sys.executable, *flags, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed")
def test_numba_cuda_on_a_numpy_that_is_too_new_names_the_pin(tmp_path: Path) -> None:
    text = told(WITHOUT_ROW_STACK + TOLD.format(compiler="numba-cuda", form="ptx"), tmp_path)
    assert "numba-cuda cannot be loaded" in text
    assert "row_stack" in text
    assert "Received: compiler='numba-cuda'" in text
    for driver in ("12", "13"):
        assert f"pip install 'numba-cuda[cu{driver}]' cupy-cuda{driver}x 'numpy<2.5'" in text
    assert "compiler='numba-cuda-mlir'" in text


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda_mlir") is None, reason="numba-cuda-mlir is not installed")
def test_numba_cuda_mlir_compiles_with_that_numpy(tmp_path: Path) -> None:
    assert int(told(WITHOUT_ROW_STACK + TOLD.format(compiler="numba-cuda-mlir", form="ptx"), tmp_path)) > 1000


@pytest.mark.parametrize("flags", [("-W", "error"), ("-W", "error", "-W", "ignore::DeprecationWarning")])
def test_a_warning_that_is_an_error_names_the_exception_to_make(tmp_path: Path, flags: tuple[str, ...]) -> None:
    text = told(WARNS + TOLD.format(compiler="numba-cuda-mlir", form="ptx"), tmp_path, *flags)
    assert "numba-cuda-mlir cannot be loaded" in text
    assert "Received: compiler='numba-cuda-mlir'" in text
    if len(flags) == 2:
        assert "this will go away" in text
        assert "-W ignore::DeprecationWarning" in text
        assert "pip install" not in text
    else:
        assert "pip install 'numba-cuda-mlir[cu13]" in text, "the pretended package is empty"
    assert "compiler='numba-cuda'" in text


OTHER_LINKER = """
import types
import cuda.core, cuda.bindings.driver, cuda.bindings.nvjitlink
cuda.bindings.driver.cuDriverGetVersion = lambda: (0, {driver}000)
cuda.bindings.nvjitlink.version = lambda: ({nvjitlink}, 9)

class LinkerOptions:
    def __init__(self, arch, verbose=None, ptxas_options=None):
        if ptxas_options is not None:
            raise ValueError("ptxas_options option is not supported by the driver API")
        self.verbose = verbose

class Linker:
    def __init__(self, *codes, options):
        if not {context}:
            raise RuntimeError("CUDA_ERROR_INVALID_CONTEXT: no context is current")
        self.remarks = "Used 24 registers" if options.verbose else ""
    def link(self, kind):
        return types.SimpleNamespace(code=b"machine code")
    def get_info_log(self):
        return self.remarks

cuda.core.Linker, cuda.core.LinkerOptions = Linker, LinkerOptions
"""
"""The driver's linker as `cuda.core` presents it."""

needs_linker = pytest.mark.skipif(importlib.util.find_spec("cuda") is None, reason="cuda.core is not installed")

LINKED = """
from rmsprop_jit import BackendError
from rmsprop_jit.codegen.backends.cuda import compilers
code = compilers.Code(".visible .entry k(", "k")
try:
    print(compilers.usage(code, (9, 0)))
except BackendError as problem:
    print(problem)
"""


@needs_linker
def test_the_drivers_linker_tells_registers_too(tmp_path: Path) -> None:
    text = told(OTHER_LINKER.format(driver=13, nvjitlink=12, context=True) + LINKED, tmp_path)
    assert text == "Used 24 registers\n"


@needs_linker
@pytest.mark.parametrize(("driver", "nvjitlink"), [(13, 12), (12, 13)])
def test_the_drivers_linker_without_a_gpu_names_both_versions_and_the_extra(
    tmp_path: Path, driver: int, nvjitlink: int
) -> None:
    text = told(OTHER_LINKER.format(driver=driver, nvjitlink=nvjitlink, context=False) + LINKED, tmp_path)
    assert "no machine code was made for sm_90 (CUDA_ERROR_INVALID_CONTEXT" in text
    assert f"Received: nvJitLink of CUDA {nvjitlink}, a driver of CUDA {driver}" in text
    assert f"Install the extra cuda{driver}." in text


@needs_linker
def test_what_nvjitlink_refuses_is_an_error_of_this_package(tmp_path: Path) -> None:
    text = told(LINKED, tmp_path)
    assert "no machine code was made for sm_90" in text
    assert "Received: nvJitLink of CUDA 1" in text
