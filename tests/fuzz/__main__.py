"""`python tests/fuzz --what rules --backend cpu --cases 2000 --seed 12345`: any number of cases, and what fails."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS / "support")]

Failure = str | None
BATCH = 50
"""Cache entries between two moves of the progress bar."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description="Random cases, each a seed.")
    parser.add_argument("--what", choices=["rules", "calls", "store", "states"], required=True)
    parser.add_argument("--backend", choices=["reference", "cpu", "cuda", "mlir"], default="cpu", help="for rules")
    parser.add_argument("--cases", type=int, default=100, help="how many seeds are tried")
    parser.add_argument("--seed", type=int, default=0, help="the first seed; give it with --cases 1 to see one again")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many")
    return parser.parse_args()


def cases(chosen: argparse.Namespace, seen: Counter[str]) -> Iterator[tuple[int, list[Failure]]]:
    """How many cases were tried, and what failed, piece by piece."""
    seeds = range(chosen.seed, chosen.seed + chosen.cases)
    if chosen.what == "store":
        from fuzz import entries

        for i in range(0, len(seeds), BATCH):
            yield len(seeds[i : i + BATCH]), [*entries.failures(seeds[i : i + BATCH])]
        return
    one = checked(chosen, seen)
    for seed in seeds:
        yield 1, [one(seed)]


def checked(chosen: argparse.Namespace, seen: Counter[str]) -> Callable[[int], Failure]:
    """A function that tries the case of a seed."""
    if chosen.what == "rules":
        if chosen.backend == "cuda":
            import conftest

            conftest.simulate()
        from fuzz import rules

        def rule(seed: int) -> Failure:
            made = rules.case(seed, chosen.backend)
            wrong = rules.failure(made, chosen.backend, seen) is not None
            return f"seed {seed}: {rules.report(made, chosen.backend)}" if wrong else None

        return rule
    if chosen.what == "calls":
        from fuzz import calls

        return lambda seed: f"seed {seed}: {calls.report(seed)}" if calls.failure(seed) is not None else None
    from fuzz import states

    def state(seed: int) -> Failure:
        problem = states.failure(seed)
        return None if problem is None else f"{problem!r}\n" + "\n".join(problem.__notes__)

    return state


def main() -> int:
    from time import monotonic

    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    chosen, seen, wrong, tried = arguments(), Counter[str](), 0, 0
    console, end = Console(soft_wrap=True), monotonic() + 60 * chosen.minutes
    columns = TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=console) as progress:
        os.environ["RMSPROP_JIT_CACHE_DIR"] = folder  # so many rules are of no use to anyone later
        bar = progress.add_task(chosen.what, total=chosen.cases)
        for count, found in cases(chosen, seen):
            tried += count
            for text in filter(None, found):
                wrong += 1
                console.print(text, markup=False, highlight=False)
            progress.update(bar, advance=count, description=f"{chosen.what}, {wrong} wrong")
            if monotonic() > end:
                break
    told = ", ".join(f"{count} {what}" for what, count in seen.items())
    console.print(
        f"{tried} {chosen.what} from seed {chosen.seed}: {wrong} wrong" + (f" (elements: {told})" if told else "")
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
