"""How often something is copied to the simulated GPU, and how many kernels are started there."""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import simulated_gpu

from rmsprop_jit.codegen.backends.cuda import uploads


class Counts:
    """Copies and launches since the last look."""

    def __init__(self) -> None:
        self.uploads = self.launches = 0

    def taken(self) -> tuple[int, int]:
        """Both, which then begin at 0 again."""
        found = self.uploads, self.launches
        self.uploads = self.launches = 0
        return found

    def launch(self) -> None:
        """Count a launch."""
        self.launches += 1


@contextlib.contextmanager
def counted() -> Iterator[Counts]:
    """What happens in the `with` block."""
    counts, copy = Counts(), uploads.UPLOADS.copy

    def copied(target: Any, values: Any) -> None:
        counts.uploads += 1
        copy(target, values)

    with mock.patch.object(uploads.UPLOADS, "copy", copied), simulated_gpu.before_launches(counts.launch):
        yield counts
