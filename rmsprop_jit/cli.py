"""The command line: `rmsprop-jit demo`, `explain`, `cache` and `state`."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from . import __version__
from .cache import add_cache
from .contents import add_state
from .errors import BackendError, OptionError, RmspropJitError
from .examples import EXAMPLES, run, show
from .optimizer import Optimizer
from .option_table import NUMBER, OPTIONS, SWITCH
from .rules.named import named
from .rules.rmsprop import RMSPROP
from .rules.table import TABLE
from .rules.table import Table as Rules
from .shown import FORMS

NARROW = 60
"""Columns of a terminal that has no room for a bar."""

INTERRUPTED = 130
"""What shells say of a command that Control-C has ended."""


def main(arguments: Sequence[str] | None = None, rules: Rules = TABLE) -> int:
    """Run a command; returns the exit status. Errors are one line on standard error, status 2; Control-C is 130."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        options = parser(given, rules).parse_args(given)
        options.run(options)
        sys.stdout.flush()
    except RmspropJitError as problem:
        return _failed(str(problem))
    except BrokenPipeError:
        _drop_output()  # the reader, such as `head`, has seen enough
    except OSError as problem:
        _drop_output()
        return _failed(": ".join(str(part) for part in (problem.filename, problem.strerror or problem) if part))
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)
    return 0


def _failed(message: str, status: int = 2) -> int:
    with contextlib.suppress(OSError):  # standard error may be full, too
        Console(stderr=True).print(f"[bold red]rmsprop-jit:[/] {escape(message)}", highlight=False, soft_wrap=True)
    return status


def _drop_output() -> None:
    """Let nothing be written to standard output any more: Python would try when it ends, and complain."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Help(argparse.HelpFormatter):
    """Help whose lines break between words only, however narrow the terminal is."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_long_words=False, break_on_hyphens=False)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """An option and its opposite, one below the other where they do not fit side by side."""
        text = super()._format_action_invocation(action)
        indent = " " * self._current_indent
        return text if len(indent + text) <= self._width else text.replace(", ", f",\n{indent}")

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in self._split_lines(text, width - len(indent)))


def parser(arguments: Sequence[str] = (), rules: Rules = TABLE) -> argparse.ArgumentParser:
    """The commands and their options; those of `explain` depend on the rule that `arguments` choose."""
    top = argparse.ArgumentParser(
        prog="rmsprop-jit", description="Optimizer updates as one fused kernel.", formatter_class=Help
    )
    top.set_defaults(run=lambda _: top.print_help())
    top.add_argument("--version", action="version", version=f"rmsprop-jit {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", parser_class=_SubParser)
    _add_demo(commands, rules)
    _add_explain(commands, arguments, rules)
    add_cache(commands, rules)
    add_state(commands)
    return top


class _SubParser(argparse.ArgumentParser):
    """The parser of a command: its usage is short, as lists of alternatives have no place to break."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, usage="%(prog)s [OPTION ...]", formatter_class=Help)


def _add_demo(commands: Any, rules: Rules) -> None:
    demo = commands.add_parser("demo", help="train a small network on real digits, and time the update; or an example")
    text = f"an example instead, which brings its own rule: {', '.join(EXAMPLES)}"
    demo.add_argument("name", nargs="?", metavar="NAME", help=text)
    demo.add_argument("--list", action="store_true", help="say what each example shows")
    demo.add_argument("--rule", default=next(iter(rules)), metavar="RULE", help=_rule_text(rules))
    text = "learning rate (default: one that suits the rule and the digits)"
    demo.add_argument("--learning-rate", type=float, metavar="X", help=text)
    _add_groups(demo)
    demo.set_defaults(groups=None)
    demo.add_argument("--plot", type=Path, metavar="FILE.png", help="write a picture of the loss")
    demo.set_defaults(run=run_demo, rules=rules)


def _rule_text(rules: Rules) -> str:
    return f"which rule: {', '.join(rules)}, or module:NAME for one of your own (default: {next(iter(rules))})"


def _add_explain(commands: Any, arguments: Sequence[str], rules: Rules) -> None:
    scout = argparse.ArgumentParser(add_help=False)
    scout.add_argument("--rule", nargs="?")
    chosen = scout.parse_known_args(arguments)[0].rule
    is_explained = "explain" in arguments and chosen is not None
    usual = next(iter(rules))
    row, optimizer = named(str(chosen) if is_explained else usual, rules)
    explain = commands.add_parser("explain", help="print what a set of options compiles to")
    explain.add_argument("--rule", metavar="RULE", help=_rule_text(rules))
    text = f"which stage: {', '.join(FORMS)} (default: %(default)s)"
    explain.add_argument("--form", choices=FORMS, default="kernel", metavar="FORM", help=text)
    for switch in ("on", "off"):
        text = f"show the program with this flag {switch}, which the step or the shape decides (see --form programs)"
        explain.add_argument(f"--{switch}", action="append", default=[], metavar="FLAG", help=text)
    explain.add_argument(
        "--dtype", choices=("float32", "float64"), default="float32", help="of the arrays (default: %(default)s)"
    )
    own = explain.add_argument_group(f"arguments of {row.rule.name}")
    taken = {action.dest for action in explain._actions}  # which mean what they mean for every rule
    named_lines = {name: (default, row.arguments[name]) for name, default in row.own.items()}
    for name, (default, line) in {**named_lines, **row.further}.items():
        if name not in taken:
            _add_argument(own, name, _form(default, row.dialects), line)
    every = explain.add_argument_group("options of every optimizer")
    for name, option in OPTIONS.items():
        if option.command is not None:
            _add_argument(every, name, option.command, option.doc)
    _add_groups(every)
    explain.set_defaults(run=run_explain, optimizer=optimizer)


def _add_groups(parser: Any) -> None:
    text = """options of some variables, as JSON: '{"bias.*": {"learning_rate": 1e-4}}'"""
    parser.add_argument("--groups", type=_groups, metavar="JSON", default=argparse.SUPPRESS, help=text)


def _groups(text: str) -> Any:
    """Groups as they are passed in Python. Raises ArgumentTypeError for what is no JSON."""
    try:
        return json.loads(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(f"groups are JSON ({problem}). Received: {text!r}.") from None


def _form(default: object, dialects: Iterable[str]) -> Mapping[str, Any]:
    """How an argument with this default is given: a name is that of a dialect."""
    if isinstance(default, str):
        return {"choices": (default, *dialects), "metavar": "NAME"}
    return SWITCH if isinstance(default, bool) else NUMBER


def _add_argument(group: Any, name: str, command: Mapping[str, Any], doc: str) -> None:
    keywords = {"action": argparse.BooleanOptionalAction} if command is SWITCH else command
    text = doc.replace("%", "%%")
    group.add_argument(f"--{name.replace('_', '-')}", **keywords, default=argparse.SUPPRESS, help=text)


def run_explain(options: argparse.Namespace) -> None:
    """Print one stage of the compilation of a rule with these options."""
    ours = ("run", "optimizer", "rule", "form", "dtype", "on", "off")
    given = {name: value for name, value in vars(options).items() if name not in ours}
    text = options.optimizer(**given).explain(options.form, options.dtype, options.on, options.off)
    sys.stdout.write(text + "\n")


def run_demo(options: argparse.Namespace) -> None:
    """Train, test, and say what was compiled and how fast it is; or run an example, or list them."""
    if options.list:
        show()
        return
    if options.name is not None:
        _refuse_beside(options)
        run(options.name)
        return
    from . import demo

    console = Console()
    _check_plot(options.plot)
    found = named(options.rule, options.rules)
    optimizer, timed = (demo.new_optimizer(found, options.learning_rate, options.groups) for _ in range(2))
    wants_hessian = demo.HESSIAN in found[0].rule.inputs
    data, weights = demo.digits(), demo.new_weights()
    optimizer.build(weights)
    losses = _trained(console, demo.train(weights, optimizer, data, wants_hessian), demo.batches(data))
    console.print(f"rule           {_title(optimizer)}", soft_wrap=True, highlight=False)
    accuracy = 100 * demo.accuracy(weights, *data[2:])
    console.print(f"test accuracy  {accuracy:.1f} % of {len(data[2])} digits not trained on", soft_wrap=True)
    if not math.isfinite(losses[-1]):
        console.print(f"               the loss became {losses[-1]}: try a smaller --learning-rate", soft_wrap=True)
    line, *others = optimizer.explain("summary").splitlines()
    loops = [other.strip() for other in others if " elements at a time" in other or " no vectors" in other]
    console.print(
        f"kernel         {escape(line)}", *(f"{'':<14}{escape(loop)}" for loop in loops), sep="\n", soft_wrap=True
    )
    _, gradients = demo.loss_and_gradients(demo.new_weights(), data[0][:32], data[1][:32])
    ours, theirs = demo.time_steps(timed, gradients, wants_hessian)
    beside = f"; in plain NumPy {theirs * 1e6:.0f} us: {theirs / ours:.1f}x" if found[0].rule is RMSPROP else ""
    console.print(f"one step       {ours * 1e6:.0f} us{beside}", soft_wrap=True)
    if options.plot:
        demo.plot(losses, options.plot, f"{_title(optimizer)} on handwritten digits")
        console.print(f"loss curve     {escape(str(options.plot))}", soft_wrap=True)


def _refuse_beside(options: argparse.Namespace) -> None:
    """Raise OptionError for what an example does not take."""
    usual = {"rule": next(iter(options.rules)), "learning_rate": None, "groups": None, "plot": None}
    given = [name for name, value in usual.items() if getattr(options, name) != value]
    if given:
        raise OptionError(
            f"an example has its own rule and rates. Received: {options.name} with --{given[0].replace('_', '-')}. "
            "Leave the name away to train the digits."
        )


def _trained(console: Console, losses: Iterable[float], batches: int) -> list[float]:
    """The loss of each batch, while a bar shows how far it is."""
    bar = () if console.width < NARROW else (BarColumn(),)
    loss_of = TextColumn("{task.fields[loss]}")
    columns = (TextColumn("training"), *bar, MofNCompleteColumn(), TimeRemainingColumn(), loss_of)
    seen = []
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=batches, loss="")
        for loss in losses:
            seen.append(loss)
            progress.update(task, advance=1, loss=f"loss {loss:.4f}")
    return seen


def _title(optimizer: Optimizer) -> str:
    """The rule with its arguments, as far as they are not the usual ones."""
    return repr(optimizer).removeprefix("<").rpartition(":")[0].replace(f"rule={optimizer.name!r}, ", "")


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
