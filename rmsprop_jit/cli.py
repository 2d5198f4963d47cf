"""The command line: `rmsprop-jit demo`, `explain` and `cache`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from . import __version__, codegen
from .buckets import program_of
from .codegen import backends, store
from .errors import BackendError, OptionError, RmspropJitError
from .flags import common_flags
from .options import NUMBER, OPTIONS, SWITCH
from .rules.rmsprop import RMSPROP, RMSprop
from .rules.table import TABLE
from .rules.table import Table as Rules


def main(arguments: Sequence[str] | None = None, rules: Rules = TABLE) -> int:
    """Run a command; returns the exit status. Errors are one line on standard error, status 2."""
    given = sys.argv[1:] if arguments is None else arguments
    options = parser(given, rules).parse_args(given)
    try:
        options.run(options)
    except RmspropJitError as problem:
        Console(stderr=True).print(f"[bold red]rmsprop-jit:[/] {escape(str(problem))}", highlight=False, soft_wrap=True)
        return 2
    except BrokenPipeError:
        sys.stderr.close()  # the reader, such as `head`, has seen enough
    return 0


def parser(arguments: Sequence[str] = (), rules: Rules = TABLE) -> argparse.ArgumentParser:
    """The commands and their options; those of `explain` depend on the rule that `arguments` choose."""
    top = argparse.ArgumentParser(prog="rmsprop-jit", description="Optimizer updates as one fused kernel.")
    top.add_argument("--version", action="version", version=f"rmsprop-jit {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_explain(commands, arguments, rules)
    _add_cache(commands)
    return top


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser("demo", help="train a small network on real digits, and time the update")
    demo.add_argument("--plot", type=Path, metavar="FILE.png", help="write a picture of the loss")
    demo.set_defaults(run=run_demo)


def _add_explain(commands: Any, arguments: Sequence[str], rules: Rules) -> None:
    scout = argparse.ArgumentParser(add_help=False)
    scout.add_argument("--rule", nargs="?")
    chosen = scout.parse_known_args(arguments)[0].rule
    row, optimizer = rules[chosen if chosen in rules else next(iter(rules))]
    explain = commands.add_parser("explain", help="print what a set of options compiles to")
    explain.add_argument("--rule", choices=rules, default=row.rule.name, help="which rule (default: %(default)s)")
    explain.add_argument("--form", choices=codegen.FORMS, default="kernel", help="which stage (default: %(default)s)")
    explain.add_argument(
        "--dtype", choices=("float32", "float64"), default="float32", help="of the arrays (default: %(default)s)"
    )
    own = explain.add_argument_group(f"arguments of {row.rule.name}")
    for name, default in row.own.items():
        _add_argument(own, name, SWITCH if isinstance(default, bool) else NUMBER, row.arguments[name])
    every = explain.add_argument_group("options of every optimizer")
    for name, option in OPTIONS.items():
        if option.command is not None:
            _add_argument(every, name, option.command, option.doc)
    explain.set_defaults(run=run_explain, optimizer=optimizer)


def _add_argument(group: Any, name: str, command: Mapping[str, Any], doc: str) -> None:
    keywords = {"action": argparse.BooleanOptionalAction} if command is SWITCH else command
    text = doc.replace("%", "%%")
    group.add_argument(f"--{name.replace('_', '-')}", **keywords, default=argparse.SUPPRESS, help=text)


def _add_cache(commands: Any) -> None:
    cache = commands.add_parser("cache", help="show, clear or fill the store of compiled code")
    action = cache.add_mutually_exclusive_group()
    action.add_argument("--show", action="store_const", const="show", dest="action", help="list what is kept (default)")
    action.add_argument("--clear", action="store_const", const="clear", dest="action", help="remove everything")
    action.add_argument("--warm", action="store_const", const="warm", dest="action", help="compile common option sets")
    cache.set_defaults(run=run_cache, action="show")


def run_cache(options: argparse.Namespace) -> None:
    """Show, clear or fill the store."""
    console = Console()
    actions = {"show": _show_cache, "clear": _clear_cache, "warm": _warm_cache}
    actions[options.action](console, store)


def _show_cache(console: Console, store: Any) -> None:
    folder = store.folder()
    if folder is None:
        console.print(f"The store is switched off by {store.VARIABLE}=off.")
        return
    table = Table("kernel", "KiB", box=None, header_style="bold")
    sizes = []
    for key, size, parts in store.entries():
        table.add_row(_title(key, parts), f"{size / 1024:.1f}")
        sizes.append(size)
    if sizes:
        console.print(table)
    console.print(f"{len(sizes)} entries, {sum(sizes) / 1024:.0f} KiB in {folder}", soft_wrap=True)


def _title(key: str, parts: Mapping[str, bytes] | None) -> Text:
    """The first line of an entry's source. Nothing in an entry is trusted, nor read as rich's markup."""
    if parts is None:
        return Text("damaged, or of another version", "red")
    lines = parts.get("source", b"").decode(errors="replace").strip().splitlines()
    return Text((lines[0].strip('# "') if lines else "") or key)


def _clear_cache(console: Console, store: Any) -> None:
    console.print(f"{store.clear()} entries removed from {store.folder()}", soft_wrap=True)


def _warm_cache(console: Console, store: Any) -> None:
    columns = (TextColumn("compiling"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    sets = [(flags, dtype) for dtype in ("float32", "float64") for flags in common_flags(RMSPROP)]
    with Progress(*columns, console=console) as progress:
        for flags, dtype in progress.track(sets):
            backends.warm(program_of(RMSPROP, flags, dtype))
    console.print(f"{len(sets)} option sets are compiled in {store.folder()}", soft_wrap=True)


def run_explain(options: argparse.Namespace) -> None:
    """Print one stage of the compilation of a rule with these options."""
    ours = ("run", "optimizer", "rule", "form", "dtype")
    given = {name: value for name, value in vars(options).items() if name not in ours}
    sys.stdout.write(options.optimizer(**given).explain(options.form, options.dtype) + "\n")


def run_demo(options: argparse.Namespace) -> None:
    """Train, test, and say what was compiled and how fast it is."""
    from . import demo

    console = Console()
    _check_plot(options.plot)
    data = demo.digits()
    weights = demo.new_weights()
    optimizer = RMSprop(centered=True, momentum=0.9)
    optimizer.build(weights)
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    losses = []
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=demo.batches(data), loss="")
        for loss in demo.train(weights, optimizer, data):
            losses.append(loss)
            progress.update(task, advance=1, loss=f"loss {loss:.4f}")
    console.print(
        f"test accuracy  {100 * demo.accuracy(weights, *data[2:]):.1f} % of {len(data[2])} digits not trained on"
    )
    console.print(f"kernel         {optimizer.explain('summary')}", soft_wrap=True)
    _, gradients = demo.loss_and_gradients(weights, data[0][:32], data[1][:32])
    ours, theirs = demo.time_steps(gradients)
    console.print(f"one step       {ours * 1e6:.0f} us; in plain NumPy {theirs * 1e6:.0f} us: {theirs / ours:.1f}x")
    if options.plot:
        demo.plot(losses, options.plot)
        console.print(f"loss curve     {options.plot}")


def _check_plot(path: Path | None) -> None:
    """Refuse a picture that could not be written, before the training."""
    if path is None:
        return
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise OptionError(f"--plot takes a name that ends in .png, .svg or .pdf. Received: {str(path)!r}.")
    if not path.absolute().parent.is_dir():
        raise OptionError(f"--plot takes a file in a folder that exists. Received: {str(path)!r}.")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise BackendError(
            f"a picture needs matplotlib, which is not installed. Received: --plot {path}. "
            "Run `pip install matplotlib`."
        ) from None


if __name__ == "__main__":
    sys.exit(main())
