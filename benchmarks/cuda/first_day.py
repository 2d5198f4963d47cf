"""`python -m benchmarks cuda --first-day`: everything to be asked of a GPU that has not run the kernels yet, in order.

Each part is a process with a time limit. Its result (JSON) and its log are files of their own, written at once: what
ends a later part, or this process, loses nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.markup import escape

from ..children import ROOT, ended

MODULE = "benchmarks.cuda.parts"
Result = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One question.

    function:    of `parts`; or what `arguments` say to Python.
    limit:       seconds after which it is ended, with all processes that it started.
    tool:        a program, and its arguments, under which it is run.
    """

    name: str
    limit: float
    function: str = ""
    arguments: tuple[str, ...] = ()
    tool: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, module: str) -> list[str]:
        """What to run."""
        return [*self.tool, sys.executable, "-m", *(self.arguments or (module, self.function))]


def _sanitizer(tool: str) -> Part:
    words = ("compute-sanitizer", "--tool", tool, "--target-processes", "all", "--error-exitcode", "9")
    return Part(tool, 600, "small_parity", tool=words)


NCU = ("ncu", "--section", "SpeedOfLight", "--section", "MemoryWorkloadAnalysis")

PARTS = [
    Part("versions", 60, "known"),
    Part("kernels", 300, "kernels"),
    Part("one launch at a time", 300, "small_parity", environment={"CUDA_LAUNCH_BLOCKING": "1"}),
    Part("parity", 600, "parity"),
    *map(_sanitizer, ("memcheck", "racecheck", "initcheck")),
    Part("norms", 180, "norms"),
    Part("graphs", 180, "graphs", environment={"RMSPROP_JIT_CACHE_DIR": "off"}),
    Part("torch", 180, "tensors"),
    Part("beside a copy", 300, arguments=("benchmarks", "cuda", "--only", "copy")),
    Part("sizes", 300, "swept"),
    Part("profile", 600, "steps", tool=NCU),
    Part("benchmark", 600, arguments=("benchmarks", "cuda")),
]


def run(folder: Path, console: Console, parts: Sequence[Part] = PARTS, module: str = MODULE) -> bool:
    """All parts, whatever becomes of any; returns whether none failed. `module`: where their functions are."""
    folder.mkdir(parents=True, exist_ok=True)
    good = True
    for number, part in enumerate(parts, start=1):
        console.print(f"{number} of {len(parts)}: {part.name}, at most {part.limit:g} s ...")
        path = folder / f"{number:02}-{part.name.replace(' ', '-')}.json"
        result = asked(part, path, module)
        good &= result["outcome"] in ("passed", "skipped")
        console.print(f"  {result['outcome']} {result['why']}".rstrip(), markup=False, soft_wrap=True)
    console.print(f"Results and logs: {escape(str(folder))}", soft_wrap=True)
    return good


def asked(part: Part, path: Path, module: str) -> Result:
    """The result of a part, which is kept at a path; while it runs, that it has begun."""
    begin = time.monotonic()
    _keep(path, {"part": part.name, **_about("begun", "nothing was heard of it since")})
    if part.tool and shutil.which(part.tool[0]) is None:
        about = _about("skipped", f"{part.tool[0]} is not on the path")
    else:
        with path.with_suffix(".log").open("w+", encoding="utf-8", errors="replace") as log:
            late, code = _ended(part, module, log)
            log.seek(0)
            about = _outcome(part, late, code, log.read())
    result = {"part": part.name, **about, "seconds": time.monotonic() - begin}
    _keep(path, result)
    return result


def _about(outcome: str, why: str = "", found: Result | None = None) -> Result:
    return {"outcome": outcome, "why": why, "found": found or {}}


def _keep(path: Path, result: Result) -> None:
    """Write a whole file or none."""
    beside = path.with_suffix(".new")
    with beside.open("w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _ended(part: Part, module: str, log: IO[str]) -> tuple[bool, int]:
    """Run a part to its end, or until its time is up: whether it was late, and its exit status."""
    with subprocess.Popen(
        part.command(module),
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **part.environment},
        start_new_session=True,  # so that what it started can be ended with it
    ) as process:
        try:
            return False, process.wait(part.limit)
        except subprocess.TimeoutExpired:
            return True, 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _outcome(part: Part, late: bool, code: int, log: str) -> Result:
    if late:
        return _about("failed", f"it took longer than {part.limit:g} s")
    if code:
        last = log.strip().rpartition("\n")[2]
        return _about("failed", f"{ended(code)}: {last}")
    said: Result = {}
    for line in log.splitlines():
        if line.startswith(('{"found"', '{"skipped"')):
            said = json.loads(line)
    return _about("skipped", said["skipped"]["why"]) if "skipped" in said else _about("passed", "", said.get("found"))
