"""What counts a call on the GPU, as source: one kernel of one thread, the last of each call.

A clock is some numbers in the GPU's memory, float64: the calls made (`clock`), the number of the update that the next
one belongs to, the calls that were skipped, the learning rate of that update, which update the first rate of a table of
them is of, and one verdict or three, each 0 where the step that looks at it does nothing.
"""

from __future__ import annotations

from dataclasses import replace

from .source import KernelSource

STEP, RATE, VERDICTS = 8, 24, 40
"""Where in a clock these are, in bytes."""

RATE_AFTER_STEP = RATE - STEP
"""From where kernels find the number of their update to where they find its rate."""

_DONE = """calls = load_float64(clock) + 1.0
    store_float64(clock, calls)
    store_float64(clock + 8, float64(floor(calls / float64(every))) + 1.0)
"""

TICK = KernelSource("tick", f"def tick(clock, every):\n    {_DONE}", ("clock", "every"), threads=1)
"""Counts a call."""

TICK_GUARDED = KernelSource(
    "tick_guarded",
    f"""def tick_guarded(clock, every):
    if load_int64(clock + 40) != 0:
        {_DONE.replace("    ", "        ")}    else:
        store_float64(clock + 16, load_float64(clock + 16) + 1.0)
        store_float64(clock + 40, float64(1.0))
""",
    ("clock", "every"),
    threads=1,
)
"""The same where the verdict says whether it was done; then it is good again."""

TICK_CHOSEN = KernelSource(
    "tick_chosen",
    f"""def tick_chosen(clock, every):
    if (load_int64(clock + 40) | load_int64(clock + 48) | load_int64(clock + 56)) != 0:
        {_DONE.replace("    ", "        ")}    else:
        store_float64(clock + 16, load_float64(clock + 16) + 1.0)
    calls = load_float64(clock)
    place = calls - float64(floor(calls / float64(every))) * float64(every)
    verdict = clock + 48
    if place == 0.0:
        verdict = clock + 40
    if place == float64(every) - 1.0:
        verdict = clock + 56
    store_float64(clock + 40, float64(0.0))
    store_float64(clock + 48, float64(0.0))
    store_float64(clock + 56, float64(0.0))
    store_float64(verdict, float64(1.0))
""",
    ("clock", "every"),
    threads=1,
)
"""The same where a call is one of three kinds of step, each with a verdict: only the next call's is good then."""


def scheduled(tick: KernelSource) -> KernelSource:
    """The same, and the next update's learning rate is looked up in a table of them."""
    text = tick.text.replace(f"{tick.name}(clock, every)", f"{tick.name}_rates(clock, every, rates)")
    text += """    place = load_float64(clock + 8) - load_float64(clock + 32)
    store_float64(clock + 24, load_float64(rates + int64(place) * 8))
"""
    return replace(tick, name=f"{tick.name}_rates", text=text, arguments=(*tick.arguments, "rates"))
