"""Letters: what LaTeX calls the leaves of equations, no two alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .expr import Symbol
from .kinds import SIZES, SLOTS, Kind, Space

GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi "
    "omega".split()
)

USUAL = {
    (Kind.PARAMETER, "parameter"): r"\theta",
    (Kind.GRADIENT, "gradient"): "g",
    (Kind.STEP, "step"): "t",
    (Kind.STEP, "learning_rate"): r"\eta",
    (Kind.STEP, "weight_decay"): r"\lambda",
    (Kind.STEP, SIZES[Space.ALL]): "N",
    (Kind.TENSOR, SIZES[Space.TENSOR]): "n",
    (Kind.SLOT, "velocity"): "v",
    (Kind.SLOT, "momentum"): "m",
}
"""Letters of the literature; other leaves go by their names."""

INDICES = {Kind.GRADIENT: "t", Kind.INPUT: "t", **dict.fromkeys((Kind.PARAMETER, *SLOTS.values()), "t-1")}
"""The step that a leaf is of: slots and the parameter are old."""


class Letter(NamedTuple):
    """A letter or word, and its own index."""

    body: str
    below: str = ""

    def at(self, step: str) -> str:
        """With the index of a step."""
        indices = ",".join(filter(None, (self.below, step)))
        return f"{self.body}_{{{indices}}}" if indices else self.body


def is_name(leaf: Symbol) -> bool:
    """Whether a symbol stands for an expression that has a line of its own, or for a new value."""
    return leaf.kind is Kind.GRADIENT and (leaf.kind, leaf.name) not in USUAL


class Letters:
    """The letters of some leaves: first those of the literature, then names, marked where they are taken."""

    def __init__(self, leaves: Iterable[Symbol]) -> None:
        every = dict.fromkeys(leaves)
        self._letters: dict[Symbol, Letter] = {}
        usual = {leaf: Letter(USUAL[leaf.kind, leaf.name]) for leaf in every if (leaf.kind, leaf.name) in USUAL}
        self._letters.update(usual)
        taken = {Letter("t"), *usual.values()}
        for leaf in sorted(every, key=is_name):
            if leaf not in usual:
                self._letters[leaf] = next(letter for letter in _letters(leaf) if letter not in taken)
                taken.add(self._letters[leaf])

    def of(self, leaf: Symbol, step: str | None = None) -> str:
        """The leaf with its index, or with that of another step."""
        return self._letters[leaf].at(("" if is_name(leaf) else INDICES.get(leaf.kind, "")) if step is None else step)

    @property
    def meant(self) -> dict[Symbol, str]:
        """What stands for what equations have a name for, in order."""
        return {leaf: letter.at("") for leaf, letter in self._letters.items() if not is_name(leaf)}


def _letters(leaf: Symbol) -> Iterator[Letter]:
    """What a leaf may be called, best first."""
    base, index = re.fullmatch(r"(.+?)_?(\d*)", leaf.name).groups()  # type: ignore[union-attr]
    head, _, rest = base.partition("_")
    if rest and rest != "hat" and not index and (head in GREEK or len(head) == 1):
        base, index = head, _word(rest)  # eta_plus is an eta
    body = _body(base)
    yield Letter(body, index)
    yield Letter(rf"\tilde{{{body}}}", index)
    yield Letter(_word(str(leaf)))


def _body(name: str) -> str:
    """A word as LaTeX: a Greek letter by its name, one letter in italics, a hat where the name says so."""
    inner = name.removesuffix("_hat")
    if inner != name and inner:
        return rf"\hat{{{_body(inner)}}}"
    if name in GREEK:
        return r"\varepsilon" if name == "epsilon" else rf"\{name}"
    return name if len(name) == 1 else _word(name)


def _word(name: str) -> str:
    return r"\mathrm{" + name.replace("_", r"\_") + "}"
