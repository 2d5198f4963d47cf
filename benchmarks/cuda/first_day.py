"""`python -m benchmarks cuda --first-day`: everything to be asked of a GPU that has not run the kernels yet, in order.

Each part is a process with a time limit, which is told to ask nothing further shortly before: it leaves what it has
found, as does one that must be ended. Its result (JSON) and its log are files of their own, written at once: what
ends a later part, or this process, loses nothing.
"""

from __future__ import annotations

import contextlib
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
from . import day_report

MODULE = "benchmarks.cuda.parts"
SHARE = 0.8
"""Of a part's limit: when it is to begin nothing further."""

Result = dict[str, Any]

GOOD = ("passed", "skipped", "stopped")
"""Outcomes that are no fault. What was stopped passed as far as it came."""


@dataclass(frozen=True)
class Part:
    """One question.

    function:    of `parts`; or what `arguments` say to Python, with `folder` for where results go, and with `seconds`
                 or `minutes` for the time after which nothing further is to be begun.
    limit:       seconds after which it is ended, with all processes that it started.
    tool:        a program, and its arguments, under which it is run.
    """

    name: str
    limit: float
    function: str = ""
    arguments: tuple[str, ...] = ()
    tool: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, module: str, folder: Path) -> list[str]:
        """What to run."""
        seconds = self.limit * SHARE
        known = {"seconds": f"{seconds:g}", "minutes": f"{seconds / 60:g}", "folder": str(folder)}
        words = self.arguments or (module, self.function, "{seconds}")
        return [*self.tool, sys.executable, "-m", *(word.format(**known) for word in words)]


def _sanitizer(tool: str, limit: float) -> Part:
    words = ("compute-sanitizer", "--tool", tool, "--target-processes", "all", "--error-exitcode", "9")
    return Part(tool, limit, "small_parity", tool=words)


NCU = ("ncu", "--section", "SpeedOfLight", "--section", "MemoryWorkloadAnalysis")
TESTS = ("pytest", "--gpu", "-vv", "-n", "8", "--gpu-seconds", "{seconds}")
BENCHMARK = ("benchmarks", "cuda", "--seconds", "0.5", "--minutes", "{minutes}", "--out", "{folder}")

MINUTES = 25
"""What all parts together may take."""

PARTS = [
    Part("versions", 20, "known"),
    Part("kernels", 90, "kernels"),
    Part("one launch at a time", 45, "small_parity", environment={"CUDA_LAUNCH_BLOCKING": "1"}),
    Part("parity", 75, "parity"),
    Part("tests", 240, arguments=TESTS),
    *map(_sanitizer, ("memcheck", "racecheck", "initcheck"), (90, 120, 90)),
    Part("norms", 45, "norms"),
    Part("graphs", 45, "graphs", environment={"RMSPROP_JIT_CACHE_DIR": "off"}),
    Part("torch", 60, "tensors"),
    Part("beside a copy", 120, "copies"),
    Part("rows", 150, "row_lengths"),
    Part("profile", 120, "steps", tool=NCU),
    Part("benchmark", 180, arguments=BENCHMARK),
]


def run(folder: Path, console: Console, parts: Sequence[Part] = PARTS, module: str = MODULE) -> bool:
    """All parts, whatever becomes of any; returns whether none failed. `module`: where their functions are."""
    folder.mkdir(parents=True, exist_ok=True)
    good = True
    for number, part in enumerate(parts, start=1):
        console.print(f"{number} of {len(parts)}: {part.name}, at most {part.limit:g} s ...")
        path = folder / f"{number:02}-{part.name.replace(' ', '-')}.json"
        result = asked(part, path, module)
        good &= result["outcome"] in GOOD
        console.print(f"  {result['outcome']} {result['why']}".rstrip(), markup=False, soft_wrap=True)
    for path in day_report.write(folder):
        console.print(escape(str(path)), soft_wrap=True)
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
            late, code = _ended(part.command(module, path.parent), part, log)
            log.seek(0)
            about = outcome(part, late, code, log.read())
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


def _ended(command: list[str], part: Part, log: IO[str]) -> tuple[bool, int]:
    """Run a part to its end, or until its time is up: whether it was late, and its exit status."""
    with subprocess.Popen(
        command,
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


def outcome(part: Part, late: bool, code: int, log: str) -> Result:
    """What became of a part, by how it ended and what it said."""
    said = _said(log)
    last = log.strip().rpartition("\n")[2]
    found = said.get("found", {})
    if late:
        return _about("failed", f"it took longer than {part.limit:g} s", found)
    if code:
        return _about("failed", f"{ended(code)}: {last}", found)
    for end in ("skipped", "stopped"):
        if end in said:
            return _about(end, said[end], found)
    return _about("passed", last if part.arguments else "", found)


def _said(log: str) -> Result:
    """What the lines of JSON say; of what was found, all together. A line may have been cut off."""
    said: Result = {}
    for line in log.splitlines():
        if line.startswith(('{"found"', '{"skipped"', '{"stopped"')):
            with contextlib.suppress(json.JSONDecodeError):
                new = json.loads(line)
                said |= new | ({"found": said.get("found", {}) | new["found"]} if "found" in new else {})
    return said
