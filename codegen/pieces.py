"""Pieces: what kernels and programs are made of, a line of their text each, and what things are called in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from .axes import Over
from .expr import Expr, Reduction, Symbol
from .kinds import Kind, Space
from .ops import Fn, ReduceOp, numeral
from .outsides import Function, name_of

Arg = str | float | bool
"""A name, a number, or a truth."""

SHORT = {"parameter": "p", "gradient": "g"}

ERROR, COPY = "p.error", "p.copy"
"""The arrays that may lie beside a parameter (see `beside.py`)."""


def array_of(leaf: Symbol) -> str:
    """The name of the array that a symbol stands for: no slot has a dot in its name, every input has."""
    return f"x.{leaf.name}" if leaf.kind is Kind.INPUT else leaf.name


def scratch_of(number: int) -> str:
    """The name of an array through which values go to a function and come back."""
    return f"o.{number}"


def scale_of(array: str) -> str:
    """The name of the array that has the scales of an array's blocks."""
    return f"scale.{array}"


def made(name: str) -> str:
    """The array that a program makes for itself, of what is called so."""
    return f"_{name}"


def old(array: str) -> str:
    """The name of what a kernel loads from an array."""
    return SHORT.get(array) or (array if "." in array or array.startswith("_") else f"s.{array}")


def new(array: str) -> str:
    """The name of what a kernel stores to an array, if it computes it."""
    return f"{old(array)}'"


def key_of(name: str) -> str:
    """What the caller calls a number that a program calls `h.x` (then it is "x") or `s.x` (then it is the same)."""
    return name.removeprefix("h.")


class Array(NamedTuple):
    """An array that every tensor has: "parameter", "gradient", an input "x.<name>", a slot, or scratch "o.<number>".

    Or what a program makes for itself, "_<name>".

    storage: a row of dtypes.py.
    """

    name: str
    storage: str
    space: Over = Space.ELEMENT

    @property
    def is_brought(self) -> bool:
        """Whether every call brings it, as it does gradients and further inputs."""
        return self.name == "gradient" or self.name.startswith("x.")

    @property
    def is_scratch(self) -> bool:
        """Whether it is lent for a call, and nobody's state."""
        return self.name.startswith("o.")

    @property
    def is_made(self) -> bool:
        """Whether the program makes it for itself, and nobody else has it."""
        return self.name.startswith("_")

    @property
    def is_scale(self) -> bool:
        """Whether it has the scales of another array's blocks."""
        return self.name.startswith("scale.")

    @property
    def is_count(self) -> bool:
        """Whether it has the number of elements of each block, which never changes."""
        return self.name.startswith("_size")

    @property
    def is_common(self) -> bool:
        """Whether it is one number, at one address, for all tensors."""
        return self.space is Space.ALL


class Given(NamedTuple):
    """A number that a tensor (or all tensors) share.

    It is a per-tensor hyperparameter (`hyper`), an array of one number (`array`), or a reduction's result.
    """

    name: str
    over: Over
    hyper: str = ""
    array: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({'one a tensor' if self.over is Space.TENSOR else 'one for all'})"


class Load(NamedTuple):
    """`name <- array`."""

    name: str
    array: str


class Let(NamedTuple):
    """`name = fn(args)`."""

    name: str
    fn: Fn
    args: tuple[Arg, ...]

    def __str__(self) -> str:
        args = [arg if isinstance(arg, str) else numeral(arg) for arg in self.args]
        symbol = self.fn.symbol
        return f"{self.name} = " + (f" {symbol} ".join(args) if self.fn.is_infix else f"{symbol}({', '.join(args)})")


class Draw(NamedTuple):
    """`name <- random bits`, in a word, for each element; of what a generator makes, `stream` tells them from others.

    what: what they are for.
    """

    name: str
    what: str
    stream: int


WORDS = 4
"""What a call of a generator makes."""


class Generator(NamedTuple):
    """What makes four words, called `words`, of the words called `counted` and `stream`: for `each` elements at once.

    Of four elements each has a word. Of eight, the first has the lower half of the first word, the next one the upper
    half, and so on.

    calls, turns: of each `calls` times `turns` calls the first `calls` have words of their own. Those of a call that
                  is n times `calls` later are these, and n times the `added` ones.
    """

    counted: str
    stream: str
    lets: tuple[Let, ...]
    words: tuple[Arg, ...]
    each: int
    draws: tuple[Draw, ...]
    calls: int = 1
    turns: int = 1
    added: tuple[Arg, ...] = ()

    @property
    def bits(self) -> int:
        """Of an element."""
        return WORDS * 32 // self.each


class Store(NamedTuple):
    """`array <- value`."""

    array: str
    value: Arg

    def __str__(self) -> str:
        return f"{self.array} <- {self.value if isinstance(self.value, str) else numeral(self.value)}"


class Coded(NamedTuple):
    """How a store of a kernel is done block by block: first the scale of a block, then each code.

    array, scale: where codes and scales are stored. `length`: the elements of a block.
    element:      the name of what is stored of an element, as all of this has it. `draw`: of its random bits.
    sized, size:  what makes a word of an element; the largest of a block is called `largest`.
    block, kept:  what is made of that, once a block, and of that the scale.
    lets, code:   what is made of both, and of that the code, a word.
    """

    array: str
    scale: str
    length: int
    element: str
    draw: str
    sized: tuple[Let, ...]
    size: str
    largest: str
    block: tuple[Let, ...]
    kept: Arg
    lets: tuple[Let, ...]
    code: str

    @property
    def once(self) -> list[str]:
        """What codes of a block are made with, a number each, once for all of them."""
        used = {arg for let in self.lets for arg in let.args}
        return [let.name for let in self.block if let.name in used]

    def lines(self) -> Iterator[str]:
        """The text of it."""
        yield f"  block   {self.array} in blocks of {self.length}, beside {self.scale}"
        yield from (f"    each  {let}" for let in self.sized)
        yield f"    most  {self.largest} = the largest {self.size}"
        yield from (f"    once  {let}" for let in self.block)
        yield f"    store {self.scale} <- {self.kept}"
        yield from (f"    each  {let}" for let in self.lets)
        yield f"    store {self.array} <- {self.code}"


@dataclass(frozen=True)
class Detour:
    """`array <- function(array, *numbers)`, by Python, when the kernel has stored all elements of a scratch array."""

    array: str
    function: Function
    numbers: tuple[Arg, ...]

    def __str__(self) -> str:
        given = [arg if isinstance(arg, str) else numeral(arg) for arg in (self.array, *self.numbers)]
        return f"{self.array} <- {name_of(self.function)}({', '.join(given)})"


@dataclass(frozen=True)
class Gather:
    """`array <- value`, of a slot over all.

    what: the value in terms of reductions as the rule wrote them: what programs of one rule gather is the same where
          that is, whatever they call it.
    """

    array: str
    value: Arg
    what: Expr = field(compare=False, repr=False)

    def __str__(self) -> str:
        return str(Store(self.array, self.value))


@dataclass(frozen=True)
class Reduce:
    """`name = op(value) over space`.

    what: the reduction as the rule wrote it, which is the same in all programs of the rule. Results over all tensors of
          several programs are joined by it, never by name.
    """

    name: str
    op: ReduceOp
    value: Arg
    over: Over
    what: Reduction = field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.name} = {self.op.symbol}({self.value}) over {self.over.value}"
