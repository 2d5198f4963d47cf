"""Options: the values of what is in the option table, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any

from .by_name import Setting, setting, shown
from .checkers import check_switch
from .codegen.integers import halves
from .codegen.kinds import SEED
from .codegen.memo import derived
from .errors import OptionError
from .groups import NO_GROUPS, Groups
from .option_table import ONLY_ONE, OPTIONS
from .rates import RATE, in_config, rate_of
from .schedules import LearningRateSchedule

if TYPE_CHECKING:
    from .rules.around import Rule

LearningRate = float | LearningRateSchedule | Callable[..., float]


@dataclass(frozen=True, eq=False)
class Options:
    """The values of the table's options, each an attribute; `hypers` and `switches` are the rule's own.

    A number that variables have of their own may be a dict, see `by_name`.

    Raises OptionError, naming the option, for a value without meaning and for more than one kind of clipping.
    """

    values: InitVar[Mapping[str, Any]]
    hypers: Mapping[str, Any] = field(default_factory=dict)
    switches: Mapping[str, bool] = field(default_factory=dict)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Each option of the table."""

    def __post_init__(self, values: Mapping[str, Any]) -> None:
        kept = {name: option.check(name, values.get(name, option.default)) for name, option in OPTIONS.items()}
        for name, value in kept.items():  # one by one: Python reads attributes faster than from a dict of its own
            object.__setattr__(self, name, value)
        self._refuse_several()

    def _refuse_several(self) -> None:
        """Raise OptionError for more than one bound."""
        if sum(getattr(self, name) is not None for name in ONLY_ONE) > 1:
            received = ", ".join(f"{name}={getattr(self, name)}" for name in ONLY_ONE)
            raise OptionError(
                f"Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set. Received: {received}."
            )

    def replaced(self, name: str, value: object) -> Options:
        """A copy with one option changed; checks everything again."""
        return self.updated({name: value})

    def updated(self, changes: Mapping[str, object]) -> Options:
        """A copy with some options changed; checks everything again, but the rule's own numbers and switches."""
        kept: dict[str, Any] = {name: getattr(self, name) for name in OPTIONS}
        groups: tuple[dict[str, Any], ...] = (kept, {**self.hypers}, {**self.switches})
        for name, value in changes.items():
            next(group for group in groups if name in group)[name] = value
        return Options(*groups)

    def rated(self, value: object) -> Options:
        """A copy with another learning rate, which alone is checked: programs may assign one before every step."""
        other = object.__new__(Options)
        vars(other).update(vars(self), learning_rate=OPTIONS["learning_rate"].check("learning_rate", value))
        return other

    def of_group(self, values: Mapping[str, object]) -> Options:
        """The options of a group's variables. All values were checked before; there may be thousands of groups."""
        other = object.__new__(Options)
        kept = vars(other)
        kept.update(vars(self), groups=None)
        kept.pop("_lasting_numbers", None)
        for name, value in values.items():
            group = next((group for group in ("hypers", "switches") if name in kept[group]), None)
            kept.update({name: value} if group is None else {group: {**kept[group], name: value}})
        other._refuse_several()
        return other

    @property
    def each_group(self) -> Groups:
        """The groups, of which there may be none."""
        found: Groups | None = self.groups
        return found or NO_GROUPS

    def has_base_of(self, other: Options) -> bool:
        """Whether nothing but groups differs: the very same values."""
        same = all(getattr(self, name) is getattr(other, name) for name in OPTIONS if name != "groups")
        return same and self.hypers == other.hypers and self.switches == other.switches

    def rate(self, calls: int) -> float:
        """The learning rate after `calls` calls. Raises OptionError if its source gives no finite number."""
        source = self.learning_rate
        return source if isinstance(source, float) else RATE.checked("learning_rate", rate_of(source, calls))

    @property
    def skips(self) -> bool:
        """Whether a call with inf or nan in a gradient is left out."""
        return bool(self.nonfinite == "skip")

    def update_of(self, calls: int) -> int:
        """The number of the update, from 1, that the call after so many calls belongs to."""
        return calls // (self.gradient_accumulation_steps or 1) + 1

    def numbers(self, rate: float, update: int) -> dict[str, float]:
        """The hyperparameters of an update (counted from 1), by the names that the equations use."""
        return {**self._lasting_numbers, "learning_rate": rate, "step": float(update)}

    def number(self, name: str) -> float:
        """A number that is the same in every update, by the name that equations use."""
        return self._lasting_numbers[name]

    @derived
    def _lasting_numbers(self) -> dict[str, float]:
        """Those that are the same in every update."""
        own = {name: float(getattr(self, name) or 0.0) for name, option in OPTIONS.items() if option.hyper is not None}
        return {**self.hypers, **own, **dict(zip(SEED, map(float, halves(self.seed or 0)), strict=True))}

    @property
    def backend(self) -> Mapping[str, Any]:
        """How kernels are compiled and launched: what backends read, each its own part."""
        return {name: getattr(self, name) for name, option in OPTIONS.items() if option.backend}

    def differing(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """The learning rate, and what is not as by default; `own` has the defaults of the rule's own, and the name."""
        usual = {name: option.default for name, option in OPTIONS.items()} | {**own}
        now = {name: getattr(self, name) for name in OPTIONS} | {**self.hypers, **self.switches}
        return {name: value for name, value in now.items() if name == "learning_rate" or value != usual[name]}

    def config(self) -> dict[str, Any]:
        """The options as Keras's `get_config` orders them; a known schedule as a dict, a callable as itself."""
        own = {name: dict(value) if isinstance(value, dict) else value for name, value in self.hypers.items()}
        placed = sorted((option.place, name) for name, option in OPTIONS.items() if option.place is not None)
        ours = {name: getattr(self, name) for name, option in OPTIONS.items() if option.place is None}
        config = {name: getattr(self, name) for _, name in placed} | {**own, **self.switches}
        config |= {name: shown(value) for name, value in ours.items() if value != OPTIONS[name].default}
        config["learning_rate"] = in_config(config["learning_rate"])
        if self.groups is not None:
            config["groups"] = self.groups.plain(in_config)
        return config


def own_values(rule: Rule, given: dict[str, Any]) -> tuple[dict[str, Setting], dict[str, bool]]:
    """The rule's numbers and switches, taken out of `given`. Raises OptionError for what is left."""
    hypers = {key: setting(hyper, key, given.pop(key, hyper.default)) for key, hyper in rule.hypers.items()}
    switches = {
        key: check_switch(key, given.pop(key, flag.default)) for key, flag in rule.flags.items() if flag.is_option
    }
    if given:
        known = ", ".join([*OPTIONS, *hypers, *switches])
        raise OptionError(f"Argument(s) not recognized. Received: {given}. Known: {known}.")
    return hypers, switches
