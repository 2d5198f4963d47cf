"""`python -m benchmarks cpu`, or `cuda`: measure, print the table, write JSON and a picture to benchmarks/results.

`python -m benchmarks readme` puts the kept results into the README. Peers that are not installed are skipped; the exit
status is 1 if something failed or gave a wrong result, and 2 if there was nothing to measure.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import Progress

from . import children, machine, picture, report, starts
from .cases import CASES, Case
from .cuda.cases import CASES as CUDA_CASES
from .cuda.cases import SWEEP_PEERS as SWEEP_PEERS_ON_GPU
from .rows import Row, Rows, is_bad

SWEEP_PEERS = ("torch foreach", "torch.compile", "optax jitted", "numpy")


def main(arguments: Sequence[str] | None = None) -> None:
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
    options = parser.parse_args(arguments)
    options.run(options)


def run_cpu(options: argparse.Namespace) -> None:
    """All cases, one process for each peer, then starts, then the sweeps."""
    console, chosen = Console(), _chosen(CASES, options.only)
    rows = _with_progress(
        children.rows_of("benchmarks.measure", options.seconds, CASES, chosen), console, "cases", len(chosen)
    )
    sweep: Rows = []
    if not options.only:
        console.print("first steps, imports, memory ...")
        rows += [*starts.first_steps(), starts.imports(), starts.memory()]
        swept = (row for peer in SWEEP_PEERS for row in children.swept("benchmarks.sweep", peer=peer))
        sweep = _with_progress(swept, console, "size and count")
    _finish(rows, sweep, "cpu", machine.this_one(), console, is_whole=not options.only)


def run_cuda(options: argparse.Namespace) -> None:
    """All cases on the GPU, one process for each peer, then the sweeps; whatever the time allows."""
    console, module = Console(), "benchmarks.cuda.measure"
    chosen = _chosen(CUDA_CASES, options.only)
    end = time.monotonic() + 60 * options.minutes
    try:
        (device,) = children.lines(module, "0", "device")
    except children.Ended:
        console.print("No CUDA device can be used (see above). Nothing was measured.")
        raise SystemExit(2) from None
    measured = children.rows_of(module, options.seconds, CUDA_CASES, chosen, until=end)
    rows = _with_progress(measured, console, "cases", len(chosen))
    sweep: Rows = []
    if not options.only:
        peers = SWEEP_PEERS_ON_GPU
        swept = (row for peer in peers for row in children.swept(module, "0.3", "sweep", peer=peer, until=end))
        sweep = _with_progress(swept, console, "size and count")
    _finish(rows, sweep, "cuda", device, console, is_whole=not options.only)


def _chosen(cases: Sequence[Case], only: str) -> list[int]:
    """The numbers of the cases to measure; ends the program if there are none."""
    chosen = [i for i, case in enumerate(cases) if only in f"{case.name} {case.against}"]
    if not chosen:
        known = ", ".join(dict.fromkeys(case.against for case in cases))
        Console(stderr=True).print(f"No case's name or peer contains {only!r}. Peers: {known}.", markup=False)
        raise SystemExit(2)
    return chosen


def _with_progress(rows: Iterable[Row], console: Console, what: str, total: int | None = None) -> Rows:
    """All rows, with a bar that names the case at hand."""
    found: Rows = []
    with Progress(console=console) as progress:
        bar = progress.add_task(what, total=total)
        for row in rows:
            found.append(row)
            progress.update(bar, advance=1, description=f"{row['case']}, {row['against']}")
    return found


def _finish(rows: Rows, sweep: Rows, name: str, measured_on: dict[str, Any], console: Console, is_whole: bool) -> None:
    """Show all rows (of the sweep only those without figures); keep a whole run; say whether it went well."""
    console.print(machine.named(measured_on), soft_wrap=True)
    report.show(rows + [row for row in sweep if "ratio" not in row], console)
    if is_whole:
        written = report.write(rows, sweep, name, measured_on)
        drawn = picture.draw(sweep, report.RESULTS / f"{name}.png", measured_on)
        console.print(f"{written}\n{drawn}", soft_wrap=True)
    if any(map(is_bad, [*rows, *sweep])):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
