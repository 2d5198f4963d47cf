"""Watched: whether anybody looks at the steps of an optimizer of torch's: hooks, or its profiler.

Torch puts a mark for its profiler around every step, which takes 8 us by itself, and 40 of 185 us around a step of 200
tensors of ours (measured): our arrays have pushed torch's code out of the caches. Where nobody looks there is no mark.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import profiler
from torch.optim import optimizer as of_torch


def is_watched(optimizer: Any) -> bool:
    """Whether there are hooks of steps, or a profiler is on. A torch that keeps them elsewhere is taken to look."""
    try:
        hooks = optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks
        everyone_s = of_torch._global_optimizer_pre_hooks, of_torch._global_optimizer_post_hooks
        is_profiled = profiler._is_profiler_enabled or torch.autograd._profiler_enabled()
    except AttributeError:
        return True
    return bool(is_profiled or hooks[0] or hooks[1] or everyone_s[0] or everyone_s[1])
