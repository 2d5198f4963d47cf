"""`python -m benchmarks cpu`, `torch`, `rules`, `axes`, `groups`, `formats`, `quality`, `cuda`: measure; most is kept.

`python -m benchmarks readme` writes the README's figures and the pictures from the kept results. Whatever was asked for
is in the table. The exit status is 1 if something in it failed, gave a wrong result, or is not installed, and 2 if
there was nothing to measure or to write.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import Progress

from . import (
    axes,
    children,
    drawing,
    formats,
    groups,
    machine,
    of_torch,
    quality,
    quality_picture,
    readme,
    report,
    starts,
    sweep,
)
from .cases import CASES, Case
from .cuda import cases as on_gpu
from .cuda import first_day, host
from .cuda import rules as rules_on_gpu
from .rows import Row, Rows, is_bad
from .rules import run as of_rules
from .rules import table as table_of_rules
from .rules.cases import GPU

SWEEP_PEERS = ("torch foreach", "torch.compile", "optax jitted", "numpy")


WIDE = 200
QUICK = 0.1
"""Seconds for each case of a quick look."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    cpu = commands.add_parser("cpu", help="the CPU, beside torch, jax, optax, keras, numexpr and NumPy")
    cpu.add_argument("--seconds", type=float, default=3.0, help="time for each case (default: %(default)s)")
    cpu.set_defaults(run=run_cpu)
    cuda = commands.add_parser("cuda", help="one NVIDIA GPU, beside a copy, torch, jax and CuPy; under 8 minutes")
    cuda.add_argument("--seconds", type=float, default=2.0, help="time for each case (default: %(default)s)")
    cuda.add_argument("--minutes", type=float, default=7.5, help="start nothing after so many (default: %(default)s)")
    cuda.add_argument(
        "--first-day", action="store_true", help="ask a GPU that has not run the kernels yet everything, in order"
    )
    cuda.add_argument(
        "--host", action="store_true", help="how long the host is busy with a step of 1,000 tensors; needs no GPU"
    )
    cuda.set_defaults(run=run_cuda)
    torch = commands.add_parser("torch", help="rmsprop_jit.torch on the CPU, beside torch's own and its ceiling")
    torch.add_argument("--seconds", type=float, default=3.0, help="time for each case (default: %(default)s)")
    torch.set_defaults(run=run_torch)
    cuda.add_argument(
        "--rules",
        metavar="RULE",
        nargs="*",
        help="these rules, or every bundled one but Muon, instead; about 3 minutes; of some nothing is written",
    )
    by_axes = commands.add_parser("axes", help="rules over axes beside their ceilings, torch and optax; 5 minutes")
    by_axes.add_argument("--seconds", type=float, default=3.0, help="time for each case (default: %(default)s)")
    by_axes.set_defaults(run=run_axes)
    for command in (cpu, cuda, torch, by_axes):
        command.add_argument(
            "--only", metavar="TEXT", default="", help="cases whose name or peer contains TEXT; no sweep"
        )
    for command in (cpu, cuda, torch, by_axes, _add_rules(commands)):
        command.add_argument(
            "--out", metavar="FOLDER", type=Path, default=report.RESULTS, help="where to write (default: %(default)s)"
        )
    many = commands.add_parser("groups", help="465 groups beside one, and beside torch's; a minute, nothing is kept")
    many.add_argument("--seconds", type=float, default=8.0, help="time for each line (default: %(default)s)")
    many.set_defaults(run=run_groups)
    light = commands.add_parser("formats", help="how 8 bits hold a slot, in NumPy; some minutes, nothing is kept")
    light.add_argument("--seeds", type=int, default=formats.SEEDS, help="trainings of each (default: %(default)s)")
    light.set_defaults(run=run_formats)
    _add_quality(commands)
    write = commands.add_parser("readme", help="write the README's figures, and draw the pictures, from kept results")
    write.set_defaults(run=run_readme)
    options = parser.parse_args(arguments)
    options.run(options)


def _add_rules(commands: Any) -> argparse.ArgumentParser:
    """The command that measures every bundled rule."""
    rules: argparse.ArgumentParser = commands.add_parser(
        "rules",
        help="every bundled rule but Muon, beside its ceiling, and beside torch where it has it; about 14 minutes",
    )
    rules.add_argument("--seconds", type=float, default=1.5, help="time for each case (default: %(default)s)")
    rules.add_argument("--only", metavar="RULE", nargs="+", default=[], help="these rules; nothing is written")
    rules.add_argument("--quick", action="store_true", help="small arrays and nothing compiled; nothing is written")
    rules.set_defaults(run=run_rules)
    return rules


def _add_quality(commands: Any) -> None:
    """The command that trains with light storage."""
    trained = commands.add_parser("quality", help="two trainings with light storage, in pairs; half an hour, kept")
    trained.add_argument("--seeds", type=int, default=quality.SEEDS, help="runs of each (default: %(default)s)")
    for name, known in (("ways", quality.WAYS), ("trainings", quality.TRAININGS)):
        trained.add_argument(f"--{name}", nargs="+", choices=list(known), default=list(known), help="only these")
    trained.set_defaults(run=run_quality)


def run_cpu(options: argparse.Namespace) -> None:
    """All cases, one process for each peer, then starts, then the sweeps."""
    console, chosen = _console(), _chosen(CASES, options.only)
    rows = _with_progress(
        children.rows_of("benchmarks.measure", options.seconds, CASES, chosen), console, "cases", len(chosen)
    )
    points: Rows = []
    if not options.only:
        console.print("first steps, imports, memory ...")
        rows += [*starts.first_steps(), starts.imports(), starts.memory()]
        seconds, count = str(min(1.0, options.seconds / 3)), len(sweep.SIZES) + len(sweep.COUNTS)
        swept = (
            row for peer in SWEEP_PEERS for row in children.swept("benchmarks.sweep", seconds, peer=peer, points=count)
        )
        points = _with_progress(swept, console, "size and count", len(SWEEP_PEERS) * count)
    _finish(rows, points, "cpu", machine.this_one(), console, options)


def run_torch(options: argparse.Namespace) -> None:
    """The cases of torch's kind, one process for each peer, then a sweep."""
    console, chosen, module = _console(), _chosen(of_torch.CASES, options.only), "benchmarks.of_torch"
    rows = _with_progress(
        children.rows_of(module, options.seconds, of_torch.CASES, chosen), console, "cases", len(chosen)
    )
    points: Rows = []
    if not options.only:
        count, seconds = len(of_torch.SIZES) + len(of_torch.COUNTS), str(min(1.0, options.seconds / 3))
        swept = children.swept(module, seconds, "sweep", peer=of_torch.PEER, points=count)
        points = _with_progress(swept, console, "size and count", count)
    _finish(rows, points, "torch", machine.this_one(), console, options)


def run_axes(options: argparse.Namespace) -> None:
    """The cases of rules over axes, one process for each peer."""
    console, chosen, module = _console(), _chosen(axes.CASES, options.only), "benchmarks.axes"
    rows = _with_progress(children.rows_of(module, options.seconds, axes.CASES, chosen), console, "cases", len(chosen))
    _finish(rows, [], "axes", machine.this_one(), console, options)


def run_cuda(options: argparse.Namespace) -> None:
    """All cases on the GPU, one process for each peer, then the sweeps; whatever the time allows."""
    console, module = _console(), "benchmarks.cuda.measure"
    if options.host:
        raise SystemExit(0 if host.show(console) else 1)
    chosen = _chosen(on_gpu.CASES, options.only)
    end = time.monotonic() + 60 * options.minutes
    try:
        (device,) = children.lines(module, "0", "device")
    except children.Ended:
        console.print("No CUDA device can be used (see above). Nothing was measured.")
        raise SystemExit(2) from None
    if options.first_day:
        raise SystemExit(0 if first_day.run(options.out / "first-day", console) else 1)
    if options.rules is not None:
        _run_cuda_rules(device, console, options)
        return
    measured = children.rows_of(module, options.seconds, on_gpu.CASES, chosen, until=end)
    rows = _with_progress(measured, console, "cases", len(chosen))
    points: Rows = []
    if not options.only:
        peers, count = on_gpu.SWEEP_PEERS, len(on_gpu.SIZES) + len(on_gpu.COUNTS)
        swept = (
            row for peer in peers for row in children.swept(module, "0.3", "sweep", peer=peer, points=count, until=end)
        )
        points = _with_progress(swept, console, "size and count", len(peers) * count)
    _finish(rows, points, "cuda", device, console, options)


def _run_cuda_rules(device: Row, console: Console, options: argparse.Namespace) -> None:
    """Each rule on the GPU, beside a copy and beside torch's ways to do it, in one process."""
    names, seconds = _known_rules(options.rules), str(min(options.seconds, rules_on_gpu.SECONDS))
    measured = children.lines("benchmarks.cuda.rules", seconds, str(options.minutes), *names)
    rows = _with_progress(measured, console, "rules", len(rules_on_gpu.of(names)))
    console.print(machine.named(device), soft_wrap=True)
    report.show_table(table_of_rules.head(GPU), table_of_rules.lines(rows), console)
    _keep(rows, [], "cuda-rules", device, console, options, whole=not options.rules)


def _known_rules(names: Sequence[str]) -> list[str]:
    """The rules of these names, or all; ends the program where there is none of a name."""
    try:
        return of_rules.chosen(names)
    except ValueError as problem:
        _give_up(str(problem))


def run_rules(options: argparse.Namespace) -> None:
    """Each rule beside its ceiling, then beside torch's ways to do it."""
    sizes = "quick" if options.quick else "full"
    plan = of_rules.planned(_known_rules(options.only), sizes)
    console, measured_on = _console(), machine.this_one()
    seconds = min(options.seconds, QUICK) if options.quick else options.seconds
    rows = _with_progress(of_rules.measured(plan, sizes, seconds), console, "rules", sum(map(len, plan.values())))
    console.print(machine.named(measured_on), soft_wrap=True)
    report.show_table(table_of_rules.head(sizes), table_of_rules.lines(rows), console)
    _keep(rows, [], "rules", measured_on, console, options, whole=not (options.only or options.quick))


def run_groups(options: argparse.Namespace) -> None:
    """What groups cost, and what they cost torch."""
    console = _console()
    console.print(machine.named(machine.this_one()), soft_wrap=True)
    report.show_table(groups.HEAD, list(groups.measured(options.seconds)), console)


def run_formats(options: argparse.Namespace) -> None:
    """What each format makes of the slots of a training."""
    report.show_table(formats.HEAD, list(formats.measured(options.seeds)), _console())


def run_quality(options: argparse.Namespace) -> None:
    """What is not among the kept results yet; then the table and the picture of all of them."""
    console = _console()
    for results, said in quality.measured(options.seeds, options.ways, options.trainings):
        console.print(said, markup=False, highlight=False, soft_wrap=True)
        quality.write(results)
    results = quality.read()
    report.show_table(quality.HEAD, list(quality.rows(results)), console)
    console.print(str(quality_picture.draw(results, quality.KEPT.with_suffix(".png"))), soft_wrap=True)


def run_readme(_options: argparse.Namespace) -> None:
    """The README's figures and the pictures, of every kind of results that is kept."""
    try:
        text = readme.README.read_text(encoding="utf-8")
        for path in sorted(report.RESULTS.glob("*.json")) or [report.RESULTS / "cpu.json"]:
            results = report.read(path)
            text = readme.updated(text, path.stem, results)
            drawing.draw(path.stem, results, path.with_suffix(".png"))
    except ValueError as problem:
        _give_up(str(problem))
    readme.README.write_text(text, encoding="utf-8")


def _console() -> Console:
    """The terminal; a file or a pipe has room for the whole table."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def _chosen(cases: Sequence[Case], only: str) -> list[int]:
    """The numbers of the cases to measure; ends the program if there are none."""
    chosen = [i for i, case in enumerate(cases) if only in f"{case.name} {case.against}"]
    if not chosen:
        known = "\n".join(f"  {case.name}, against {case.against}" for case in cases)
        _give_up(f"No case's name or peer contains this text. Received: {only!r}. The cases are:\n{known}")
    return chosen


def _give_up(why: str) -> NoReturn:
    Console(stderr=True).print(why, markup=False, highlight=False, soft_wrap=True)
    raise SystemExit(2)


def _with_progress(rows: Iterable[Row], console: Console, what: str, total: int | None = None) -> Rows:
    """All rows, with a bar that names the case at hand."""
    found: Rows = []
    with Progress(console=console) as progress:
        bar = progress.add_task(what, total=total)
        for row in rows:
            found.append(row)
            progress.update(bar, advance=1, description=f"{row['case']}, {row['against']}")
    return found


def _finish(
    rows: Rows,
    points: Rows,
    name: str,
    measured_on: dict[str, Any],
    console: Console,
    options: argparse.Namespace,
) -> None:
    """Show all rows (of the sweep those that failed); keep a whole run; say whether it went well."""
    console.print(machine.named(measured_on), soft_wrap=True)
    report.show(report.shown(rows, points), console)
    _keep(rows, points, name, measured_on, console, options, whole=not options.only)


def _keep(
    rows: Rows,
    points: Rows,
    name: str,
    measured_on: dict[str, Any],
    console: Console,
    options: argparse.Namespace,
    whole: bool,
) -> None:
    """Write the results and the picture of a whole run; end the program as failed if something went wrong."""
    if whole:
        written = report.write(rows, points, name, measured_on, options.out)
        drawn = drawing.draw(name, report.read(written), written.with_suffix(".png"))
        console.print(f"{written}\n{drawn}", soft_wrap=True)
    bad = sum(map(is_bad, [*rows, *points]))
    if bad:
        console.print(f"{bad} of {len(rows) + len(points)} rows failed.")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
