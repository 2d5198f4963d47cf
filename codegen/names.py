"""Names: what a rule may call its parts, and how its equations reach them."""

from __future__ import annotations

import keyword
from collections.abc import Collection, Mapping
from typing import NoReturn

from .errors import RuleError
from .expr import Expr

BUILT_IN_STEPS = ("learning_rate", "step")
"""STEP values that every rule may read as `h.<name>`: the rate, and the number of this update, counted from 1."""


BUILT_IN_FLAGS = ("first",)
"""Flags that every rule may ask for: `on.first` holds in the first update of a variable."""


def check(
    rule: str,
    slots: Collection[str],
    hypers: Collection[str],
    flags: Mapping[str, str | None],
    inputs: Collection[str] = (),
) -> None:
    """Raise RuleError unless the names of a rule and of its parts can be used.

    flags: for each flag, the hyperparameter that it follows, or None.
    """
    if not (isinstance(rule, str) and rule and rule.isprintable()):
        raise RuleError(f"a rule's name is a line of printable text, for messages and code. Received: name={rule!r}.")
    for name in (*slots, *hypers, *flags, *inputs):
        _check_one(rule, name)
    for taken in ("parameter", "gradient"):
        if taken in slots:
            raise RuleError(f"rule {rule!r}: a slot cannot be named {taken!r}. Choose another name.")
    for built_in in BUILT_IN_STEPS:
        if built_in in hypers:
            raise RuleError(
                f"rule {rule!r}: h.{built_in} is always there and cannot be declared. "
                f"Received: a hyperparameter {built_in!r}; leave it out, or choose another name."
            )
    for built_in in BUILT_IN_FLAGS:
        if built_in in flags:
            raise RuleError(
                f"rule {rule!r}: on.{built_in} is always there and cannot be declared. "
                f"Received: a flag {built_in!r}; leave it out, or choose another name."
            )
    for name, follows in flags.items():
        if follows is not None and follows not in hypers:
            raise RuleError(
                f"rule {rule!r}: flag {name!r} follows an unknown hyperparameter. "
                f"Received: follows={follows!r}; declared: {', '.join(hypers) or 'none'}."
            )
        if name in hypers and follows != name:
            raise RuleError(
                f"rule {rule!r}: a hyperparameter and a flag are both named {name!r}, but an option has one meaning. "
                f"Received: follows={follows!r}. Rename one, or let the flag follow: Flag(follows={name!r})."
            )


def _check_one(rule: str, name: str) -> None:
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise RuleError(f"rule {rule!r}: names are identifiers without a leading _. Received: {name!r}.")
    if name.isascii():
        return
    import unicodedata  # a library to load, and few need it

    normal = unicodedata.normalize("NFKC", name)
    if name != normal:
        raise RuleError(
            f"rule {rule!r}: the name {name!r} is read as {normal!r} by Python where equations use it. "
            f"Received: {name.encode('unicode_escape').decode()!r}. Write {normal!r}."
        )


SHORT = {"slot": "s", "hyperparameter": "h", "flag": "on", "input": "x"}
"""What equations call the names of each kind."""


class Names:
    """One of the namespaces `s`, `h`, `on` of the equations: attributes are symbols, unknown ones a RuleError.

    An assignment is refused: nothing would store it, and every later read would see the new value.
    """

    _what: str
    _rule: str
    _symbols: Mapping[str, Expr]

    def __init__(self, what: str, rule: str, symbols: Mapping[str, Expr]) -> None:
        self.__dict__.update(symbols, _what=what, _rule=rule, _symbols=symbols)

    def __getattr__(self, name: str) -> Expr:
        known = ", ".join(self._symbols) or "none"  # what is declared is found without this
        raise RuleError(
            f"rule {self._rule!r} has no {self._what} {name!r}. Declared: {known}. "
            f"Received: {name!r}; declare it where the rule is defined."
        )

    def __setattr__(self, name: object, value: object) -> NoReturn:
        self._refuse("assignment to", name)

    def __delattr__(self, name: object) -> NoReturn:
        self._refuse("deletion of", name)

    __setitem__, __delitem__ = __setattr__, __delattr__

    def __repr__(self) -> str:
        return f"{SHORT[self._what]}, all of {', '.join(self._symbols) or 'none'}"

    def __getitem__(self, name: object) -> NoReturn:
        self._refuse_items(f"{SHORT[self._what]}[{name!r}]", name)

    def __len__(self) -> NoReturn:
        self._refuse_items(f"len({SHORT[self._what]})")

    def _refuse_items(self, written: str, name: object = None) -> NoReturn:
        declared = ", ".join(self._symbols) or "none"
        wanted = name if isinstance(name, str) else next(iter(self._symbols), "name")
        raise RuleError(
            f"rule {self._rule!r}: a {self._what} is an attribute, and they are not counted or gone through. "
            f"Declared: {declared}. Received: {written}. Write {SHORT[self._what]}.{wanted}."
        )

    def _refuse(self, act: str, name: object) -> NoReturn:
        remedy = f"Return {{s.{name}: value, p: ...}} to store a new value."
        if self._what != "slot":
            remedy = f"A rule only reads a {self._what}; give the new value a name of its own, such as `x = ...`."
        raise RuleError(
            f"rule {self._rule!r} changes the {self._what} {name!r} in its equations, which stores nothing. "
            f"Received: {act} {name!r}. {remedy}"
        )


def knowing(names: Names, more: Mapping[str, Expr]) -> Names:
    """A namespace in which some names, of it or new ones, stand for these expressions."""
    return Names(names._what, names._rule, {**names._symbols, **more})
