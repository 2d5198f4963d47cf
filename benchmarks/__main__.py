"""`python -m benchmarks cpu`, `torch`, `rules`, `axes`, `storages`, `cuda`, `groups`, `formats`, `quality`: measure.

`python -m benchmarks readme` writes the README's figures and the pictures from the kept results. Whatever was asked for
is in the table. The exit status is 1 if something in it failed, gave a wrong result, or is not installed, and 2 if
there was nothing to measure or to write.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

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
    showing,
    starts,
    sweep,
)
from .cases import CASES
from .cuda import cases as on_gpu
from .cuda import first_day, host
from .cuda import rules as rules_on_gpu
from .rows import Row, Rows
from .rules import run as of_rules
from .rules import table as table_of_rules
from .rules.cases import GPU
from .storages import cases as of_storages
from .storages import run as run_of_storages
from .storages import table as table_of_storages

Parser = argparse.ArgumentParser

SWEEP_PEERS = ("torch foreach", "torch.compile", "optax jitted", "numpy")


QUICK = 0.1
"""Seconds for each case of a quick look."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    cpu = _added(commands, "cpu", run_cpu, 3.0, "the CPU, beside torch, jax, optax, keras, numexpr and NumPy")
    what = "one NVIDIA GPU, beside a copy, torch, jax and CuPy; under 8 minutes"
    cuda = _added(commands, "cuda", run_cuda, 2.0, what)
    cuda.add_argument("--minutes", type=float, default=7.5, help="start nothing after so many (default: %(default)s)")
    cuda.add_argument(
        "--first-day", action="store_true", help="ask a GPU that has not run the kernels yet everything, in order"
    )
    cuda.add_argument(
        "--host", action="store_true", help="how long the host is busy with a step of 1,000 tensors; needs no GPU"
    )
    cuda.add_argument(
        "--rules",
        metavar="RULE",
        nargs="*",
        help="these rules, or every bundled one but Muon, instead; about 3 minutes; of some nothing is written",
    )
    what = "rmsprop_jit.torch on the CPU, beside torch's own and its ceiling"
    torch = _added(commands, "torch", run_torch, 3.0, what)
    by_axes = _added(commands, "axes", run_axes, 3.0, "rules over axes beside their ceilings, torch, optax; 5 minutes")
    what = "lighter state, beside float32, its ceiling, bitsandbytes and torchao; five minutes"
    storages = _added(commands, "storages", run_storages, 1.5, what)
    for command in (cpu, cuda, torch, by_axes, storages):
        command.add_argument(
            "--only", metavar="TEXT", default="", help="cases whose name or peer contains TEXT; no sweep"
        )
    for command in (cpu, cuda, torch, by_axes, storages, _add_rules(commands)):
        command.add_argument(
            "--out", metavar="FOLDER", type=Path, default=report.RESULTS, help="where to write (default: %(default)s)"
        )
    _added(commands, "groups", run_groups, 8.0, "465 groups beside one, and beside torch's; a minute, nothing is kept")
    light = commands.add_parser("formats", help="how 8 bits hold a slot, in NumPy; some minutes, nothing is kept")
    light.add_argument("--seeds", type=int, default=formats.SEEDS, help="trainings of each (default: %(default)s)")
    light.set_defaults(run=run_formats)
    _add_quality(commands)
    write = commands.add_parser("readme", help="write the README's figures, and draw the pictures, from kept results")
    write.set_defaults(run=run_readme)
    options = parser.parse_args(arguments)
    options.run(options)


def _added(commands: Any, name: str, run: Callable[[argparse.Namespace], None], seconds: float, what: str) -> Parser:
    """A command that times cases."""
    made: Parser = commands.add_parser(name, help=what)
    made.add_argument("--seconds", type=float, default=seconds, help="time for each case (default: %(default)s)")
    made.set_defaults(run=run)
    return made


def _add_rules(commands: Any) -> Parser:
    """The command that measures every bundled rule."""
    what = "every bundled rule but Muon, beside its ceiling, and beside torch where it has it; about 14 minutes"
    rules = _added(commands, "rules", run_rules, 1.5, what)
    rules.add_argument("--only", metavar="RULE", nargs="+", default=[], help="these rules; nothing is written")
    rules.add_argument("--quick", action="store_true", help="small arrays and nothing compiled; nothing is written")
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
    console, chosen = showing.console(), showing.chosen(CASES, options.only)
    rows = showing.with_progress(
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
        points = showing.with_progress(swept, console, "size and count", len(SWEEP_PEERS) * count)
    showing.finish(rows, points, "cpu", machine.this_one(), console, options)


def run_torch(options: argparse.Namespace) -> None:
    """The cases of torch's kind, one process for each peer, then a sweep."""
    console, chosen, module = showing.console(), showing.chosen(of_torch.CASES, options.only), "benchmarks.of_torch"
    rows = showing.with_progress(
        children.rows_of(module, options.seconds, of_torch.CASES, chosen), console, "cases", len(chosen)
    )
    points: Rows = []
    if not options.only:
        count, seconds = len(of_torch.SIZES) + len(of_torch.COUNTS), str(min(1.0, options.seconds / 3))
        swept = children.swept(module, seconds, "sweep", peer=of_torch.PEER, points=count)
        points = showing.with_progress(swept, console, "size and count", count)
    showing.finish(rows, points, "torch", machine.this_one(), console, options)


def run_axes(options: argparse.Namespace) -> None:
    """The cases of rules over axes, one process for each peer."""
    console, chosen = showing.console(), showing.chosen(axes.CASES, options.only)
    measured = children.rows_of("benchmarks.axes", options.seconds, axes.CASES, chosen)
    rows = showing.with_progress(measured, console, "cases", len(chosen))
    showing.finish(rows, [], "axes", machine.this_one(), console, options)


def run_cuda(options: argparse.Namespace) -> None:
    """All cases on the GPU, one process for each peer, then the sweeps; whatever the time allows."""
    console, module = showing.console(), "benchmarks.cuda.measure"
    if options.host:
        raise SystemExit(0 if host.show(console) else 1)
    chosen = showing.chosen(on_gpu.CASES, options.only)
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
    rows = showing.with_progress(measured, console, "cases", len(chosen))
    points: Rows = []
    if not options.only:
        peers, count = on_gpu.SWEEP_PEERS, len(on_gpu.SIZES) + len(on_gpu.COUNTS)
        swept = (
            row for peer in peers for row in children.swept(module, "0.3", "sweep", peer=peer, points=count, until=end)
        )
        points = showing.with_progress(swept, console, "size and count", len(peers) * count)
    showing.finish(rows, points, "cuda", device, console, options)


def _run_cuda_rules(device: Row, console: Console, options: argparse.Namespace) -> None:
    """Each rule on the GPU, beside a copy and beside torch's ways to do it, in one process."""
    names, seconds = _known_rules(options.rules), str(min(options.seconds, rules_on_gpu.SECONDS))
    measured = children.lines("benchmarks.cuda.rules", seconds, str(options.minutes), *names)
    rows = showing.with_progress(measured, console, "rules", len(rules_on_gpu.of(names)))
    console.print(machine.named(device), soft_wrap=True)
    report.show_table(table_of_rules.head(GPU), table_of_rules.lines(rows), console)
    showing.keep(rows, [], "cuda-rules", device, console, options, whole=not options.rules)


def _known_rules(names: Sequence[str]) -> list[str]:
    """The rules of these names, or all; ends the program where there is none of a name."""
    try:
        return of_rules.chosen(names)
    except ValueError as problem:
        showing.give_up(str(problem))


def run_rules(options: argparse.Namespace) -> None:
    """Each rule beside its ceiling, then beside torch's ways to do it."""
    sizes = "quick" if options.quick else "full"
    plan = of_rules.planned(_known_rules(options.only), sizes)
    console, measured_on = showing.console(), machine.this_one()
    seconds = min(options.seconds, QUICK) if options.quick else options.seconds
    rows = showing.with_progress(
        of_rules.measured(plan, sizes, seconds), console, "rules", sum(map(len, plan.values()))
    )
    console.print(machine.named(measured_on), soft_wrap=True)
    report.show_table(table_of_rules.head(sizes), table_of_rules.lines(rows), console)
    showing.keep(rows, [], "rules", measured_on, console, options, whole=not (options.only or options.quick))


def run_storages(options: argparse.Namespace) -> None:
    """Each way to keep a state, one process for each side."""
    every = of_storages.cases()
    console, chosen, measured_on = showing.console(), showing.chosen(every, options.only), machine.this_one()
    measured = run_of_storages.measured(every, chosen, options.seconds)
    rows = showing.with_progress(measured, console, "cases", len(chosen))
    console.print(machine.named(measured_on), soft_wrap=True)
    report.show_table(table_of_storages.HEAD, table_of_storages.lines(rows), console)
    showing.keep(rows, [], "storages", measured_on, console, options, whole=not options.only)


def run_groups(options: argparse.Namespace) -> None:
    """What groups cost, and what they cost torch."""
    console = showing.console()
    console.print(machine.named(machine.this_one()), soft_wrap=True)
    report.show_table(groups.HEAD, list(groups.measured(options.seconds)), console)


def run_formats(options: argparse.Namespace) -> None:
    """What each format makes of the slots of a training."""
    report.show_table(formats.HEAD, list(formats.measured(options.seeds)), showing.console())


def run_quality(options: argparse.Namespace) -> None:
    """What is not among the kept results yet; then the table and the picture of all of them."""
    console = showing.console()
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
        showing.give_up(str(problem))
    readme.README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
