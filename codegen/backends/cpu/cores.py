"""Which cores this process may use: how many, and where its helpers run."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

PROC = Path("/proc/self")
"""Where Linux says which control groups a process is in, and where they are mounted."""


def cores(proc: Path = PROC) -> int:
    """Cores that this process may use: those that it may run on, or less if it has no time for so many.

    Containers are given a share of the machine's time; threads beyond it are stopped until the next period, each in the
    middle of its work (cgroup v1 and v2). A part of a core counts as one.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = min((math.ceil(share) for share in _shares(proc)), default=allowed)
    return max(1, min(allowed, quota))


def _shares(proc: Path) -> Iterator[float]:
    """How many cores' time the control groups of this process have, each and all that are above it."""
    with contextlib.suppress(OSError, ValueError, LookupError):
        own = [line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines()]
        mounts = [line.split() for line in (proc / "mountinfo").read_text().splitlines()]
        for _, controllers, path in own:
            for folder in _folders(controllers, path, mounts):
                yield from _share(folder)


def _folders(controllers: str, path: str, mounts: Sequence[Sequence[str]]) -> Iterator[Path]:
    """The folders of a control group and of those above it, as far as they can be seen from here."""
    for fields in mounts:
        root, point, rest = fields[3], fields[4], fields[fields.index("-") + 1 :]
        is_v2 = rest[0] == "cgroup2" and not controllers
        is_v1 = rest[0] == "cgroup" and "cpu" in controllers.split(",") and "cpu" in rest[2].split(",")
        if is_v1 or is_v2:
            below = PurePosixPath(path)
            # Under another root: a container sees its own group as the top, and does not know its name.
            is_seen = ".." not in below.parts and below.is_relative_to(root)
            group = Path(_unescaped(point)) / (below.relative_to(root) if is_seen else "")
            yield from (group, *group.parents[: len(group.parts) - len(Path(_unescaped(point)).parts)])


def _unescaped(point: str) -> str:
    """A path as it is; there, spaces and the like are written in octal."""
    return point.encode("latin-1", "backslashreplace").decode("unicode_escape") if "\\" in point else point


def _share(folder: Path) -> Iterator[float]:
    """The cores' time of one group, if it has a bound."""
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if quota != "max" and int(quota) > 0:
            yield int(quota) / int(period)


class Places:
    """Where helpers run: off the core of whoever they help, and never where they were not allowed to run before."""

    def __init__(self) -> None:
        self._given: dict[int, set[int]] = {}
        self._set: dict[int, set[int]] = {}

    def keep_off(self, core: int, helpers: Sequence[int]) -> None:
        """Let these threads (by the system's numbers) wake up on other cores than `core`. Raises OSError.

        What somebody else has set meanwhile becomes what the thread was given; the caller's own cores bound it, too.
        """
        callers = os.sched_getaffinity(0)
        for helper in helpers:
            before = self._set.get(helper)
            if before is not None and self._wanted(helper, callers, core) == before:
                continue
            now = os.sched_getaffinity(helper)
            if now != before:
                self._given[helper] = now
            self._set[helper] = wanted = self._wanted(helper, callers, core)
            if wanted != now:
                os.sched_setaffinity(helper, wanted)

    def _wanted(self, helper: int, callers: set[int], core: int) -> set[int]:
        """The first of these that leaves a core at all."""
        given = self._given[helper]
        allowed = given & callers or given
        return allowed - {core} or allowed
