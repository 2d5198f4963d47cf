"""What a rule declares beside its equations: slots, hyperparameters, flags and inputs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np

from .axes import Axes, Over, space_of
from .errors import OptionError, RuleError
from .refusals import number

Part = TypeVar("Part")


def declared(rule: str, what: str, given: object, part: Callable[[Any], Part]) -> dict[str, Part]:
    """What a rule declares of one kind, each a part or what one is made of. Raises RuleError unless it is a dict."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise RuleError(
            f"rule {rule!r}: {what} are a dict of names. Received: {what}={given!r}. "
            f"Write {what}={{'name': {'False' if what == 'flags' else '0.0'}}}."
        )
    kind: Any = part
    return {name: value if isinstance(value, kind) else part(value) for name, value in given.items()}


@dataclass(frozen=True)
class Slot:
    """State of the same shape and dtype as its parameter, of its shape without some axes, or one float64 number.

    initial: a number, or "parameter" for a copy of the parameter when the slot is made.
    result:  the slot is wanted for itself (an average of the weights, a sum to be used by a later call); other slots
             exist only where their old value can reach the parameter or a result.
    over:    "element" for a number an element, "tensor" for one a tensor, "all" for one for all tensors, which is put
             once a step, of what is known before it or of what it reduces over all tensors. -1 for a number for each of
             what is left without the last axis; so other axes, axes (0, 1), `but(0)` for all axes but some, and
             `block(128)` for one for each block of elements. Those have the dtype of the parameter.
    exact:   it is kept in what is computed with, never in a storage of fewer bits: it is subtracted from what is nearly
             equal, and the difference would be lost. The name of a flag: only where that is on. What starts as a copy
             of the parameter is always kept so.
    nonnegative: no new value is ever below zero: storages of 8 bits need no sign then. Where one is below zero in spite
           of that, they make zero of it.
    """

    initial: float | Literal["parameter"] = 0.0
    result: bool = False
    over: Literal["element", "tensor", "all"] | int | tuple[int, ...] | Axes = "element"
    exact: bool | str = field(default=False, repr=False)
    nonnegative: bool = field(default=False, repr=False)

    def is_exact(self, flags: Collection[str]) -> bool:
        """Whether it is kept in what is computed with, where these flags are on."""
        return self.initial == "parameter" or self.exact is True or self.exact in flags

    @property
    def space(self) -> Over:
        """Where it has one number each."""
        return space_of(self.over)

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that it has for a variable of this one. Raises ArrayError for a variable of too few axes."""
        space = self.space
        return space.shape_of(shape) if isinstance(space, Axes) else shape if self.over == "element" else ()

    def __post_init__(self) -> None:
        if not isinstance(self.exact, bool | str):
            raise RuleError(
                f"a slot is exact, or where a flag is on. Received: exact={self.exact!r}. Write True or a flag's name."
            )
        if not isinstance(self.nonnegative, bool):
            raise RuleError(
                f"a slot is never below zero, or may be. Received: nonnegative={self.nonnegative!r}. "
                "Write True or False."
            )
        space_of(self.over)
        if isinstance(self.initial, str) and self.initial == "parameter" and self.over == "element":
            return
        try:
            initial = number(self.initial)
        except RuleError:
            initial = True
        if isinstance(initial, bool):
            raise RuleError(
                f'a slot starts as a number or as "parameter". Received: initial={self.initial!r}. '
                "Give the number that every element starts with."
            )
        if self.nonnegative and initial < 0:
            raise RuleError(
                f"a slot that is never below zero does not start there. Received: initial={self.initial!r}, "
                "nonnegative=True. Leave `nonnegative` out, or start it at 0."
            )
        object.__setattr__(self, "initial", initial)


@dataclass(frozen=True)
class Hyper:
    """A run-time number: it can change at every step and never recompiles.

    low, high: the range that is accepted, nan and inf never; both ends included, but for `low_open` and `high_open`.
    per:       "step" for one number, "tensor" for one number a variable (an Optimizer takes one for all, or a
               dict of patterns over their names).
    whole:     only whole numbers are accepted: it is how often something is done, say.
    """

    default: float
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    per: Literal["step", "tensor"] = "step"
    high_open: bool = False
    whole: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        if self.per not in ("step", "tensor"):
            raise RuleError(f"a hyperparameter is per 'step' or per 'tensor'. Received: per={self.per!r}.")
        try:
            object.__setattr__(self, "default", self.checked("default", self.default))
        except OptionError:
            raise RuleError(
                f"a hyperparameter starts as {self.range_text}. Received: default={self.default!r}. "
                "Give a number that it may have; arrays enter a rule as slots and inputs, choices as flags."
            ) from None

    def checked(self, name: str, value: object) -> float:
        """`value` as a float. Raises OptionError if it is not a number in range."""
        try:
            number = math.nan if isinstance(value, bool | str | np.bool_) else float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        below = number <= self.low if self.low_open else number < self.low
        above = number >= self.high if self.high_open else number > self.high
        if not math.isfinite(number) or below or above or (self.whole and not number.is_integer()):
            raise OptionError(f"`{name}` must be {self.range_text}. Received: {name}={value!r}.")
        return number

    @property
    def range_text(self) -> str:
        """The accepted range in words."""
        return self._range_text.replace("number", "whole number") if self.whole else self._range_text

    @property
    def _range_text(self) -> str:
        if math.isfinite(self.low) and math.isfinite(self.high):
            return f"a number in {'[('[self.low_open]}{self.low:g}, {self.high:g}{'])'[self.high_open]}"
        if math.isfinite(self.low):
            return f"a finite number {'>' if self.low_open else '>='} {self.low:g}"
        upper = f" {'<' if self.high_open else '<='} {self.high:g}"
        return "a finite number" + ("" if math.isinf(self.high) else upper)


@dataclass(frozen=True)
class Flag:
    """A structural choice: each setting is a kernel of its own. At most one argument is given.

    default: the flag is an option of its own, off or on by default.
    follows: the hyperparameter that switches it: on if that is greater than zero.
    when:    the step decides: a function of the step's numbers (`h.step`, `h.learning_rate`, hyperparameters, as
             floats), asked before each update. In a step where the flag is off nothing of what it guards is moved.
    of:      the shape decides: a function of a variable's shape, a tuple of ints, asked once for each shape.
    named:   the name decides: on for variables in whose path one of these regular expressions is found, anywhere, as
             Keras looks for those of `exclude_from_weight_decay`; of none it is off.

    Raises RuleError for several of them, for what is no function, and for what is no regular expression.
    """

    default: bool = False
    follows: str | None = None
    when: Callable[[Any], bool] | None = None
    of: Callable[[tuple[int, ...]], bool] | None = None
    named: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.named is not None:
            object.__setattr__(self, "named", _expressions(self.named))
        given = {name: getattr(self, name) for name in ("follows", "when", "of", "named")}
        chosen = [f"{name}={value!r}" for name, value in given.items() if value is not None]
        if len(chosen) + bool(self.default) > 1:
            raise RuleError(
                f"a flag is decided in one way. Received: {', '.join([*chosen, f'default={self.default!r}'])}. "
                "Keep one of them, and combine flags in the equations: on.a & on.b."
            )
        if type(self.default).__name__ not in ("bool", "bool_"):
            raise RuleError(
                f"a flag is off or on by default. Received: default={self.default!r}. Write False or True; "
                "a number that an option has is a hyperparameter."
            )
        for name in ("when", "of"):
            if given[name] is not None and not callable(given[name]):
                what = "the step's numbers" if name == "when" else "a shape"
                raise RuleError(
                    f"Flag({name}=...) is a function of {what}. Received: {name}={given[name]!r}. "
                    f"Write Flag({name}=lambda {'h: h.step % 10 == 0' if name == 'when' else 'shape: len(shape) > 1'})."
                )

    @property
    def is_option(self) -> bool:
        """Whether the caller decides: an option of its own."""
        return self.follows is None and self.when is None and not self.is_of_variables

    @property
    def is_of_variables(self) -> bool:
        """Whether it is decided for each variable, by its shape or its name."""
        return self.of is not None or self.named is not None


def _expressions(given: Any) -> tuple[str, ...]:
    """What a flag looks for in names. Raises RuleError for what is no sequence of regular expressions."""
    is_sequence = isinstance(given, Sequence) and not isinstance(given, str)
    try:
        found = tuple([re.compile(one).pattern for one in given]) if is_sequence else None
    except (re.error, TypeError):
        found = None
    if found is None or not all(isinstance(one, str) for one in found):
        raise RuleError(
            f"Flag(named=...) looks for regular expressions in names. Received: named={given!r}. "
            "Write Flag(named=['bias', 'norm']); a name as it is goes through re.escape."
        )
    return found


@dataclass(frozen=True)
class Input:
    """A further array of every variable that calls bring beside its gradient, of its shape: `apply(grads, name=[...])`.

    accumulate: under gradient accumulation the "mean" of what the calls of an update bring, or what the "last" brings.
    unscaled:   whether it is divided by `loss_scale_factor`, as gradients are.
    clipped:    whether it is clipped as gradients are, by a norm of its own.

    A call may leave it out where no kernel reads it. Raises RuleError for another way to accumulate.
    """

    accumulate: Literal["mean", "last"] = "mean"
    unscaled: bool = False
    clipped: bool = False

    def __post_init__(self) -> None:
        if self.accumulate not in ("mean", "last"):
            raise RuleError(
                f"an input is accumulated as the 'mean' or the 'last'. Received: accumulate={self.accumulate!r}."
            )
