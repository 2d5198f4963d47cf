"""Learning-rate schedules: from the number of calls made so far to a learning rate.

The six schedules of `keras.optimizers.schedules`, with its arguments and formulas.

Differs: evaluated in float64 and rounded once, when the kernel runs; integer arguments are exact; the restarts of
`CosineDecayRestarts` are found by counting, not through a rounded logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import OptionError


class LearningRateSchedule:
    """The base class: a callable from the step (calls made before this one, from 0) to a rate.

    A subclass defines `__call__(step) -> float` and `get_config() -> dict` of its constructor's arguments.
    """

    name: str | None = None

    def __call__(self, step: int) -> float:
        """The learning rate of a step."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(step).")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, for `from_config`."""
        raise NotImplementedError(f"{type(self).__name__} must define get_config().")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearningRateSchedule:
        """A schedule from what `get_config` returned."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash((type(self), repr(self.get_config())))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


def _positive(name: str, value: float) -> float:
    """A number of steps. Raises OptionError unless it is greater than zero."""
    if not value > 0:
        raise OptionError(f"Argument `{name}` must be > 0. Received: {name}={value!r}.")
    return value


def _floor(number: float) -> float:
    """The next whole number below, in the type of `number`; infinity as itself."""
    return type(number)(math.floor(number)) if math.isfinite(number) else number


class _Stored(LearningRateSchedule):
    """A schedule whose arguments are kept as attributes of the same names.

    A subclass defines `rate(step)`, and computes what can leave the range in the type of `step`: Python's floats are
    quick, and where they raise or turn complex, NumPy's give inf and nan by IEEE's rules, as Keras's tensors do.
    """

    arguments: tuple[str, ...] = ()

    def __call__(self, step: int) -> float:
        """The learning rate of a step."""
        try:
            return float(self.rate(float(step)))
        except (ArithmeticError, TypeError):
            with np.errstate(all="ignore"):
                return float(self.rate(np.float64(step)))

    def rate(self, step: float) -> float:
        """The schedule's formula."""
        raise NotImplementedError(f"{type(self).__name__} must define rate(step).")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {argument: getattr(self, argument) for argument in self.arguments}


class _Decay(_Stored):
    """A decay by `decay_rate` for every `decay_steps` steps, in stairs or smooth."""

    arguments = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase", "name")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = None,
    ) -> None:
        self.initial_learning_rate, self.decay_rate = initial_learning_rate, decay_rate
        self.decay_steps = _positive("decay_steps", decay_steps)
        self.staircase, self.name = staircase, name or type(self).__name__

    def _passed(self, step: float) -> float:
        """How many times `decay_steps` have passed."""
        passed = step / self.decay_steps
        return _floor(passed) if self.staircase else passed


class ExponentialDecay(_Decay):
    """`initial_learning_rate * decay_rate ** (step / decay_steps)`; the exponent is floored if `staircase`.

    Raises OptionError unless decay_steps > 0. Source: Keras 3.
    """

    def rate(self, step: float) -> float:
        """The formula above."""
        return float(self.initial_learning_rate * self.decay_rate ** self._passed(step))


class PiecewiseConstantDecay(_Stored):
    """`values[i]` while `boundaries[i - 1] < step <= boundaries[i]`.

    Raises OptionError unless there is one more value than boundaries, and at least one boundary. Source: Keras 3.
    """

    arguments = ("boundaries", "values", "name")

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant") -> None:
        if len(boundaries) == 0 or len(boundaries) != len(values) - 1:
            raise OptionError(
                "The length of boundaries should be 1 less than the length of values, and at least 1. "
                f"Received: boundaries={boundaries!r} of length {len(boundaries)}, "
                f"values={values!r} of length {len(values)}."
            )
        self.boundaries, self.values, self.name = list(boundaries), list(values), name

    def rate(self, step: float) -> float:
        """The value of the stretch that the step is in."""
        return self.values[sum(bool(step > boundary) for boundary in self.boundaries)]


class PolynomialDecay(_Stored):
    """From the initial to the end rate over `decay_steps`, as `(1 - step / decay_steps) ** power`.

    With `cycle`, decay_steps grows to the next multiple that is not below the step. Raises OptionError unless
    decay_steps > 0. Source: Keras 3.
    """

    arguments = ("initial_learning_rate", "decay_steps", "end_learning_rate", "power", "cycle", "name")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self.initial_learning_rate, self.end_learning_rate = initial_learning_rate, end_learning_rate
        self.decay_steps = _positive("decay_steps", decay_steps)
        self.power, self.cycle, self.name = power, cycle, name

    def rate(self, step: float) -> float:
        """The formula above, between the two rates."""
        periods = max(1.0, -_floor(-step / self.decay_steps)) if self.cycle else 1.0
        length = self.decay_steps * type(step)(periods)
        left = 1 - min(step, length) / length
        shape = float(left**self.power)
        return (self.initial_learning_rate - self.end_learning_rate) * shape + self.end_learning_rate


class InverseTimeDecay(_Decay):
    """`initial_learning_rate / (1 + decay_rate * step / decay_steps)`; the quotient is floored if `staircase`.

    Raises OptionError unless decay_steps > 0. Source: Keras 3.
    """

    def rate(self, step: float) -> float:
        """The formula above."""
        return self.initial_learning_rate / (1 + self.decay_rate * self._passed(step))


class CosineDecay(_Stored):
    """Half a cosine from the initial rate to `alpha` times it, after an optional linear warm-up to `warmup_target`.

    With a target the cosine starts from the target, at step `warmup_steps`. Raises OptionError unless decay_steps > 0.
    Source: Loshchilov & Hutter 2017, as in Keras 3.
    """

    arguments = ("initial_learning_rate", "decay_steps", "alpha", "name", "warmup_target", "warmup_steps")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate, self.alpha, self.name = initial_learning_rate, alpha, name
        self.decay_steps = _positive("decay_steps", decay_steps)
        self.warmup_target, self.warmup_steps = warmup_target, warmup_steps

    def rate(self, step: float) -> float:
        """The warm-up's line, then the cosine."""
        if self.warmup_target is None:
            return self._cosine(step, self.initial_learning_rate)
        if step < self.warmup_steps:
            rise = self.warmup_target - self.initial_learning_rate
            return rise * step / self.warmup_steps + self.initial_learning_rate
        return self._cosine(step - self.warmup_steps, self.warmup_target)

    def _cosine(self, step: float, top: float) -> float:
        wave = 0.5 * (1 + math.cos(math.pi * min(step, self.decay_steps) / self.decay_steps))
        return top * ((1 - self.alpha) * wave + self.alpha)


class CosineDecayRestarts(_Stored):
    """Cosine decay with warm restarts: each period is `t_mul` times as long and starts at `m_mul` times the rate.

    Raises OptionError unless first_decay_steps > 0 and t_mul > 0. Source: Loshchilov & Hutter 2017, as in Keras 3.
    """

    arguments = ("initial_learning_rate", "first_decay_steps", "t_mul", "m_mul", "alpha", "name")

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        self.initial_learning_rate, self.m_mul, self.alpha, self.name = initial_learning_rate, m_mul, alpha, name
        self.first_decay_steps = _positive("first_decay_steps", first_decay_steps)
        self.t_mul = _positive("t_mul", t_mul)

    def rate(self, step: float) -> float:
        """The cosine of the period that the step is in."""
        period, since = self._period(step)
        top = 0.5 * self.m_mul ** type(step)(period)
        wave = top * (1 + math.cos(math.pi * since))
        return float(self.initial_learning_rate * ((1 - self.alpha) * wave + self.alpha))

    def _period(self, step: float) -> tuple[float, float]:
        """Which period a step is in, and how much of it has passed, in [0, 1)."""
        if self.t_mul == 1:
            whole = _floor(step / self.first_decay_steps)
            return whole, step / self.first_decay_steps - whole
        period, begin, length = 0, 0.0, float(self.first_decay_steps)
        while step >= begin + length and length > 0:
            begin, length, period = begin + length, length * self.t_mul, period + 1
            if self.t_mul < 1 and length < 1e-9:  # shrinking periods have a finite sum; past it nothing is left
                return period, 0.0
        return period, (step - begin) / length


SCHEDULES = {
    schedule.__name__: schedule
    for schedule in (
        ExponentialDecay,
        PiecewiseConstantDecay,
        PolynomialDecay,
        InverseTimeDecay,
        CosineDecay,
        CosineDecayRestarts,
    )
}
"""The schedules by class name, for `from_config`."""


def serialize(schedule: LearningRateSchedule) -> dict[str, Any]:
    """A schedule as Keras serialises it; where it has the class, it makes one of it."""
    return {
        "module": "keras.optimizers.schedules",
        "class_name": type(schedule).__name__,
        "config": schedule.get_config(),
        "registered_name": None,
    }


def deserialize(config: dict[str, Any]) -> LearningRateSchedule:
    """A schedule from `serialize`'s dict, of which class name and config are read. Raises OptionError for others."""
    name = config.get("class_name")
    if name not in SCHEDULES:
        raise OptionError(f"a schedule's class_name is one of {', '.join(SCHEDULES)}. Received: class_name={name!r}.")
    try:
        return SCHEDULES[name].from_config(dict(config["config"]))
    except (KeyError, TypeError, ValueError) as problem:
        raise OptionError(
            f"the config of {name} does not fit its arguments ({problem}). Received: {config!r}."
        ) from None
