"""The command `cache`: what the store of compiled code holds, to be shown, cleared, or filled beforehand."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .buckets import Part, program_of
from .codegen import backends, room, store
from .errors import BackendError, OptionError
from .flags import Flags, averages_flags, common_flags
from .rules.around import Rule, averages_of, step_of
from .rules.table import Table

UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def add_cache(commands: Any, rules: Table) -> None:
    """Add the command; `rules` are those that `--warm` compiles."""
    cache = commands.add_parser("cache", help="show, clear or fill the store of compiled code")
    action = cache.add_mutually_exclusive_group()
    actions = {
        "show": (_show, "list what is kept, last used first (default)"),
        "clear": (_clear, "remove everything"),
        "warm": (_warm, "compile common option sets, which takes minutes for all rules"),
    }
    for name, (function, doc) in actions.items():
        action.add_argument(f"--{name}", action="store_const", const=function, dest="action", help=doc)
    cache.add_argument("--json", action="store_true", help="show it as JSON: sizes in bytes, ages in seconds")
    cache.add_argument(
        "--rule", action="append", choices=tuple(rules), metavar="RULE", help="a rule to warm; again for more (all)"
    )
    cache.set_defaults(run=_run, action=None, rules=rules)


def _run(options: argparse.Namespace) -> None:
    if options.json and options.action not in (None, _show):
        raise OptionError("--json is a form of --show. Received: --json with another action. Leave one of them out.")
    if options.rule and options.action is not _warm:
        raise OptionError("--rule says what to warm. Received: --rule without --warm. Leave it out, or add --warm.")
    (options.action or _show)(options)


@dataclass(frozen=True)
class Kept:
    """An entry as it is shown; `kernel` is None if it is damaged, or of another version."""

    key: str
    kernel: str | None
    bytes: int
    age_seconds: float


def _kept() -> list[Kept]:
    """What is kept, last used first."""
    now = time.time()
    found = []
    for key, size, parts in store.entries():
        used = store.last_used(key)
        if used is not None:
            found.append(Kept(key, _title(key, parts), size, round(max(0.0, now - used), 1)))
    return sorted(found, key=lambda one: (one.age_seconds, one.key))


def _show(options: argparse.Namespace) -> None:
    folder, kept = store.folder(), _kept()
    total = sum(one.bytes for one in kept)
    if options.json:
        place = None if folder is None else str(folder)
        shown = {"folder": place, "limit_bytes": room.limit(), "bytes": total, "entries": [vars(one) for one in kept]}
        sys.stdout.write(json.dumps(shown, indent=2) + "\n")
        return
    if folder is None:
        _print(f"There is no store: {store.problem()}.")
        return
    if kept:
        _print(f"{'KiB':>8}  {'unused':>7}  kernel")
    for one in kept:
        title = one.kernel or "(damaged, or of another version)"
        _print(f"{one.bytes / 1024:>8.1f}  {_age(one.age_seconds):>7}  {title}")
    most = room.limit() / (1 << 20)
    _print(f"{len(kept)} entries, {total / 1024:.0f} KiB of at most {most:g} MiB in {folder}")


def _print(line: str) -> None:
    """A line as it is: terminals break long ones, and nothing in an entry is read as markup."""
    Console().print(line, markup=False, highlight=False, soft_wrap=True)


def _age(seconds: float) -> str:
    """In the largest unit of which there are two."""
    unit, size = next((row for row in UNITS if seconds >= 2 * row[1]), UNITS[-1])
    return f"{seconds // size:.0f} {unit}"


def _title(key: str, parts: Mapping[str, bytes] | None) -> str | None:
    """The first line of an entry's source, or its key. Nothing in an entry is trusted, so only letters and signs."""
    if parts is None:
        return None
    lines = parts.get("source", b"").decode(errors="replace").strip().splitlines()
    title = lines[0].strip('# "') if lines else ""
    return "".join(letter if letter.isprintable() else "?" for letter in title) or key


def _clear(options: argparse.Namespace) -> None:
    _print(f"{store.clear()} entries removed from {store.folder()}")


def _warm(options: argparse.Namespace) -> None:
    _refuse_no_store()
    columns = (TextColumn("compiling"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    rules = [row.rule for row, _ in map(options.rules.__getitem__, options.rule or options.rules)]
    sets = [(rule, flags, dtype) for rule in rules for dtype in ("float32", "float64") for flags in common_flags(rule)]
    with Progress(*columns) as progress:
        for rule, flags, dtype, part in progress.track([*wanted(sets)]):
            backends.warm(program_of(rule, flags, dtype, part=part))
    _refuse_no_store()
    _print(f"{len(sets)} option sets are compiled in {store.folder()}")


def wanted(sets: Sequence[tuple[Rule, Flags, str]]) -> Iterator[tuple[Rule, Flags, str, Part]]:
    """Of option sets the programs of steps, and what writes averaged weights over variables, where they have any."""
    yield from ((*one, step_of) for one in sets)
    for rule, flags, dtype in dict.fromkeys((rule, averages_flags(rule, flags), dtype) for rule, flags, dtype in sets):
        if flags is not None:
            yield rule, flags, dtype, averages_of


def _refuse_no_store() -> None:
    """A disk can be full before, or become so."""
    problem = store.problem()
    if problem is not None:
        raise BackendError(
            f"nothing can be kept: {problem}. Received: cache --warm. Set {store.VARIABLE} to a folder with room."
        )
