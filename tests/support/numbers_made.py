"""Which tables had their numbers made in Python."""

from typing import Any

import pytest

from rmsprop_jit.codegen.backends.cpu.tables import Table


def tables_of(monkeypatch: pytest.MonkeyPatch) -> list[Table]:
    """The tables whose numbers are made in Python from now on, each time anew."""
    found: list[Table] = []
    numbers_of = Table.numbers_of

    def noted(table: Table, hypers: Any) -> Any:
        found.append(table)
        return numbers_of(table, hypers)

    monkeypatch.setattr(Table, "numbers_of", noted)
    return found
