"""Muon in torch's dialect beside torch's own, whose iteration is in bfloat16 unless it is kept from that."""

from typing import Any

import numpy as np
import pytest

from rmsprop_jit import Muon

torch = pytest.importorskip("torch")
if not hasattr(torch.optim, "Muon"):
    pytest.skip("this torch has no Muon", allow_module_level=True)

SHAPES = ((3, 5), (40, 8), (7, 7))
STEPS = 20
SETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "usual": ({"rms_rate": None, "weight_decay": 0.1}, {}),
    "plain": (
        {"rms_rate": 0.2, "weight_decay": None, "momentum": 0.5, "nesterov": False},
        {"adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.0, "momentum": 0.5, "nesterov": False},
    ),
    "numbers": (
        {"rms_rate": None, "weight_decay": 0.0, "ns_steps": 3, "muon_a": 2.0, "muon_b": -1.5, "muon_c": 0.5},
        {"weight_decay": 0.0, "ns_steps": 3, "ns_coefficients": (2.0, -1.5, 0.5)},
    ),
}
"""Ours, and torch's."""


def arrays(seed: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in SHAPES]


def trained(ours: dict[str, Any], theirs: dict[str, Any], start: int = 0) -> list[tuple[Any, Any]]:
    """What ours and torch's make of the same variables."""
    variables = arrays(start)
    parameters = [torch.tensor(one, requires_grad=True) for one in variables]
    optimizer, other = Muon(0.01, dialect="torch", **ours), torch.optim.Muon(parameters, lr=0.01, **theirs)
    for step in range(STEPS):
        gradients = arrays(100 + step)
        optimizer.apply(gradients, variables)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = torch.tensor(gradient)
        other.step()
    return [(one, two.detach().numpy()) for one, two in zip(variables, parameters, strict=True)]


@pytest.mark.parametrize("name", SETS)
def test_its_numbers_are_torch_s_but_for_bfloat16(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    for mine, theirs in trained(*SETS[name]):
        assert np.abs(mine - theirs).max() <= 1e-9 * np.abs(theirs).max()


def test_beside_bfloat16_it_is_the_more_exact_one() -> None:
    for mine, theirs in trained(*SETS["usual"]):
        assert 1e-5 < np.abs(mine - theirs).max() < 0.02 * np.abs(theirs).max()
