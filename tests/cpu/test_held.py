"""A ledger that is held: nothing runs, and nothing is read or written as a whole, until it is released."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import run_rule

from rmsprop_jit.codegen import Expr, OptionError, Rule, backends, specialize
from rmsprop_jit.codegen.backends.entries import Span
from rmsprop_jit.codegen.backends.ledger import Ledger
from rmsprop_jit.codegen.names import Names


def sgd(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    return {p: p - h.learning_rate * g}


PROGRAM = specialize(Rule("sgd", sgd))


def span(array: Any) -> Span:
    return Span(array, array.ctypes.data)


def test_only_who_holds_it_releases_it() -> None:
    ledger = Ledger(1)
    assert backends.hold(ledger, 3)
    assert not backends.hold(ledger, 3)
    assert not backends.hold(ledger, 4)
    backends.release(ledger, 4)
    with pytest.raises(OptionError, match="Leave the block first"):
        ledger.settle()
    backends.release(ledger, 3)
    ledger.settle()
    assert backends.hold(ledger, 4)


def test_what_is_due_comes_before() -> None:
    ledger = Ledger(1)
    ledger.cells[3] = 1
    assert not backends.hold(ledger, 3)
    assert ledger.due == 1


@pytest.mark.parametrize("expected", [None, 0])
def test_no_step_is_done_counted_or_not(expected: int | None) -> None:
    tensors = run_rule.make_tensors(Rule("sgd", sgd), [5], "float32", lambda size: np.ones(size))
    ledger, cpu = Ledger(1), backends.of("cpu")
    launch = cpu.launch([run_rule.table_of("cpu", PROGRAM, tensors, {})], ledger)
    prepared = launch.prepared(None, {"learning_rate": 0.5, "step": 1.0})
    backends.hold(ledger, 1)
    assert not launch(prepared, expected)
    assert tensors[0]["parameter"].tolist() == [1.0] * 5
    backends.release(ledger, 1)
    assert launch(prepared, expected)
    assert tensors[0]["parameter"].tolist() == [0.5] * 5


def test_nothing_is_read_or_written_as_a_whole() -> None:
    ledger, cpu = Ledger(1), backends.of("cpu")
    target, source = np.zeros(3), np.ones(3)
    acts: list[Callable[[], object]] = [
        lambda: cpu.copy(ledger, [(span(target), span(source))]),
        lambda: cpu.write(ledger, [(span(target), source)], 7, [0, 0]),
        lambda: cpu.read(ledger, [span(target)]),
        lambda: backends.write(ledger, {"cpu": [(span(target), source)], "cuda:0": []}, 7, [0, 0]),
    ]
    backends.hold(ledger, 1)
    for act in acts:
        with pytest.raises(OptionError, match="Leave the block first"):
            act()
    assert not target.any()
    assert ledger.calls == ledger.torn == 0
    backends.release(ledger, 1)
    for act in acts[:3]:
        act()
    assert target.all()
    assert ledger.calls == 7
