"""What figures were measured on, and when: kept with them, and named beside them."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "numba", "llvmlite", "torch", "jax", "optax", "keras", "numexpr", "bitsandbytes", "torchao")


def today() -> str:
    """The date, as 2026-01-31."""
    return datetime.date.today().isoformat()


def versions(packages: Sequence[str]) -> dict[str, str | None]:
    """The version of each package; None for one that is not installed."""
    found: dict[str, str | None] = dict.fromkeys(packages)
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def this_one() -> dict[str, Any]:
    """The machine that runs this, for figures of its processor."""
    from rmsprop_jit.codegen.backends.cpu.tables import default_threads

    about = {"processor": _processor(), "threads": default_threads(), "date": today()}
    return {**about, "python": platform.python_version(), **versions(PACKAGES)}


def named(machine: dict[str, Any]) -> str:
    """In a line."""
    cores = f"{machine['threads']} cores, " if "threads" in machine else ""
    return f"{cores}{machine['processor']}, {machine['date']}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
