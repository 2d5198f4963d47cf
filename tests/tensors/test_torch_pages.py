"""Large states of torch's optimizers lie in large pages, where the system gives them to who asks."""

import re
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import rmsprop_jit.torch  # noqa: E402
from rmsprop_jit.torch.pages import LARGE, SWITCH  # noqa: E402

SMAPS = Path("/proc/self/smaps")
PARAMETERS = LARGE // 4 + 12_345

pytestmark = pytest.mark.skipif(
    not SMAPS.exists() or not Path("/sys/kernel/mm/transparent_hugepage/enabled").exists(), reason="a Linux with them"
)


def flags_at(address: int) -> set[str]:
    """What the system knows of the memory at an address."""
    inside = False
    for line in SMAPS.read_text().splitlines():
        region = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
        if region:
            inside = int(region[1], 16) <= address < int(region[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return set(line.split()[1:])
    raise AssertionError(f"nothing is at {address:#x}")


def states(count: int) -> list[Any]:
    """A state that begins with a number, and one that begins as the parameter does."""
    parameter = torch.nn.Parameter(torch.ones(count))
    parameter.grad = torch.ones(count)
    optimizer = rmsprop_jit.torch.RMSprop([parameter], ema=0.9)
    optimizer.step()
    made = [one for one in optimizer.state[parameter].values() if one.shape == parameter.shape]
    assert len(made) == 2
    return made


def test_large_states_are_in_large_pages() -> None:
    for one in states(PARAMETERS):
        assert "hg" in flags_at(one.data_ptr() + 4 * PARAMETERS // 2)


def test_for_small_ones_nobody_is_asked_and_numpys_switch_holds_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the system was asked")

    monkeypatch.setattr("rmsprop_jit.torch.pages._advise", refuse)
    states(LARGE // 8)
    monkeypatch.setenv(SWITCH, "0")
    states(PARAMETERS)
    monkeypatch.delenv(SWITCH)
    with pytest.raises(AssertionError, match="was asked"):
        states(PARAMETERS)
