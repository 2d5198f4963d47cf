"""`python -m benchmarks cpu`: measure everything, print the table, write JSON and a picture to benchmarks/results.

`python -m benchmarks readme` puts the kept results into the README.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import Progress

from . import report, starts
from .cases import CASES
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
        console.print(f"{report.write(rows, sweep, 'cpu')}\n{report.draw(sweep, 'cpu')}", soft_wrap=True)


def lines(module: str, *arguments: str) -> Iterator[dict[str, Any]]:
    """The lines of JSON that a process prints; what it says otherwise is shown if it fails."""
    command = [sys.executable, "-m", module, *arguments]
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            for line in process.stdout or ():
                if line.startswith("{"):
                    yield json.loads(line)
        if process.returncode:
            errors.seek(0)
            sys.stderr.write(errors.read())


if __name__ == "__main__":
    main()
