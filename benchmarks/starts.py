"""What does the first step cost? Imports, compilation and memory, each in fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]

IMPORT = "import time; t = time.perf_counter(); import {0}; print(time.perf_counter() - t)"

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


def _run(script: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip().splitlines()[-1]


def imports(rounds: int = 9) -> dict[str, Any]:
    """Seconds of `import rmsprop_jit` beside `import numpy`, in turns."""
    times: dict[str, list[float]] = {"rmsprop_jit": [], "numpy": []}
    for _ in range(rounds):
        for name in times:
            times[name].append(float(_run(IMPORT.format(name))))
    ours, theirs = median(times["rmsprop_jit"]), median(times["numpy"])
    return _row("import", "import numpy", 0.5, ours, theirs)


def first_steps(rounds: int = 3) -> list[dict[str, Any]]:
    """Seconds of the first step on 200 tensors: ours with an empty store and a filled one, torch.compile's."""
    cold, warm, torch = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(float(_run(FIRST, RMSPROP_JIT_CACHE_DIR=folder)))
            warm.append(float(_run(FIRST, RMSPROP_JIT_CACHE_DIR=folder)))
    try:
        with tempfile.TemporaryDirectory() as folder:
            torch.append(float(_run(FIRST_TORCH, TORCHINDUCTOR_CACHE_DIR=folder)))
    except subprocess.CalledProcessError:
        pass
    rows = [_row("first step, nothing cached", "1 s", 1.0, median(cold), 1.0)]
    rows.append(_row("first step, cached, new process", "not cached", 5.0, median(warm), median(cold)))
    if torch:
        rows.append(_row("first step, nothing cached", "torch.compile's first", 20.0, median(cold), torch[0]))
    return rows


def memory() -> dict[str, Any]:
    """Bytes that one step allocates with everything on, at 16.7 M elements: Python's, and resident; under 64 KiB."""
    traced, resident = json.loads(_run(MEMORY))
    most = max(traced, resident, 1)
    return {
        "case": "memory that two calls allocate, 16.7 M, all options",
        "against": "64 KiB",
        "target": 1.0,
        "correct": True,
        "traced_bytes": traced,
        "resident_bytes": resident,
        "ratio": 65536 / most,
    }


def _row(case: str, against: str, target: float, ours: float, theirs: float) -> dict[str, Any]:
    return {
        "case": case,
        "against": against,
        "target": target,
        "correct": True,
        "ours_s": ours,
        "theirs_s": theirs,
        "ratio": theirs / ours,
    }
