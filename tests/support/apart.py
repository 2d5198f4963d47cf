"""Apart: checks that run in a process of their own, because what they import changes the process that they run in.

A module lists them in its `CHECKS`, by name. All of a module run in one process, when the first is asked for. Run as a
script, this module is that process: it is passed the path of the module, and prints what became of each check.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

BEGIN = "what became of the checks: "
LIMIT = 300
"""Seconds for all checks of a module."""


def check(path: str | Path, name: str) -> None:
    """Fail as the check of this name in this module fails."""
    found = _outcomes(str(path)).get(name, "there is no such check")
    assert not found, f"{name} of {path}, in a process of its own:\n{found}"


def names(path: str | Path) -> list[str]:
    """The checks that this module has."""
    return list(_outcomes(str(path)))


@functools.cache
def _outcomes(path: str) -> dict[str, str]:
    """For each check the traceback of its failure, or an empty text."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, __file__, path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(BEGIN)]
    assert lines, f"the process of {path} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    found: dict[str, str] = json.loads(lines[-1].removeprefix(BEGIN))
    return found


def _outcome(one: Any) -> str:
    """Warnings are errors, as they are in pytest."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            one()
    except BaseException:
        return traceback.format_exc()
    return ""


def main(path: str) -> None:
    """Be the other process."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    print(BEGIN + json.dumps({name: _outcome(one) for name, one in module.CHECKS.items()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
