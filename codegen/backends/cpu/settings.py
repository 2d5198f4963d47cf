"""What Numba makes machine code by, beside a source: its settings, from wherever it takes them.

It is told without loading Numba, since kept code does without. A setting that nobody has looked at counts as one that
shapes code; only those that are known not to are left out.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import sys
import types
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = ".numba_config.yaml"
"""What Numba reads in the folder that it runs in."""

HARMLESS = re.compile(
    r"NUMBA_((NUMBA_|NUMBA_DEFAULT_)?NUM_THREADS|THREADING_LAYER\w*|CACHE_\w+|COLOR_SCHEME|SHOW_HELP"
    r"|DISABLE_PERFORMANCE_WARNINGS|DUMP_\w+|\w*CUDA\w*)"
)
"""Settings of threads, of Numba's own cache, of what it prints, and of GPUs."""


def text() -> str:
    """All of it; the same text means the same code. To be asked anew each time: settings can change."""
    told = [f"{name}={value}" for name, value in sorted(from_environment().items())]
    return "\n".join([*told, _file(), *assigned()])


def from_environment() -> dict[str, str]:
    """The environment's settings that can shape code."""
    return {
        name: value for name, value in os.environ.items() if name.startswith("NUMBA_") and not HARMLESS.fullmatch(name)
    }


def assigned() -> list[str]:
    """What a program has told Numba itself, and no other process would do by its environment."""
    if "numba" not in sys.modules:
        return []
    from numba.core import config, registry

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Numba itself has complained, or will
        config.reload_config()  # as before it compiles: an environment that has changed replaces what was assigned
    read = _read_from({name: value for name, value in os.environ.items() if name.startswith("NUMBA_")})
    found = {name: str(value) for name, value in vars(config).items() if _counts(name)}
    told = [f"{name} is {value}" for name, value in sorted(found.items()) if value != read.get(name)]
    made_for = registry.cpu_target.target_context.codegen().magic_tuple()  # by which Numba's own cache knows code
    return told + ([] if made_for == _expected(made_for, read) else [f"made for {made_for}"])


def _counts(name: str) -> bool:
    return name.isupper() and not name.startswith("_") and not HARMLESS.fullmatch(f"NUMBA_{name}")


def _read_from(environment: Mapping[str, str]) -> dict[str, str]:
    """What Numba's settings are if it takes them from its environment alone."""
    return _read(tuple(sorted(environment.items())))


@functools.lru_cache(maxsize=8)
def _read(environment: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Numba's own reading of an environment, into other globals than its module's.

    Nothing, if a coming Numba is built otherwise: all settings then count as assigned, which is right, though slower.
    """
    from numba.core import config

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            names: dict[str, Any] = dict(vars(config))
            types.FunctionType(config._EnvReloader.process_environ.__code__, names)(None, dict(environment))
        except Exception:
            return {}
    return {name: str(value) for name, value in names.items() if name.isupper()}


def _expected(made_for: tuple[Any, ...], read: Mapping[str, str]) -> tuple[Any, ...]:
    """The processor that Numba compiles for by its environment; it asks when it compiles for the first time."""
    from llvmlite import binding
    from numba.core.codegen import get_host_cpu_features

    name, features = read.get("CPU_NAME", "None"), read.get("CPU_FEATURES", "None")
    return (
        made_for[0],
        binding.get_host_cpu_name() if name == "None" else name,
        get_host_cpu_features() if features == "None" else features,
    )


def _file() -> str:
    """Numba's file of settings, if there is one here."""
    try:
        return f"{FILE} {hashlib.sha256(Path(FILE).read_bytes()).hexdigest()}"
    except OSError:
        return f"no {FILE}"
