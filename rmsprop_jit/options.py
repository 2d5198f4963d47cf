"""Options: the constructor's arguments, checked once and again at each change.

Numbers stay numbers (an argument of the kernel); "is it set at all" becomes a flag (a kernel of its own).
"""

from __future__ import annotations

import dataclasses
import inspect
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import OptionError
from .rules.around import LEARNING_RATE, OPTION_FLAGS, STEP_HYPERS
from .schedules import SCHEDULES, LearningRateSchedule, deserialize, serialize

COMPILERS = ("numba-cuda-mlir", "numba-cuda")
"""For GPUs, first choice first."""

LearningRate = float | LearningRateSchedule | Callable[..., float]
Checker = Callable[[str, object], Any]
"""Takes a name and a value; returns the value as it is kept or raises OptionError."""


def _integer(low: int) -> Checker:
    def check(name: str, value: object) -> int:
        try:
            number = low - 1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            number = low - 1
        if number < low:
            raise OptionError(f"`{name}` must be an integer >= {low} or None. Received: {name}={value!r}.")
        return number

    return check


def _or_none(check: Checker) -> Checker:
    return lambda name, value: None if value is None else check(name, value)


def check_switch(name: str, value: object) -> bool:
    """A truth value: a bool, NumPy's included. Raises OptionError for anything else."""
    if type(value).__name__ not in ("bool", "bool_"):
        raise OptionError(f"`{name}` must be True or False. Received: {name}={value!r}.")
    return bool(value)


def _name(name: str, value: object) -> str:
    if not isinstance(value, str) or "/" in value:
        raise OptionError(
            f"Argument `name` must be a string and cannot contain character `/`. Received: {name}={value!r}."
        )
    return value


def _compiler(name: str, value: object) -> str:
    if value not in COMPILERS:
        raise OptionError(f"`{name}` must be one of {', '.join(COMPILERS)} or None. Received: {name}={value!r}.")
    return str(value)


def _learning_rate(name: str, value: object) -> LearningRate:
    if isinstance(value, dict):
        return deserialize(value)
    if isinstance(value, LearningRateSchedule) or callable(value):
        return value
    return LEARNING_RATE.checked(name, value)


def _set_or_none(name: str) -> Checker:
    return _or_none(STEP_HYPERS[name].checked)


CHECKERS: dict[str, Checker] = {
    "learning_rate": _learning_rate,
    "weight_decay": _set_or_none("weight_decay"),
    "clipnorm": _set_or_none("clipnorm"),
    "clipvalue": _set_or_none("clipvalue"),
    "global_clipnorm": _set_or_none("global_clipnorm"),
    "use_ema": check_switch,
    "ema_momentum": STEP_HYPERS["ema_momentum"].checked,
    "ema_overwrite_frequency": _or_none(_integer(1)),
    "loss_scale_factor": _set_or_none("loss_scale_factor"),
    "gradient_accumulation_steps": _or_none(_integer(2)),
    "name": _name,
    "threads": _or_none(_integer(1)),
    "compiler": _or_none(_compiler),
}


@dataclass(frozen=True, eq=False)
class Options:
    """What every optimizer has, whatever its rule; `hypers` and `switches` are the rule's own.

    Raises OptionError, naming the option, for a value without meaning and for more than one kind of clipping.
    """

    learning_rate: LearningRate = 0.001
    weight_decay: float | None = None
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    use_ema: bool = False
    ema_momentum: float = 0.99
    ema_overwrite_frequency: int | None = 100
    loss_scale_factor: float | None = None
    gradient_accumulation_steps: int | None = None
    name: str = "optimizer"
    threads: int | None = None
    compiler: str | None = None
    hypers: Mapping[str, float] = field(default_factory=dict)
    switches: Mapping[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, check in CHECKERS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        clips = {name: getattr(self, name) for name in ("clipnorm", "clipvalue", "global_clipnorm")}
        if sum(value is not None for value in clips.values()) > 1:
            received = ", ".join(f"{name}={value}" for name, value in clips.items())
            raise OptionError(
                f"Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set. Received: {received}."
            )

    @staticmethod
    def common_names() -> tuple[str, ...]:
        """The options that every rule has."""
        return tuple(CHECKERS)

    def replaced(self, name: str, value: object) -> Options:
        """A copy with one option changed; checks everything again."""
        for group in ("hypers", "switches"):
            if name in getattr(self, group):
                name, value = group, {**getattr(self, group), name: value}
        changes: dict[str, Any] = {name: value}
        return dataclasses.replace(self, **changes)

    def rate(self, calls: int) -> float:
        """The learning rate after `calls` calls. Raises OptionError if its source gives no finite number."""
        source = self.learning_rate
        if isinstance(source, float):
            return source
        if isinstance(source, LearningRateSchedule) or _wants_step(source):
            value = source(calls)
        else:
            value = source()
        return LEARNING_RATE.checked("learning_rate", value)

    def numbers(self, rate: float, update: int) -> dict[str, float]:
        """The hyperparameters of an update (counted from 1), by the names that the equations use."""
        return {
            **self.hypers,
            **{name: float(getattr(self, name) or 0.0) for name in OPTION_FLAGS},
            "ema_momentum": self.ema_momentum,
            "learning_rate": rate,
            "step": float(update),
        }

    def config(self) -> dict[str, Any]:
        """The options as Keras's `get_config` orders them; a known schedule as a dict, a callable as itself."""
        rate = self.learning_rate
        first = ("weight_decay", "clipnorm", "global_clipnorm", "clipvalue", "use_ema", "ema_momentum")
        rest = ("ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps")
        return {
            "name": self.name,
            "learning_rate": serialize(rate) if type(rate) in SCHEDULES.values() else rate,  # type: ignore[arg-type]
            **{name: getattr(self, name) for name in (*first, *rest)},
            **self.hypers,
            **self.switches,
            **{name: value for name in ("threads", "compiler") if (value := getattr(self, name)) is not None},
        }


def _wants_step(function: Callable[..., float]) -> bool:
    """Whether a callable needs the step as an argument (Keras 3.2 passed it; later versions call without)."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        return True
    except ValueError:
        return False
    return False
