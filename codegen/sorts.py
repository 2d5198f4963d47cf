"""Of what sort the values of lets are: truths, numbers of the program's type, wide numbers, or words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from .ops import Fn
from .program import Let


def truths(lets: Sequence[Let], known: Iterable[str] = ()) -> frozenset[str]:
    """The names of lets (and `known`, from before them) whose value is a truth, not a number."""
    found = set(known)
    for let in lets:
        chosen = let.args[-1]
        is_truth = chosen is True or chosen is False or chosen in found if let.fn is Fn.WHERE else let.fn.is_truth
        if is_truth:
            found.add(let.name)
    return frozenset(found)


def wides(lets: Sequence[Let]) -> frozenset[str]:
    """The names of a loop's lets whose value is float64 though the program computes in less: `wide`, and what is
    computed from such numbers, until `narrow`. Constants are of the type of what they stand beside.
    """
    found: set[str] = set()
    for let in lets:
        if let.fn is Fn.WIDE or (is_wide(let, found) and let.fn is not Fn.NARROW and not let.fn.is_truth):
            found.add(let.name)
    return frozenset(found)


def is_wide(let: Let, wide: Collection[str]) -> bool:
    """Whether the operands of a let are among the wide numbers."""
    return any(arg in wide for arg in let.args if isinstance(arg, str))


def words(lets: Sequence[Let]) -> frozenset[str]:
    """The names of a loop's lets whose value is a word. Constants are words beside one."""
    found: set[str] = set()
    for let in lets:
        if let.fn.row.is_word or (let.fn is Fn.WHERE and any(arg in found for arg in let.args)):
            found.add(let.name)
    return frozenset(found)


def is_of_words(let: Let, known: Collection[str]) -> bool:
    """Whether the operands of a let are words, `known` being those of all lets; of a choice, those to choose from."""
    return let.fn.row.of_words or (let.fn is Fn.WHERE and let.name in known)
