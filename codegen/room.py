"""How much the store may hold: what was not used for longest goes first, and what nobody finished or uses goes anyway.

The time of a file is when it was last used. Every process that writes looks at all files and removes what is too much,
so none needs to know of another, and there is no book that could be wrong.
"""

from __future__ import annotations

import functools
import math
import os
import time
import warnings

from . import private

VARIABLE = "RMSPROP_JIT_CACHE_LIMIT"
"""Of the environment: so many MiB may be kept."""

DEFAULT = 512.0
"""MiB: some 20,000 kernels."""

HOUR, DAY = 3600.0, 86400.0

UNUSED = 180 * DAY
"""Seconds after which an entry goes that nobody has used."""

LEFT = DAY
"""Seconds after which a file counts as left behind that somebody began to write."""


def limit() -> int:
    """Bytes that may be kept."""
    return _bytes(os.environ.get(VARIABLE) or str(DEFAULT))


@functools.cache
def _bytes(text: str) -> int:
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if 0 <= size < math.inf:
        return int(size * (1 << 20))
    warnings.warn(
        f"rmsprop_jit: {VARIABLE} must be a number of MiB >= 0. Received: {text!r}. {DEFAULT:.0f} is taken.",
        stacklevel=5,
    )
    return int(DEFAULT * (1 << 20))


def used(place: private.Folder, name: str) -> None:
    """Let a file be one that was just used; not more often than matters."""
    if abs(time.time() - place.info(name).st_mtime) > HOUR:
        place.touch(name)


def make(place: private.Folder, suffix: str) -> None:
    """Remove what is left behind or too much; of entries, which end in `suffix`, those unused for longest first."""
    now, kept, total = time.time(), [], 0
    for name in place.names():
        try:
            info = place.info(name)
        except OSError:  # another process was faster
            continue
        age = now - info.st_mtime
        if name.startswith(private.PREFIX) and age > LEFT:
            place.remove(name)
        elif name.endswith(suffix):
            kept.append((age if age <= UNUSED else math.inf, name, info.st_size))
            total += info.st_size
    most = limit()
    for age, name, size in sorted(kept, reverse=True):
        if total <= most and age <= UNUSED:
            return
        place.remove(name)
        total -= size
