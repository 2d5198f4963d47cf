"""Keras itself as the judge, on its numpy backend.

Keras demotes float64 to float32 in most operations of this backend; for float64 cases its table of demotions is
patched, so that Keras's own code runs in true float64.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Self

os.environ["KERAS_BACKEND"] = "numpy"

import keras
import numpy as np
from compare import Array
from keras.src.backend.common import dtypes
from option_sets import Case

import rmsprop_jit


@contextlib.contextmanager
def computing_in(dtype: str) -> Iterator[None]:
    """Keras's own code in this dtype throughout."""
    floatx, widest = keras.config.floatx(), dict(dtypes.BIT64_TO_BIT32_DTYPE)
    keras.config.set_floatx(dtype)
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = dtype
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        dtypes.BIT64_TO_BIT32_DTYPE.update(widest)


class KerasSide:
    """Keras's RMSprop on copies of a case's variables."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def __enter__(self) -> Self:
        self.dtypes = computing_in(self.case.dtype)
        self.dtypes.__enter__()
        options = dict(self.case.options)
        options.setdefault("ema_overwrite_frequency", None)
        if not options.get("use_ema"):
            options["ema_overwrite_frequency"] = None
        rate = options["learning_rate"]
        if isinstance(rate, rmsprop_jit.LearningRateSchedule):
            options["learning_rate"] = getattr(keras.optimizers.schedules, type(rate).__name__)(**rate.get_config())
        self.optimizer = keras.optimizers.RMSprop(name="rmsprop", **options)
        self.tracked = [
            keras.Variable(v, dtype=self.case.dtype, name=f"variable_{i}") for i, v in enumerate(self.case.variables)
        ]
        self.optimizer.exclude_from_weight_decay(var_list=[self.tracked[i] for i in self.case.excluded])
        self.optimizer.build(self.tracked)
        return self

    def __exit__(self, *_: object) -> None:
        self.dtypes.__exit__(None, None, None)

    def apply(self, gradients: Iterable[Array | None]) -> None:
        with np.errstate(all="ignore"):
            self.optimizer.apply([None if g is None else np.array(g) for g in gradients], self.tracked)

    def variables(self) -> list[Array]:
        return [np.asarray(v.value) for v in self.tracked]

    def slots(self) -> dict[str, Array]:
        return {v.path.split("/")[1]: np.asarray(v.value) for v in self.optimizer.variables}

    def iterations(self) -> int:
        return int(np.asarray(self.optimizer.iterations))
