"""Settings: a group of parameters, as a dict of torch's, as options, flags and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import OptionError
from ..flags import Flags, option_flags
from ..options import Options, own_values
from .words import OURS, Words


class Settings(NamedTuple):
    """What a group says, but for its learning rate, which may be another one in every step.

    said: the values from which it was made.
    """

    said: tuple[Any, ...]
    options: Options
    flags: Flags

    def numbers(self, rate: float, update: int) -> dict[str, float]:
        """The hyperparameters of an update (counted from 1), by the names that the equations use."""
        return self.options.numbers(rate, update)


def settings_of(words: Words, group: Mapping[str, Any], scale: float | None, old: Settings | None) -> Settings:
    """The settings of a group whose gradients are `scale` times too large; the old ones, if it says the same.

    Raises OptionError, naming the argument, for a value that has no meaning.
    """
    said = (scale, *[group[name] for name in words.defaults if name != "lr"])
    try:
        if old is not None and said == old.said:
            return old
    except (ValueError, RuntimeError):
        pass  # an array in the place of a number, which is not one truth and is refused below
    for name, only in words.fixed.items():
        if bool(group.get(name, only)) != only:
            raise OptionError(
                f"`{name}` of {words.title} can only be {only} here. Received: {name}={group[name]!r}. "
                f"Leave it out, or use torch.optim.{words.title}."
            )
    values: dict[str, Any] = {"loss_scale_factor": scale, "name": words.rule.name}
    for name, ours in words.names.items():
        values |= {ours: group[name]} if isinstance(ours, str) else _several(words, name, ours, group[name])
    values |= {ours: group[name] for name, ours in OURS.items() if group[name] is not None}
    values |= {"use_ema": group["ema"] is not None, "ema_overwrite_frequency": None, "learning_rate": 0.0}
    own = {name: values.pop(name) for name in (*words.rule.hypers, *words.rule.flags) if name in values}
    options = Options(values, *own_values(words.rule, own))
    return Settings(said, options, option_flags(words.rule, options))


def _several(words: Words, name: str, ours: Sequence[str], given: Any) -> dict[str, Any]:
    """What torch has in one argument, by our names. Raises OptionError for another count."""
    found = tuple(given) if isinstance(given, Iterable) else ()
    if len(found) != len(ours):
        raise OptionError(
            f"`{name}` of {words.title} are {len(ours)} numbers. Received: {name}={given!r}. Pass a tuple of them."
        )
    return dict(zip(ours, found, strict=True))


def rate_of(words: Words, group: Mapping[str, Any]) -> float:
    """The learning rate that a group says now: a number, or a tensor of one. Raises OptionError for anything else."""
    rate = group["lr"]
    try:
        value = float(rate)
    except (TypeError, ValueError, RuntimeError):
        value = -1.0
    if not 0.0 <= value < float("inf"):
        raise OptionError(f"`lr` of {words.title} must be a number >= 0. Received: lr={rate!r}.")
    return value
