"""Whether lets define new names of known ones, of the right kinds; and what is said of a compiler that has a fault."""

from __future__ import annotations

from collections.abc import Mapping

from .axes import Over
from .errors import LoweringError
from .expr import Expr
from .ops import Fn
from .program import Arg, Let, Program

NUMBER, WIDE, TRUTH, WORD = "a number", "a wide number", "a truth", "a word"
"""What a name can stand for; in a loop of less than float64, wide numbers are float64 and never mixed with others."""


def define(
    program: Program,
    known: dict[str, str],
    let: Let,
    in_step: bool = False,
    in_loop: bool = False,
    is_early: bool = False,
) -> None:
    """A let defines a new name from known ones of the right kinds; of an early one, all were there before the step."""
    if _is_plain(known, let):
        known[let.name] = TRUTH if let.fn.is_truth else NUMBER
        return
    row = let.fn.row
    is_narrow = in_loop and program.compute != "float64"
    kinds = [kind_of(known, arg) for arg in let.args]
    number = WIDE if WIDE in kinds or let.fn is Fn.NARROW or (row.of_bits and is_narrow) else NUMBER
    number = WORD if row.of_words or (let.fn is Fn.WHERE and WORD in kinds) else number
    found = [
        number if kind == NUMBER and not isinstance(arg, str) else kind
        for arg, kind in zip(let.args, kinds, strict=True)
    ]
    wanted = [TRUTH if row.of_truths else number] * row.operands
    if let.fn is Fn.WHERE:
        wanted = [TRUTH, *[TRUTH if found[-1] == TRUTH else number] * 2]
    if let.name in known or found != wanted or (let.fn is Fn.WIDE and number is WIDE):
        told = ", ".join(f"{arg!r} is {kind or 'undefined'}" for arg, kind in zip(let.args, kinds, strict=True))
        raise broken("number", program.name, let, f"{let.name!r} is defined twice, or an operand is wrong: {told}")
    if row.in_step and not in_step and not (is_early and let.fn is Fn.ROUNDED):
        raise broken("number", program.name, let, f"{let.fn.symbol} is left to the host, not to kernels")
    if row.expanded or (row.in_loop and not (in_loop and _is_of(let.fn, program.compute))):
        raise broken("number", program.name, let, f"{let.fn.symbol} is no operation of such a program")
    if row.in_loop:
        number = WIDE if let.fn is Fn.WIDE else WORD if row.is_word else NUMBER
    known[let.name] = TRUTH if row.is_truth else wanted[-1] if let.fn is Fn.WHERE else number


def _is_plain(known: Mapping[str, str], let: Let) -> bool:
    """Whether a let is what most are: an operation that may stand anywhere, of numbers."""
    if not let.fn.is_plain or len(let.args) != let.fn.row.operands or let.name in known:
        return False
    for arg in let.args:
        if known.get(arg) != NUMBER if isinstance(arg, str) else isinstance(arg, bool):
            return False
    return True


def _is_of(fn: Fn, compute: str) -> bool:
    """Whether an operation of loops is one of a program that computes in a type."""
    if fn in (Fn.WORD_BITS, Fn.NUMBER_OF_BITS):
        return compute == "float32"
    return compute != "float64" or not fn.row.is_widening


def kind_of(known: Mapping[str, str], arg: Arg) -> str | None:
    """What an argument stands for; None if it is not defined."""
    if isinstance(arg, str):
        return known.get(arg)
    return TRUTH if isinstance(arg, bool) else NUMBER


def space_in(program: Program, array: str) -> Over | None:
    """The space of an array; None if there is no such array."""
    return next((declared.space for declared in program.arrays if declared.name == array), None)


def broken(stage: str, where: str, node: object, what: str) -> LoweringError:
    """The error for a stage that broke its promise."""
    text = str(node) if isinstance(node, Expr | Let) else repr(node)
    return LoweringError(f"after {stage}, in {where}: {what}. Received: `{text}`. This is a fault of the compiler.")
