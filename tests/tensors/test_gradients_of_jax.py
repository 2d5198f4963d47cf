"""Arrays of other libraries in host memory, through DLPack: gradients of `jax.grad` as they are; no variables.

What uses JAX runs in another process, see `apart`; the checks are in `jax_checks`.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import apart
import pytest

HERE = Path(__file__)
OF_JAX = HERE.parents[1] / "support" / "jax_checks.py"

with_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")


NAMES = [
    "what_jax_differentiates_trains_numpy_s_arrays",
    "a_gradient_is_not_copied",
    "a_variable_is_refused_with_what_to_do",
    "what_is_wrong_with_a_gradient_is_said",
    "states_may_be_jax_s_arrays",
]


@with_jax
@pytest.mark.parametrize("name", NAMES)
def test_jax(name: str) -> None:
    apart.check(OF_JAX, name)


@with_jax
def test_no_check_of_jax_is_left_out() -> None:
    assert apart.names(OF_JAX) == NAMES


@with_jax
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_this_process_can_be_forked_without_a_warning_after_jax_was_used() -> None:
    apart.check(OF_JAX, "what_jax_differentiates_trains_numpy_s_arrays")
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def broken() -> None:
    raise ValueError("this one is broken")


def test_a_check_that_fails_apart_fails_here_and_says_why() -> None:
    apart.check(HERE, "fine")
    with pytest.raises(AssertionError, match="ValueError: this one is broken"):
        apart.check(HERE, "broken")
    with pytest.raises(AssertionError, match="no such check"):
        apart.check(HERE, "unknown")


CHECKS = {"fine": lambda: None, "broken": broken}
