"""Without torch: nothing else needs it, nothing imports it, and what needs it says so."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest

import rmsprop_jit


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if f"{name}.".startswith(("torch.", "rmsprop_jit.torch."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(vars(rmsprop_jit), "torch", raising=False)


@pytest.mark.usefixtures("without_torch")
def test_what_needs_it_says_so() -> None:
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match=r"rmsprop_jit\.torch needs torch.*Install it"):
            importlib.import_module("rmsprop_jit.torch")
    assert not hasattr(rmsprop_jit, "torch")


@pytest.mark.usefixtures("without_torch")
def test_all_else_works() -> None:
    weights = np.ones(3, np.float32)
    optimizer = rmsprop_jit.RMSprop(0.1)
    for _ in range(3):
        optimizer.apply([np.ones(3, np.float32)], [weights])
    assert (weights < 1).all()
    with pytest.raises(rmsprop_jit.ArrayError, match="not a NumPy array, a torch tensor"):
        optimizer.apply([[1.0, 2.0, 3.0]], [weights])
