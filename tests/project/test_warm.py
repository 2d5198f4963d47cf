"""What `rmsprop-jit cache --warm` compiles: what the first use of an option set would."""

from typing import Any

import numpy as np
import pytest

from rmsprop_jit import Optimizer
from rmsprop_jit.buckets import program_of
from rmsprop_jit.cache import wanted
from rmsprop_jit.codegen import backends
from rmsprop_jit.flags import common_flags
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.table import TABLE


@pytest.mark.parametrize(("name", "options"), [("schedulefreesgd", {}), ("sgd", {"use_ema": True})])
def test_averaged_weights_are_among_it(name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    row, make = TABLE[name]
    sets = [(row.rule, flags, "float32") for flags in common_flags(row.rule)]
    programs = [program_of(rule, flags, dtype, part=part) for rule, flags, dtype, part in wanted(sets)]
    assert {program_of(*one, part=step_of) for one in sets} < {*programs}
    optimizer: Optimizer = make(**options)
    optimizer.build([np.ones(3, np.float32)])
    optimizer.apply([np.ones(3, np.float32)])
    asked: list[Any] = []
    launch = backends.launch

    def launched(tables: Any, *rest: Any) -> Any:
        asked.extend(table.program for own in tables.values() for table in own)
        return launch(tables, *rest)

    monkeypatch.setattr(backends, "launch", launched)
    with optimizer.averaged():
        assert asked
    assert {*asked} <= {*programs}
