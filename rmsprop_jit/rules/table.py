"""The bundled rules, by name: each with its row and its class. What is not here does not exist for the command line."""

from __future__ import annotations

from collections.abc import Mapping

from ..optimizer import Optimizer
from . import rmsprop
from .row import Row

Table = Mapping[str, tuple[Row, type[Optimizer]]]

TABLE: Table = {
    row.rule.name: (row, optimizer)
    for row, optimizer in [
        (rmsprop.ROW, rmsprop.RMSprop),
    ]
}
