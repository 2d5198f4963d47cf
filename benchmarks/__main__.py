"""`python -m benchmarks cpu`, or `cuda`: measure, print the table, write JSON and a picture to benchmarks/results.

`python -m benchmarks readme` puts the kept results into the README.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import Progress

from . import report, starts
from .cases import CASES
from .cuda.cases import CASES as CUDA_CASES
from .cuda.cases import SWEEP_PEERS as SWEEP_PEERS_ON_GPU
from .report import Rows

SWEEP_PEERS = ("torch foreach", "torch.compile", "optax jitted", "numpy")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    cpu = commands.add_parser("cpu", help="the CPU, beside torch, jax, optax, keras, numexpr and NumPy")
    cpu.add_argument("--seconds", type=float, default=3.0, help="time for each case (default: %(default)s)")
    cpu.add_argument("--only", metavar="TEXT", default="", help="cases whose name or peer contains TEXT; no sweep")
    cpu.set_defaults(run=run_cpu)
    cuda = commands.add_parser("cuda", help="one NVIDIA GPU, beside a copy, torch, jax and CuPy; under 8 minutes")
    cuda.add_argument("--seconds", type=float, default=2.0, help="time for each case (default: %(default)s)")
    cuda.add_argument("--minutes", type=float, default=7.5, help="start nothing after so many (default: %(default)s)")
    cuda.add_argument("--only", metavar="TEXT", default="", help="cases whose name or peer contains TEXT; no sweep")
    cuda.set_defaults(run=run_cuda)
    readme = commands.add_parser("readme", help="put the table of the kept results into the README")
    readme.set_defaults(run=lambda _: report.update_readme())
    options = parser.parse_args()
    options.run(options)


def run_cpu(options: argparse.Namespace) -> None:
    """All cases, one process for each peer, then starts, then the sweeps."""
    console = Console()
    chosen = [i for i, case in enumerate(CASES) if options.only in f"{case.name} {case.against}"]
    rows: Rows = []
    with Progress(console=console) as progress:
        bar = progress.add_task("cases", total=len(chosen))
        for peer in dict.fromkeys(CASES[i].against for i in chosen):
            numbers = [str(i) for i in chosen if CASES[i].against == peer]
            for row in lines("benchmarks.measure", str(options.seconds), *numbers):
                rows.append(row)
                progress.update(bar, advance=1, description=row["case"])
    sweep: Rows = []
    if not options.only:
        console.print("first steps, imports, memory ...")
        rows += [*starts.first_steps(), starts.imports(), starts.memory()]
        with Progress(console=console) as progress:
            for peer in progress.track(SWEEP_PEERS, description="size and count"):
                sweep += lines("benchmarks.sweep", peer)
    report.show(rows, console)
    if not options.only:
        written = report.write(rows, sweep, "cpu", report.machine())
        console.print(f"{written}\n{report.draw(sweep, 'cpu')}", soft_wrap=True)


def run_cuda(options: argparse.Namespace) -> None:
    """All cases on the GPU, one process for each peer, then the sweeps; whatever the time allows."""
    console, module = Console(), "benchmarks.cuda.measure"
    end = time.monotonic() + 60 * options.minutes
    machine = next(lines(module, "0", "device"), None)
    if machine is None:
        console.print("No CUDA device can be used (see above). Nothing was measured.")
        raise SystemExit(2)
    chosen = [i for i, case in enumerate(CUDA_CASES) if options.only in f"{case.name} {case.against}"]
    rows: Rows = []
    sweep: Rows = []
    with Progress(console=console) as progress:
        bar = progress.add_task("cases", total=len(chosen))
        for peer in dict.fromkeys(CUDA_CASES[i].against for i in chosen):
            numbers = [str(i) for i in chosen if CUDA_CASES[i].against == peer]
            for row in lines(module, str(options.seconds), *numbers, until=end):
                rows.append(row)
                progress.update(bar, advance=1, description=row["case"])
        for peer in progress.track(SWEEP_PEERS_ON_GPU if not options.only else (), description="size and count"):
            sweep += lines(module, "0.3", "sweep", peer, until=end)
    console.print(f"{machine['processor']}, CuPy {machine['cupy']}")
    report.show(rows, console)
    if len(rows) < len(chosen):
        console.print(f"{len(chosen) - len(rows)} cases were not reached in time, or failed (see above).")
    if not options.only:
        written = report.write(rows, sweep, "cuda", machine)
        console.print(f"{written}\n{report.draw(sweep, 'cuda')}", soft_wrap=True)


def lines(module: str, *arguments: str, until: float = math.inf) -> Iterator[dict[str, Any]]:
    """The lines of JSON that a process prints; what it says otherwise is shown if it fails.

    until: the time (of `time.monotonic`) at which it is stopped.
    """
    command = [sys.executable, "-m", module, *arguments]
    left = until - time.monotonic()
    if left <= 0:
        return
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            watch = threading.Timer(left, process.kill) if left < math.inf else None
            if watch is not None:
                watch.start()
            for line in process.stdout or ():
                if line.startswith("{"):
                    yield json.loads(line)
            if watch is not None:
                watch.cancel()
        if process.returncode:
            errors.seek(0)
            sys.stderr.write(errors.read())


if __name__ == "__main__":
    main()
