"""Which picture is drawn of which results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import picture
from .rows import Rows
from .rules import picture as of_rules

RULES = ("rules", "cuda-rules")


def drawn(name: str, results: dict[str, Any]) -> Rows:
    """The rows of which there is a picture."""
    rows: Rows = results["cases" if name in RULES else "sweep"]
    return rows


def draw(name: str, results: dict[str, Any], path: Path) -> Path:
    """Draw it."""
    how = of_rules.draw if name in RULES else picture.draw
    return how(drawn(name, results), path, results["machine"])
