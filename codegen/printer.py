"""print_lets(): arithmetic as lines of Python, one line a `let`; mangled(): the names of a program as identifiers.

The lines are what Numba compiles, on the CPU and on the GPU. Every literal is typed: an untyped one would turn a
float32 kernel into float64.

A frame's own variables never look like a mangled name, and what it derives from one is a prefix and that name, so that
no name of a rule can meet another one or the frame's: `p`, `g`, `new_p`, `s_<slot>`, `new_s_<slot>`, `h_<hyper>` and a
letter with a number are the program's, alone or behind any of PREFIXES.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from .dtypes import storage
from .errors import LoweringError
from .ops import Fn
from .program import Arg, Let
from .sorts import is_of_words, is_wide, wides
from .sorts import words as words_among

PREFIXES = r"wide_|lanes_|words_|ptr_|value_|part\d_|l\d\d_|array_|number_|zero_|start_|result_|in_"
"""A regular expression for what frames put before a mangled name."""

WORD = "uint32"
"""What words are called in Python."""

Templates = Mapping[Fn, str]
"""What operations are written as where that is not their row's Python."""

PLAIN: Templates = {}


def mangled(name: str) -> str:
    """A name of a program as an identifier of generated code; different names stay different.

    Users' names do not start with an underscore, so `s__` is free for those that are not ASCII.
    """
    is_new = name.endswith("'")
    kind, dot, own = name.rstrip("'").partition(".")
    if dot:
        kind = f"{kind}_{own}" if own.isascii() else f"{kind}__{own.encode().hex()}"
    return f"new_{kind}" if is_new else kind


def literal(value: float, dtype: str) -> str:
    """A constant of the given type, or a truth."""
    if isinstance(value, bool):
        return str(value)
    if dtype == WORD:
        return f"{dtype}({int(value)})"
    text = repr(float(value)) if math.isfinite(value) else {math.inf: "INF", -math.inf: "-INF"}.get(value, "NAN")
    return f"{dtype}({text})"


def operand(arg: Arg, dtype: str, prefix: str = "") -> str:
    """A name, or a typed constant."""
    return prefix + mangled(arg) if isinstance(arg, str) else literal(arg, dtype)


def expression(fn: Fn, args: Sequence[str], dtype: str, own: str = "", words: Templates = PLAIN) -> str:
    """One operation on the texts of its operands, which are of the given type; `own` is the program's.

    Raises LoweringError for what only the host does.
    """
    template = words.get(fn, fn.row.python)
    if not template:
        raise LoweringError(f"{fn.name} of {', '.join(args)} cannot be printed: it should have been left to the host.")
    return template.format(*args, zero=literal(0.0, dtype), one=literal(1.0, dtype), own=own)


def print_let(let: Let, dtype: str, prefix: str = "", own: str = "", words: Templates = PLAIN) -> str:
    """`name = ...`, the operation of one let on operands of a type; `prefix` goes before all names."""
    args = [operand(arg, dtype, prefix) for arg in let.args]
    return f"{prefix}{mangled(let.name)} = {expression(let.fn, args, dtype, own, words)}"


def print_lets(lets: Iterable[Let], dtype: str, prefix: str = "", own: str = "", words: Templates = PLAIN) -> list[str]:
    """One line for each let, in order, on operands of a type; `own` is the program's, where that is another one."""
    lets = tuple(lets)
    wide, known = wides(lets), words_among(lets)

    def of(let: Let) -> str:
        return "float64" if is_wide(let, wide) else WORD if is_of_words(let, known) else dtype

    return [print_let(let, of(let), prefix, own or dtype, words) for let in lets]


def cast(value: str, kept: str, wanted: str) -> str:
    """A value of one storage as one of another; loads and stores do what is left where one is no type by itself."""
    kept, wanted = storage(kept).read, storage(wanted).compute
    return value if kept == wanted else f"{wanted}({value})"


def indented(lines: Iterable[str], levels: int = 1) -> list[str]:
    """Lines moved right by `levels` of four spaces."""
    return ["    " * levels + line for line in lines]
