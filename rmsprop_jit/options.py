"""Options: what every optimizer has, whatever its rule. One table, a row each; all else follows from it.

Numbers stay numbers (an argument of the kernel); "is it set at all" becomes a flag (a kernel of its own).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from .by_name import shown
from .checkers import (
    COMPILERS,
    NONFINITE,
    Checker,
    all_groups,
    check_switch,
    integer,
    one_compiler,
    one_learning_rate,
    one_name,
    one_nonfinite,
    one_seed,
    one_storage,
    or_none,
)
from .codegen import Hyper
from .codegen.dtypes import LIGHT
from .codegen.integers import halves
from .codegen.kinds import SEED
from .errors import OptionError
from .groups import NO_GROUPS, Groups
from .rates import RATE, in_config, rate_of
from .schedules import LearningRateSchedule

LearningRate = float | LearningRateSchedule | Callable[..., float]


NUMBER: Mapping[str, Any] = {"type": float, "metavar": "X"}
COUNT: Mapping[str, Any] = {"type": int, "metavar": "N"}
SWITCH: Mapping[str, Any] = {}
"""Forms on the command line, as argparse's keywords; a switch is `--name` and `--no-name`."""


class Option(NamedTuple):
    """A row of the table.

    default: what an optimizer has that says nothing.
    check:   turns a value into what is kept, or raises OptionError.
    doc:     a line of documentation, and the help text of the command line.
    place:   the place in `get_config`, as Keras has it; None comes last, and only where it is not the default.
    command: the form on the command line, as argparse's keywords; None has none.
    hyper:   the number that equations read as `h.<name>`, if they do.
    flag:    whether equations ask `on.<name>`: on where the option is set (neither None nor False) ...
    needs:   ... and this other one, too.
    unset:   a further value that is as good as None.
    grouped: whether a group of variables can have its own.
    backend: whether it says how kernels are compiled or launched, and not what is computed.
    """

    default: Any
    check: Checker
    doc: str
    place: int | None = None
    command: Mapping[str, Any] | None = None
    hyper: Hyper | None = None
    flag: bool = False
    needs: str | None = None
    grouped: bool = False
    backend: bool = False
    unset: str | None = None

    def is_set(self, value: object) -> bool:
        """Whether a value switches the option on."""
        return value not in (None, False, self.unset)


def _bound(doc: str, place: int, low: float = 0.0, low_open: bool = True, grouped: bool = True) -> Option:
    """A number that switches something on; None is off."""
    hyper = Hyper(1.0 if low_open else low, low=low, low_open=low_open)
    return Option(None, or_none(hyper.checked), doc, place, NUMBER, hyper, flag=True, grouped=grouped)


_EMA_MOMENTUM = Hyper(0.99, low=0.0, high=1.0)

OPTIONS: dict[str, Option] = {
    "learning_rate": Option(
        0.001,
        one_learning_rate,
        "float, LearningRateSchedule, or callable (of no arguments or of the step).",
        1,
        NUMBER,
        grouped=True,
    ),
    "loss_scale_factor": _bound("divide gradients by it; see `scale_loss`. None is off.", 9, grouped=False),
    "nonfinite": Option(
        NONFINITE[0],
        one_nonfinite,
        'inf or nan in a gradient: "propagate" it, "skip" the call, or "raise" NonFiniteError.',
        command={"choices": NONFINITE, "metavar": "WHAT"},
        flag=True,
        unset=NONFINITE[0],
    ),
    "gradient_accumulation_steps": Option(
        None,
        or_none(integer(2)),
        "update at every so many calls, with the mean gradient; None is off, else >= 2.",
        10,
        COUNT,
        Hyper(1.0, low=0.0, low_open=True),
        flag=True,
    ),
    "maximize": Option(
        False,
        check_switch,
        "climb: make the loss larger, by the negative gradient.",
        command=SWITCH,
        flag=True,
        grouped=True,
    ),
    "clipnorm": _bound("bound of the norm of each variable's gradient; None is off.", 3),
    "global_clipnorm": _bound(
        "bound of the norm of all gradients together; None is off. At most one bound is set.", 4, grouped=False
    ),
    "clipvalue": _bound("bound of the absolute value of each gradient element; None is off.", 5),
    "weight_decay": _bound("decoupled weight decay, times the learning rate; None is off.", 2, low_open=False),
    "use_ema": Option(
        False, check_switch, "keep an exponential moving average of the variables.", 6, SWITCH, flag=True
    ),
    "ema_momentum": Option(
        0.99,
        _EMA_MOMENTUM.checked,
        "the decay of that average, in [0, 1].",
        7,
        NUMBER,
        _EMA_MOMENTUM,
        grouped=True,
    ),
    "ema_overwrite_frequency": Option(
        100,
        or_none(integer(1)),
        "write the average to the variables every so many updates; None is never.",
        8,
        COUNT,
        Hyper(1.0, low=1.0),
        flag=True,
        needs="use_ema",
    ),
    "groups": Option(
        None, or_none(all_groups), "options of some variables: {pattern: {option: value}}, or a list as in torch."
    ),
    "storage": Option(
        None,
        or_none(one_storage),
        'slots are kept in: "bfloat16", "int8", or patterns over "variable:slot"; None is float32.',
        command={"choices": LIGHT},
    ),
    "seed": Option(
        None,
        or_none(one_seed),
        "of random numbers, 32 bits; None draws one for rules that draw, and is 0 for lighter slots.",
        command=COUNT,
    ),
    "name": Option(None, one_name, "prefix of the state's names; by default the rule's name.", 0),
    "threads": Option(
        None,
        or_none(integer(1)),
        "at most so many threads; None is every core that the process may use.",
        backend=True,
    ),
    "compiler": Option(
        None,
        or_none(one_compiler),
        f'for arrays on a GPU, "{COMPILERS[0]}" or "{COMPILERS[1]}"; None is the first installed.',
        command={"choices": COMPILERS, "metavar": "NAME"},
        backend=True,
    ),
}
"""By name, in the order in which a step comes to them."""

ONLY_ONE = ("clipnorm", "clipvalue", "global_clipnorm")
"""Options of which at most one is set."""


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

    @functools.cached_property
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
