"""What does the first step cost? Imports, compilation and memory, each in fresh processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from . import children
from .cases import Case
from .rows import Row, Rows, attempted
from .timing import Paired

ROOT = Path(__file__).parents[1]

IMPORT = "import time; t = time.perf_counter(); {0}; print(time.perf_counter() - t)"
OURS, NUMPY = "from rmsprop_jit import RMSprop", "import numpy"
"""Ours is what an optimizer needs, NumPy among it: `import rmsprop_jit` alone loads nothing yet."""

FIRST = """
import time, numpy as np, rmsprop_jit
p = [np.ones(1000, np.float32) for _ in range(200)]
g = [np.ones(1000, np.float32) for _ in range(200)]
t = time.perf_counter()
rmsprop_jit.RMSprop(centered=True, momentum=0.9, weight_decay=0.01).apply(g, p)
print(time.perf_counter() - t)
"""

FIRST_TORCH = """
import time, torch
p = [torch.nn.Parameter(torch.ones(1000)) for _ in range(200)]
for x in p:
    x.grad = torch.ones(1000)
o = torch.optim.RMSprop(p, centered=True, momentum=0.9, weight_decay=0.01)
step = torch.compile(o.step)
t = time.perf_counter()
step()
print(time.perf_counter() - t)
"""

MEMORY = """
import json, tracemalloc, numpy as np, psutil, rmsprop_jit
n = 1 << 24
p, g = np.ones(n, np.float32), np.ones(n, np.float32)
o = rmsprop_jit.RMSprop(centered=True, momentum=0.9, weight_decay=0.01, use_ema=True, global_clipnorm=1.0,
                        loss_scale_factor=2.0, gradient_accumulation_steps=2)
for _ in range(4):
    o.apply([g], [p])
me = psutil.Process()
tracemalloc.start()
o.apply([g], [p])
o.apply([g], [p])
before, resident = tracemalloc.get_traced_memory()[0], me.memory_info().rss
tracemalloc.reset_peak()
o.apply([g], [p])
o.apply([g], [p])
print(json.dumps([tracemalloc.get_traced_memory()[1] - before, me.memory_info().rss - resident]))
"""


ALLOWED = 64 << 10
NOT_INSTALLED = re.compile(r"No module named '([^']+)'")

IMPORTS = Case("import", [], {}, "import numpy", 0.5)
COLD = Case("first step, nothing cached", [], {}, "1 s", 1.0)
WARM = Case("first step, cached, new process", [], {}, "not cached", 5.0)
TORCH = Case("first step, nothing cached", [], {}, "torch.compile's first", 20.0)
ALLOCATED = Case("memory that two calls allocate, 16.7 M, all options", [], {}, "64 KiB", 1.0)


def _run(script: str, **environment: str) -> str:
    """The last line that a script prints in a new process. Raises what stopped it: its error, or how it ended."""
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)
    if result.returncode == 0:
        return result.stdout.strip().splitlines()[-1]
    said = result.stderr.strip().splitlines()
    if result.returncode != 1 or not said:  # what it said last was no error, then
        raise RuntimeError(children.ended(result.returncode))
    missing = NOT_INSTALLED.search(said[-1])
    raise ModuleNotFoundError(said[-1], name=missing[1]) if missing else RuntimeError(said[-1])


def imports(rounds: int = 9) -> Row:
    """Seconds of importing RMSprop beside `import numpy`, in turns."""
    return attempted(IMPORTS, lambda: _imports(rounds))


def _imports(rounds: int) -> Row:
    times: dict[str, list[float]] = {OURS: [], NUMPY: []}
    for _ in range(rounds):
        for statement in times:
            times[statement].append(float(_run(IMPORT.format(statement), PYTHONDONTWRITEBYTECODE="")))
    return _figures(times[OURS], times[NUMPY])


def first_steps(rounds: int = 3) -> Rows:
    """Seconds of the first step on 200 tensors: ours with an empty store and a filled one, and torch.compile's.

    Each row has runs of its own, both sides in turns.
    """

    def cold() -> Row:
        return _figures([_first(FIRST, "RMSPROP_JIT_CACHE_DIR")[0] for _ in range(rounds)], [1.0] * rounds)

    def warm() -> Row:
        pairs = [_first(FIRST, "RMSPROP_JIT_CACHE_DIR", 2) for _ in range(rounds)]
        return _figures([second for _, second in pairs], [first for first, _ in pairs])

    def torch() -> Row:
        pairs = [
            (*_first(FIRST, "RMSPROP_JIT_CACHE_DIR"), *_first(FIRST_TORCH, "TORCHINDUCTOR_CACHE_DIR"))
            for _ in range(rounds)
        ]
        return _figures([own for own, _ in pairs], [theirs for _, theirs in pairs])

    return [attempted(COLD, cold), attempted(WARM, warm), attempted(TORCH, torch)]


def _first(script: str, cache: str, times: int = 1) -> list[float]:
    """The seconds that a script prints in new processes that share a cache, empty at first, named by a variable."""
    with tempfile.TemporaryDirectory() as folder:
        return [float(_run(script, **{cache: folder})) for _ in range(times)]


def memory() -> Row:
    """Bytes that one step allocates with everything on, at 16.7 M elements: Python's, and resident; under 64 KiB."""
    return attempted(ALLOCATED, _memory)


def _memory() -> Row:
    traced, resident = json.loads(_run(MEMORY))
    most = max(traced, resident, 1)
    about = {"traced_bytes": traced, "resident_bytes": resident, "ours_bytes": most, "theirs_bytes": ALLOWED}
    return {"correct": True, **about, "ratio": ALLOWED / most}


def _figures(ours: list[float], theirs: list[float]) -> Row:
    return {"correct": True, **Paired.of(ours, theirs).as_row()}
