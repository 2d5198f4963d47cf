"""Which picture is drawn of which results."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from . import axes, picture
from .rows import Rows
from .rules import picture as of_rules
from .storages import picture as of_storages

OF_CASES: dict[str, Callable[[Rows, Path, dict[str, Any]], Path]] = {
    **dict.fromkeys(("rules", "cuda-rules"), of_rules.draw),
    "axes": partial(of_rules.draw, of_ceiling=axes.OF_CEILING, of_others=axes.OF_OTHERS, beside=axes.BESIDE),
    "storages": of_storages.draw,
}
"""How cases are drawn, where there is a picture of them; of other results there is one of the sweep."""


def drawn(name: str, results: dict[str, Any]) -> Rows:
    """The rows of which there is a picture."""
    rows: Rows = results["cases" if name in OF_CASES else "sweep"]
    return rows


def draw(name: str, results: dict[str, Any], path: Path) -> Path:
    """Draw it."""
    return OF_CASES.get(name, picture.draw)(drawn(name, results), path, results["machine"])
