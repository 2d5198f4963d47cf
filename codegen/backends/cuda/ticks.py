"""What counts a call on the GPU, as source: one kernel of one thread, the last of each call.

A clock is some cells in the GPU's memory, float64 but for the addresses of rows:

    calls     made so far
    step      the number of the update that the next call belongs to
    row       where what the host has worked out ahead for that update is
    skipped   the calls that were skipped
    first     the number of the update that the first of these rows is of
    done      of the call before: its update's number and row, and 0 as its verdict unless it was done as an update
    verdicts  one or several, each 0 where the step that looks at it does nothing
"""

from __future__ import annotations

from collections.abc import Iterator

from ...printer import indented
from .source import KernelSource

STEP, ROW, SKIPPED, FIRST, DONE_STEP, DONE_ROW, DONE, VERDICTS = range(8, 72, 8)
"""Where in a clock these are, in bytes."""

ROW_AFTER_STEP = ROW - STEP
"""From where kernels find the number of their update to where they find its row; also of the call before."""

MOST_KINDS = 8
"""Of steps that end an update, among which a clock chooses."""

OPENS, GOES_ON, CLOSES = 0, 1, 2
"""Which verdict is of a call that opens a window of gradient accumulation, goes on with it, closes it in some way."""

CHOICES = CLOSES + MOST_KINDS
"""The verdicts of a clock that chooses."""


def _counted() -> list[str]:
    """A call more."""
    return [
        "calls = load_float64(clock) + 1.0",
        "store_float64(clock, calls)",
        f"store_float64(clock + {STEP}, float64(floor(calls / float64(every))) + 1.0)",
    ]


def _any_of(verdicts: range) -> str:
    return " | ".join(f"load_int64(clock + {VERDICTS + 8 * i})" for i in verdicts)


def _judged(chooses: bool) -> Iterator[str]:
    """A call more if its verdict says that it was done, else one that was skipped; what is to be known of it later."""
    ends = _any_of(range(CLOSES, CHOICES)) if chooses else _any_of(range(1))
    yield f"ends = {ends}"
    yield f"good = {f'ends | {_any_of(range(CLOSES))}' if chooses else 'ends'}"
    yield f"store_float64(clock + {DONE_STEP}, load_float64(clock + {STEP}))"
    yield f"store_float64(clock + {DONE_ROW}, load_float64(clock + {ROW}))"
    yield f"store_float64(clock + {DONE}, float64(0.0))"
    yield "if ends != 0:"
    yield f"    store_float64(clock + {DONE}, float64(1.0))"
    yield "if good != 0:"
    yield from indented(_counted())
    yield "else:"
    yield f"    store_float64(clock + {SKIPPED}, load_float64(clock + {SKIPPED}) + 1.0)"


def _chosen(is_ahead: bool) -> Iterator[str]:
    """Only the verdict of the step that is due next is good; of those that end an update, the row says which."""
    yield "calls = load_float64(clock)"
    yield "place = calls - float64(floor(calls / float64(every))) * float64(every)"
    yield f"verdict = int64({VERDICTS + 8 * GOES_ON})"
    yield "if place == 0.0:"
    yield f"    verdict = int64({VERDICTS + 8 * OPENS})"
    yield "if place == float64(every) - 1.0:"
    yield f"    verdict = int64({VERDICTS + 8 * CLOSES})" + (" + int64(load_float64(row)) * 8" if is_ahead else "")
    yield from (f"store_float64(clock + {VERDICTS + 8 * i}, float64(0.0))" for i in range(CHOICES))
    yield "store_float64(clock + verdict, float64(1.0))"


def _text(name: str, arguments: tuple[str, ...], body: list[str]) -> KernelSource:
    return KernelSource(name, "\n".join([f"def {name}({', '.join(arguments)}):", *indented(body), ""]), arguments, 1)


TICK = _text("tick", ("clock", "every"), _counted())
"""Counts a call."""

TICK_GUARDED = _text(
    "tick_guarded", ("clock", "every"), [*_judged(False), f"store_float64(clock + {VERDICTS}, float64(1.0))"]
)
"""The same where the verdict says whether it was done; then it is good again."""


def ticking(chooses: bool, is_ahead: bool) -> KernelSource:
    """What counts a guarded call of a clock that chooses among steps, or one that finds a row for each update."""
    if not (chooses or is_ahead):
        return TICK_GUARDED
    name = "tick" + "_chosen" * chooses + "_ahead" * is_ahead
    arguments = ("clock", "every", *(("rows", "width") if is_ahead else ()))
    body = [*_judged(chooses)]
    if is_ahead:
        body += [f"place = load_float64(clock + {STEP}) - load_float64(clock + {FIRST})"]
        body += ["row = rows + int64(place) * width", f"store_float64(clock + {ROW}, number_of(row))"]
    body += [*_chosen(is_ahead)] if chooses else [f"store_float64(clock + {VERDICTS}, float64(1.0))"]
    return _text(name, arguments, body)
