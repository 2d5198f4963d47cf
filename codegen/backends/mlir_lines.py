"""Lines of MLIR: a block, whose values have names, and the operations of lets; casts and constants."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping, Sequence

from ..dtypes import storage
from ..errors import LoweringError
from ..ops import Fn
from ..printer import mangled
from ..program import Arg, Let
from ..sorts import is_of_words, is_wide, wides, words

LOCAL = re.compile(r"%\w+")
WIDE = storage("float64")
WORD = "i32"


class Block:
    """Lines of one block, with fresh names for what has none; `own` is the program's type, if that is another."""

    def __init__(self, kind: str, prefix: str = "", own: str = "") -> None:
        self.kind, self._own = kind, own or kind
        self.lines: list[str] = []
        self._prefix = prefix
        self._constants: dict[str, str] = {}

    def new(self, text: str) -> str:
        """A line that defines a name of its own."""
        name = f"%{self._prefix}x{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return name

    def constant(self, value: float, kind: str) -> str:
        """A constant of a type, or a truth."""
        text = str(value).lower() if isinstance(value, bool) else f"{literal(value, kind)} : {kind}"
        if text not in self._constants:
            self._constants[text] = self.new(f"arith.constant {text}")
        return self._constants[text]

    def operand(self, arg: Arg, kind: str = "") -> str:
        """A name, or a constant of a type, by default the block's."""
        return f"%{self._prefix}{mangled(arg)}" if isinstance(arg, str) else self.constant(arg, kind or self.kind)

    def lets(self, lets: Sequence[Let], conditions: frozenset[str]) -> None:
        """The lines of some lets; the last one of each has its name."""
        wide, known = wides(lets), words(lets)
        for let in lets:
            kind = WIDE.mlir if is_wide(let, wide) else WORD if is_of_words(let, known) else self.kind
            types = {"t": kind, "v": "i1" if let.name in conditions else kind}
            text = self.meaning(let.fn, [self.operand(arg, kind) for arg in let.args], types)
            self.lines.append(f"{self.operand(let.name)} = {text}")

    def meaning(self, fn: Fn, args: Sequence[str], types: Mapping[str, str] | None = None) -> str:
        """The text of one operation, by default on the block's type; what it needs before is added to the block."""
        if not fn.row.mlir:
            raise LoweringError(
                f"{fn.name} of {', '.join(args)} has no MLIR text; it should have been left to the host."
            )
        made: dict[str, str] = {}
        *before, last = fn.row.mlir.splitlines()
        for line in before:
            name, _, text = line.partition(" = ")
            made[name] = self.new(self._filled(text, args, made, types))
        return self._filled(last, args, made, types)

    def _filled(self, text: str, args: Sequence[str], made: Mapping[str, str], types: Mapping[str, str] | None) -> str:
        named = LOCAL.sub(lambda found: made[found[0]], text)
        return named.format(*args, own=self._own, **(types or {"t": self.kind, "v": self.kind}))


def cast(value: str, kept: str, wanted: str) -> str:
    """A number of one type as one of another, wider or narrower, rounded to nearest; of bytes, whole ones."""
    if "i8" in (kept, wanted):
        return f"arith.{'sitofp' if kept == 'i8' else 'fptosi'} {value} : {kept} to {wanted}"
    return f"arith.{'extf' if kept < wanted else 'truncf'} {value} : {kept} to {wanted}"


def literal(value: float, kind: str) -> str:
    """A constant; what has no decimal form is written by its bits."""
    if kind == WORD:
        return str(int(value))
    if math.isfinite(value):
        text = repr(float(value))
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    code = {"f16": "e", "f32": "f", "f64": "d"}[kind]
    return "0x" + struct.pack(f">{code}", value).hex().upper()
