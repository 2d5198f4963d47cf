"""From a kernel's source to PTX and machine code, by whichever CUDA compiler is chosen. Needs no GPU.

PTX is the compiler's; NVIDIA's linker (nvJitLink) makes machine code of it for one architecture. Both are kept in the
store, under a name made from the source, and from all versions, files and settings that took part.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import linecache
import os
import re
import shutil
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ... import locks, store
from ...errors import BackendError, OptionError
from .. import object_file
from ..cuda_compilers import COMPILERS
from .linker import linked
from .source import KernelSource

INSTALL = (
    "Run `pip install 'numba-cuda-mlir[cu12]>=0.6,<0.7' cupy-cuda12x` for a driver of CUDA 12 or "
    "`pip install 'numba-cuda-mlir[cu13]>=0.6,<0.7' cupy-cuda13x` for CUDA 13"
)
"""CuPy and the compiler that is chosen first, as in the extras cuda12 and cuda13."""

INSTALL_OTHERS = {
    "numba-cuda": (
        "Run `pip install 'numba-cuda[cu12]' cupy-cuda12x 'numpy<2.5'` for a driver of CUDA 12 or "
        "`pip install 'numba-cuda[cu13]' cupy-cuda13x 'numpy<2.5'` for CUDA 13"
    )
}
"""For what no extra brings. numba-cuda, up to 0.30.4 at least, needs `numpy.row_stack`, which NumPy 2.5 has no more."""

ENTRY = re.compile(r"\.visible \.entry (\w+)\(")
"""A kernel's name in PTX."""

Arch = tuple[int, int]
"""A GPU architecture ("compute capability"), as (9, 0)."""

DEFAULT_ARCH: Arch = (9, 0)
"""What `explain` compiles for where there is no GPU."""

PACKAGES = (
    "numba-cuda-mlir",
    "numba-cuda",
    "numba",
    "llvmlite",
    "cuda-core",
    "cuda-bindings",
    "nvidia-nvvm",
    "nvidia-nvjitlink",
    "nvidia-cuda-nvcc",
    "nvidia-cuda-nvcc-cu12",
    "nvidia-nvjitlink-cu12",
)
"""Whose versions shape what is compiled."""


LOCK = locks.new()
"""Held by whoever compiles: neither compiler is thread safe."""


@dataclass(frozen=True)
class Code:
    """A compiled kernel: its PTX, its name there, and (once linked) its machine code."""

    ptx: str
    symbol: str
    cubin: bytes = b""


def choose(compiler: str | None) -> str:
    """The name of the compiler to use: the one asked for, or the first that is installed.

    Raises OptionError for an unknown name, BackendError if it, or any, is not installed.
    """
    if compiler is not None and compiler not in COMPILERS:
        raise OptionError(f"`compiler` must be one of {', '.join(COMPILERS)} or None. Received: compiler={compiler!r}.")
    for name in COMPILERS if compiler is None else [compiler]:
        if importlib.util.find_spec(name.replace("-", "_")) is not None:
            return name
    wanted = "a CUDA compiler" if compiler is None else compiler
    raise BackendError(f"{wanted} is not installed. Received: compiler={compiler!r}. {_remedy(compiler)}.")


def _remedy(compiler: str | None) -> str:
    """What to run to have a compiler, or any."""
    return INSTALL if compiler is None else INSTALL_OTHERS.get(compiler, INSTALL)


def ptx(kernel: KernelSource, compiler: str, arch: Arch) -> Code:
    """The PTX of a kernel, from the store or from the compiler."""
    return kept("ptx", kernel, compiler, arch, _compile)


def machine_code(kernel: KernelSource, compiler: str, arch: Arch) -> Code:
    """The PTX and the machine code of a kernel, from the store or made."""
    return kept("cubin", kernel, compiler, arch, _link)


def mlir(kernel: KernelSource, compiler: str, arch: Arch) -> str:
    """The MLIR that numba-cuda-mlir makes of a kernel. Raises OptionError for another compiler."""
    if compiler != "numba-cuda-mlir":
        raise OptionError(
            f"only numba-cuda-mlir compiles through MLIR. Received: compiler={compiler!r}. "
            "Ask for form 'ptx', or choose compiler='numba-cuda-mlir'."
        )
    with LOCK:
        module = _module(compiler)
        return str(module.compile_mlir(_function(kernel, module), kernel.types, arch))


def sass(kernel: KernelSource, compiler: str, arch: Arch) -> str:
    """The machine code of a kernel as text. Raises BackendError without NVIDIA's `nvdisasm`."""
    program = _nvdisasm()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(machine_code(kernel, compiler, arch).cubin)
        return subprocess.run([program, "-c", str(path)], capture_output=True, text=True, check=True).stdout


def usage(code: Code, arch: Arch) -> str:
    """What NVIDIA's assembler says of a kernel: registers, stack, spills."""
    return linked(code.ptx, arch, verbose=True)[1]


def kept(
    kind: str, kernel: KernelSource, compiler: str, arch: Arch, make: Callable[[KernelSource, str, Arch], Code]
) -> Code:
    """A kernel's "ptx" or "cubin", from the store or made there; what is kept is looked at first."""
    with LOCK:
        shaped_by = (kind, compiler, arch, _versions(), store.compiler_files(), _settings(), kernel.types, kernel.text)
        name = "\n".join(map(str, shaped_by))
        key = hashlib.sha256(name.encode()).hexdigest()[:32]
        source = f"# {kernel.name} for sm_{arch[0]}{arch[1]}, {compiler}: {kind}\n{kernel.text}"
        parts = store.read(key, source, lambda parts: _check(_code(parts), has_cubin=kind == "cubin"))
        if parts is not None:
            return _code(parts)
        made = make(kernel, compiler, arch)
        store.write(
            key,
            {
                "source": source.encode(),
                "ptx": made.ptx.encode(),
                "symbol": made.symbol.encode(),
                "cubin": made.cubin,
            },
        )
        return made


def _code(parts: Mapping[str, bytes]) -> Code:
    """An entry of the store as code. Raises ValueError or LookupError for another kind of entry."""
    return Code(parts["ptx"].decode(), parts["symbol"].decode(), parts["cubin"])


def _check(code: Code, has_cubin: bool) -> None:
    """Raises ValueError unless kept code is whole and has its kernel; drivers need not survive anything else."""
    found = ENTRY.search(code.ptx)
    if found is None or found.group(1) != code.symbol:
        raise ValueError(f"its PTX has no kernel {code.symbol}")
    if code.ptx.count("{") != code.ptx.count("}"):
        raise ValueError("its PTX is cut off")
    if has_cubin and code.symbol not in object_file.elf_symbols(code.cubin, object_file.CUDA).functions:
        raise ValueError(f"its machine code has no kernel {code.symbol}")


@functools.cache
def _versions() -> str:
    """Versions of all that takes part."""
    from importlib import metadata

    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return "\n".join(found)


def _settings() -> str:
    """What the compilers read in the environment; asked anew each time."""
    return "\n".join(sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith("NUMBA_")))


def _compile(kernel: KernelSource, compiler: str, arch: Arch) -> Code:
    module = _module(compiler)
    function = _function(kernel, module)
    try:
        text = module.compile_ptx(function, kernel.types, arch)
    except Exception as problem:  # third-party compilers raise what they like
        if any(frame.f_code.co_name == "<module>" for frame, _ in traceback.walk_tb(problem.__traceback__)):
            raise _cannot_load(compiler, problem) from problem  # a part that it imports with its first kernel
        raise BackendError(
            f"{module.VERSION} did not compile {kernel.name} for sm_{arch[0]}{arch[1]} ({problem}). "
            f"Received: a kernel of this package. Try the other compiler ({', '.join(COMPILERS)}), or report this."
        ) from problem
    found = ENTRY.search(text)
    assert found is not None, text
    return Code(text, found.group(1))


def _link(kernel: KernelSource, compiler: str, arch: Arch) -> Code:
    code = ptx(kernel, compiler, arch)
    return Code(code.ptx, code.symbol, linked(code.ptx, arch)[0])


@functools.cache
def _module(compiler: str) -> ModuleType:
    """The words and ways of one compiler; loaded when something must be compiled."""
    try:
        return importlib.import_module(f".{COMPILERS[compiler]}", __package__)
    except Exception as problem:  # a broken installation raises what it likes
        raise _cannot_load(compiler, problem) from problem


def _cannot_load(compiler: str, problem: Exception) -> BackendError:
    """What to raise where a compiler, or a part of it, fails while it is imported."""
    remedy = _remedy(compiler)
    if isinstance(problem, Warning):
        kind = type(problem).__name__
        remedy = f"Make an exception for its warnings, as `python -W error -W ignore::{kind}` does"
    others = " or ".join(f"compiler={name!r}" for name in COMPILERS if name != compiler)
    return BackendError(
        f"{compiler} cannot be loaded ({problem}). Received: compiler={compiler!r}. {remedy}; or choose {others}."
    )


def _function(kernel: KernelSource, module: ModuleType) -> Callable[..., None]:
    """The kernel as a Python function; its source is kept for tracebacks, and for compilers that look at it."""
    filename = f"<rmsprop_jit {hashlib.sha256(kernel.text.encode()).hexdigest()[:16]} {kernel.name}>"
    linecache.cache[filename] = (len(kernel.text), None, kernel.text.splitlines(keepends=True), filename)
    names: dict[str, Any] = dict(module.NAMES)
    exec(compile(kernel.text, filename, "exec"), names)
    function: Callable[..., None] = names[kernel.name]
    return function


def _nvdisasm() -> str:
    """Where NVIDIA's disassembler is: on the path, in a CUDA toolkit, or in its wheel."""
    found = shutil.which("nvdisasm")
    if found is None:
        try:
            from cuda.pathfinder import find_nvidia_binary_utility

            found = find_nvidia_binary_utility("nvdisasm")
        except Exception:  # an older pathfinder does not know it
            found = None
    if found is None:
        raise BackendError(
            "form 'sass' needs NVIDIA's nvdisasm, which was not found. Received: neither on PATH nor in a package. "
            "Run `pip install nvidia-cuda-nvdisasm`, or ask for form 'ptx'."
        )
    return str(found)
