"""text_of(): what stands for a node whose text is put together from that of others, however many those are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

LONGEST, DEEPEST = 1000, 100
"""How many nodes, and how many levels of them, the text of an expression shows: a DAG can be far smaller than that."""


def text_of(root: Any, pieces: Callable[[Any], Sequence[Any]]) -> str:
    """The text of a node. `pieces`: what that of one is put together from, text and other nodes."""
    text, left = [], LONGEST
    stack: list[tuple[Any, int]] = [(root, 0)]
    while stack:
        piece, depth = stack.pop()
        if isinstance(piece, str):
            text.append(piece)
            continue
        left -= 1
        if left < 0 or depth > DEEPEST:
            text.append("...")
        else:
            stack.extend((one, depth + 1) for one in reversed(pieces(piece)))
    return "".join(text)
