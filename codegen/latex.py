r"""A rule's equations as LaTeX: an `align*` block with a line for each, as `listing.py` lays them out.

Old values have the index t-1, new ones t. What letters stand for is a comment above the block. It takes `amsmath`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from .expr import Call, Const, Expr, Reduction, Select, Symbol
from .kinds import Kind
from .letters import Letters
from .listing import NOTHING, WIDTH, Line, laid_out, new_of
from .ops import Fn, ReduceOp, numeral
from .outsides import Outside, name_of
from .walk import walk

CASES, OR, AND, COMPARED, SUM, PRODUCT, TIGHT, ATOM = range(8)
"""How tightly a text holds together: as an operand it gets brackets where less than is asked for."""


class Text(NamedTuple):
    """An expression as LaTeX, and how tightly it holds together."""

    latex: str
    holds: int

    def within(self, least: int) -> str:
        """The text as an operand that has to hold together at least so tightly."""
        return self.latex if self.holds >= least else bracketed(self.latex)


class Form(NamedTuple):
    """How an operation is written: a template, how tightly it holds together, and how tightly each operand has to."""

    template: str
    holds: int
    operands: tuple[int, ...]


FORMS = {
    Fn.ADD: Form("{0} + {1}", SUM, (SUM, PRODUCT)),
    Fn.SUB: Form("{0} - {1}", SUM, (SUM, PRODUCT)),
    Fn.DIV: Form(r"\frac{{{0}}}{{{1}}}", TIGHT, (CASES, CASES)),
    Fn.POW: Form("{0}^{{{1}}}", TIGHT, (ATOM, CASES)),
    Fn.MOD: Form(r"{0} \;\mathrm{{mod}}\; {1}", PRODUCT, (PRODUCT, TIGHT)),
    Fn.NEG: Form("-{0}", SUM, (PRODUCT,)),
    Fn.SQRT: Form(r"\sqrt{{{0}}}", TIGHT, (CASES,)),
    Fn.SQUARE: Form("{0}^{{2}}", TIGHT, (ATOM,)),
    Fn.ABS: Form(r"\left|{0}\right|", ATOM, (OR,)),
    Fn.EXP: Form("e^{{{0}}}", TIGHT, (CASES,)),
    Fn.LOG: Form(r"\ln\left({0}\right)", TIGHT, (CASES,)),
    Fn.TANH: Form(r"\tanh\left({0}\right)", TIGHT, (CASES,)),
    Fn.MINIMUM: Form(r"\min\left({0},\, {1}\right)", TIGHT, (CASES, CASES)),
    Fn.MAXIMUM: Form(r"\max\left({0},\, {1}\right)", TIGHT, (CASES, CASES)),
    Fn.LT: Form("{0} < {1}", COMPARED, (SUM, SUM)),
    Fn.LE: Form(r"{0} \leq {1}", COMPARED, (SUM, SUM)),
    Fn.GT: Form("{0} > {1}", COMPARED, (SUM, SUM)),
    Fn.GE: Form(r"{0} \geq {1}", COMPARED, (SUM, SUM)),
    Fn.EQ: Form("{0} = {1}", COMPARED, (SUM, SUM)),
    Fn.NE: Form(r"{0} \neq {1}", COMPARED, (SUM, SUM)),
    Fn.AND: Form(r"{0} \wedge {1}", AND, (AND, AND)),
    Fn.OR: Form(r"{0} \vee {1}", OR, (OR, OR)),
    Fn.NOT: Form(r"\neg {0}", TIGHT, (TIGHT,)),
}
"""How operations are written; a product has its own function, and all others are called by name."""

REDUCED = {
    ReduceOp.SUM: Form(r"\sum_{{{1}}} {0}", SUM, (PRODUCT,)),
    ReduceOp.SUM_OF_SQUARES: Form(r"\sum_{{{1}}} {0}^{{2}}", SUM, (ATOM,)),
    ReduceOp.MAX_ABS: Form(r"\max_{{{1}}} \left|{0}\right|", TIGHT, (OR,)),
    ReduceOp.MAX: Form(r"\max_{{{1}}} \left({0}\right)", TIGHT, (CASES,)),
    ReduceOp.MIN: Form(r"\min_{{{1}}} \left({0}\right)", TIGHT, (CASES,)),
}
"""How reductions are written, over the space that is operand 1; all others are called by name."""


def typeset(stores: Mapping[Symbol, Expr], names: Mapping[Expr, str] = NOTHING) -> list[str]:
    """The stores as lines of LaTeX; `names` as in `listed`."""
    lines = list(laid_out(stores, names))
    if not lines:
        return ["% nothing changes"]  # LaTeX refuses an empty block
    leaves = dict.fromkeys(leaf for line in lines for leaf in _leaves(line))
    letters = Letters(leaf for leaf in leaves if leaf not in {new_of(target) for target in stores})
    news = {new_of(target): letters.of(target, "t") for target in stores}
    rows = [_row(line, letters, news) for line in lines]
    return [*_legend(letters), r"\begin{align*}", *[rf"{row} \\" for row in rows[:-1]], *rows[-1:], r"\end{align*}"]


def _leaves(line: Line) -> Iterator[Symbol]:
    """The symbols of a line that need a letter; new values have that of their target."""
    leaves = (leaf for leaf in walk(line.target, line.value) if isinstance(leaf, Symbol))
    yield from (leaf for leaf in leaves if leaf.kind is not Kind.RANDOM)


def _row(line: Line, letters: Letters, news: Mapping[Symbol, str]) -> str:
    target = news[new_of(line.target)] if line.is_stored else letters.of(line.target)
    return f"{target} &= {_written(line.value, letters, news)}"


def _written(value: Expr, letters: Letters, news: Mapping[Symbol, str]) -> str:
    """An expression, operands before their users: nothing recurs."""
    texts: dict[Expr, Text] = {}
    for node in walk(value):
        if isinstance(node, Symbol) and node.kind is Kind.RANDOM:
            texts[node] = Text(node.name, ATOM)
        elif isinstance(node, Symbol):
            texts[node] = Text(news[node] if node in news else letters.of(node), ATOM)
        else:
            texts[node] = _text(node, [texts[child] for child in node.children])
    return texts[value].latex


def _text(node: Expr, operands: list[Text]) -> Text:
    match node:
        case Const(value):
            return _number(value)
        case Call(Fn.MUL):
            return _product(*operands)
        case Call(fn) if fn in FORMS:
            return _filled(FORMS[fn], operands)
        case Reduction(op, _, over):
            space = rf"\mathrm{{{over.value}}}"
            if op in REDUCED:
                return _filled(REDUCED[op], operands, space)
            return Text(f"{_called(op.symbol)}_{{{space}}}{bracketed(operands[0].latex)}", TIGHT)
        case Select():
            return _cases(*operands)
        case Call(fn):
            return _function(fn.symbol, operands)
        case Outside(function):
            return _function(name_of(function), operands)
    raise AssertionError(node)


def _filled(form: Form, operands: Iterable[Text], *further: str) -> Text:
    within = [text.within(least) for text, least in zip(operands, form.operands, strict=True)]
    return Text(form.template.format(*within, *further), form.holds)


def _product(left: Text, right: Text) -> Text:
    """Side by side, with a dot where digits would meet or a sign would look like a difference."""
    a, b = left.within(PRODUCT), right.within(PRODUCT)
    return Text(rf"{a} \cdot {b}" if b[0].isdigit() else rf"{a} \, {b}", PRODUCT)


def _cases(condition: Text, a: Text, b: Text) -> Text:
    """A choice; what is a choice itself elsewhere adds its rows."""
    begin, end = r"\begin{cases} ", r" \end{cases}"
    is_choice = b.holds == CASES
    last = b.latex.removeprefix(begin).removesuffix(end) if is_choice else rf"{b.latex} & \text{{otherwise}}"
    return Text(rf"{begin}{a.latex} & \text{{if }} {condition.latex} \\ {last}{end}", CASES)


def _number(value: float | bool) -> Text:
    text = numeral(value)
    if isinstance(value, bool):
        return Text(rf"\text{{{text.lower()}}}", ATOM)
    mantissa, _, exponent = text.removeprefix("-").partition("e")
    power = f"10^{{{int(exponent)}}}" if exponent else ""
    shown = {"inf": r"\infty", "nan": r"\mathrm{nan}"}.get(mantissa, mantissa)
    shown = rf"{shown} \cdot {power}" if power and shown != "1" else power or shown
    minus = text.startswith("-")
    return Text("-" * minus + shown, SUM if minus else ATOM if not power else TIGHT if shown == power else PRODUCT)


def bracketed(text: str) -> str:
    """In brackets as large as the text."""
    return rf"\left({text}\right)"


def _function(name: str, operands: Iterable[Text]) -> Text:
    """A function that is called by its name."""
    return Text(_called(name) + bracketed(r",\, ".join(text.latex for text in operands)), TIGHT)


def _called(name: str) -> str:
    return r"\operatorname{" + name.replace("_", r"\_") + "}"


def _legend(letters: Letters) -> list[str]:
    """What the letters stand for."""
    pairs = ", ".join(f"{shown}={leaf}" for leaf, shown in letters.meant.items())
    text = textwrap.wrap(pairs, WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return [f"% {line}" for line in text]
