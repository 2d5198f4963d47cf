"""The benchmark of groups times what it says: as many groups as tensors, one launch, and what is missing is named."""

import sys
from pathlib import Path
from typing import Any

import pytest

from rmsprop_jit import AdamW
from rmsprop_jit.codegen import backends

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import groups


def test_each_tensor_is_a_group_and_all_are_one_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[list[int]] = []
    made: list[AdamW] = []
    launch, build = backends.launch, AdamW.build

    def spy(tables: Any, *arguments: Any) -> Any:
        launched.append([table.tensors for own in tables.values() for table in own])
        return launch(tables, *arguments)

    def built(optimizer: AdamW, variables: Any) -> None:
        made.append(optimizer)
        build(optimizer, variables)

    monkeypatch.setattr(backends, "launch", spy)
    monkeypatch.setattr(AdamW, "build", built)
    for of in (groups.constants, groups.schedules):
        step = groups.ours(of)
        step()
        step()
    assert launched == [[groups.COUNT]] * 2
    assert [len(optimizer.groups) for optimizer in made] == [groups.COUNT] * 2
    rates = {repr(group["learning_rate"]) for optimizer in made for group in optimizer.groups}
    assert len(rates) == 2 * groups.COUNT


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(groups, "LINES", groups.LINES[-2:])
    lines = list(groups.measured(0.01))
    assert [line[0] for line in lines] == ["torch foreach, 465 groups", "torch fused, 465 groups"]
    assert all("torch is not installed" in line[3] for line in lines)
