"""The bundled rules: a row for each class, with the module of its family. What is not here does not exist elsewhere.

A rule's row is its import for type checkers and its family in `HOMES`; a test compares the two. Nothing is imported
here until a class is asked for: `import rmsprop_jit` reads this module, and has to stay quick.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ..optimizer import Optimizer
    from .adagrad import Adadelta as Adadelta
    from .adagrad import Adagrad as Adagrad
    from .adagrad import Ftrl as Ftrl
    from .adam import Adam as Adam
    from .adam import Adamax as Adamax
    from .adam import AdamW as AdamW
    from .adam import RAdam as RAdam
    from .cautious import CautiousAdamW as CautiousAdamW
    from .differences import MARS as MARS
    from .differences import Adan as Adan
    from .differences import Rprop as Rprop
    from .differences import Sophia as Sophia
    from .distances import DAdaptAdamW as DAdaptAdamW
    from .distances import DoG as DoG
    from .distances import Prodigy as Prodigy
    from .factored import CAME as CAME
    from .factored import SM3 as SM3
    from .factored import Adafactor as Adafactor
    from .factored import AdamMini as AdamMini
    from .langevin import SGLD as SGLD
    from .moments import ADOPT as ADOPT
    from .moments import AdaBelief as AdaBelief
    from .moments import AdEMAMix as AdEMAMix
    from .moments import Grams as Grams
    from .moments import LaProp as LaProp
    from .moments import Yogi as Yogi
    from .muon import Muon as Muon
    from .norms import LARS as LARS
    from .norms import Lamb as Lamb
    from .norms import StableAdamW as StableAdamW
    from .numbers import AdaGC as AdaGC
    from .numbers import Nadam as Nadam
    from .numbers import NosAdam as NosAdam
    from .numbers import NovoGrad as NovoGrad
    from .rmsprop import RMSprop as RMSprop
    from .row import Row
    from .schedule_free import ScheduleFreeAdamW as ScheduleFreeAdamW
    from .schedule_free import ScheduleFreeSGD as ScheduleFreeSGD
    from .sgd import SGD as SGD
    from .signs import AddSign as AddSign
    from .signs import Lion as Lion
    from .signs import PowerSign as PowerSign
    from .signs import Tiger as Tiger

HOMES = {
    "RMSprop": "rmsprop",
    "SGD": "sgd",
    "SGLD": "langevin",
    "Adagrad": "adagrad",
    "Adadelta": "adagrad",
    "Ftrl": "adagrad",
    "Adam": "adam",
    "AdamW": "adam",
    "Adamax": "adam",
    "RAdam": "adam",
    "Lion": "signs",
    "Tiger": "signs",
    "AddSign": "signs",
    "PowerSign": "signs",
    "Lamb": "norms",
    "LARS": "norms",
    "StableAdamW": "norms",
    "AdaBelief": "moments",
    "Yogi": "moments",
    "LaProp": "moments",
    "ADOPT": "moments",
    "AdEMAMix": "moments",
    "Grams": "moments",
    "Muon": "muon",
    "Nadam": "numbers",
    "NosAdam": "numbers",
    "NovoGrad": "numbers",
    "AdaGC": "numbers",
    "Rprop": "differences",
    "Adan": "differences",
    "MARS": "differences",
    "Sophia": "differences",
    "ScheduleFreeSGD": "schedule_free",
    "ScheduleFreeAdamW": "schedule_free",
    "Prodigy": "distances",
    "DAdaptAdamW": "distances",
    "DoG": "distances",
    "CautiousAdamW": "cautious",
    "Adafactor": "factored",
    "CAME": "factored",
    "SM3": "factored",
    "AdamMini": "factored",
}
"""The family of each class. The first is what the command line shows unless it is asked for another."""

Table: TypeAlias = "Mapping[str, tuple[Row, type[Optimizer]]]"
"""By the names of rules, which are those of their classes in small letters."""


_CLASSES = {name.lower(): name for name in HOMES}


class _Table(Mapping[str, "tuple[Row, type[Optimizer]]"]):
    """Rows and classes, each imported when it is first asked for."""

    def __getitem__(self, rule: str) -> tuple[Row, type[Optimizer]]:
        from .row import row_of  # with all of the optimizer

        name = _CLASSES[rule]
        family = importlib.import_module(f".{HOMES[name]}", __package__)
        found: type[Optimizer] = getattr(family, name)
        return row_of(found), found

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


TABLE: Table = _Table()
