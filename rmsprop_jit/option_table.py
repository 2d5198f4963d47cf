"""Option table: what every optimizer has, whatever its rule: a row each; all else follows from it.

Numbers stay numbers (an argument of the kernel); "is it set at all" becomes a flag (a kernel of its own).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

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
