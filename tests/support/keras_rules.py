"""Any of Keras's optimizers as the judge of a rule, on its numpy backend, in true float64 where that is asked for."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

os.environ["KERAS_BACKEND"] = "numpy"

import keras
import numpy as np
from compare import Array
from keras_side import computing_in


def has(name: str) -> bool:
    """Whether Keras has an optimizer of this name."""
    return hasattr(keras.optimizers, name)


def trained(
    name: str, options: dict[str, Any], variables: Sequence[Array], steps: Sequence[Sequence[Array]]
) -> tuple[Any, list[Array]]:
    """Keras's optimizer after these steps, and what has become of copies of the variables."""
    dtype = str(variables[0].dtype)
    with computing_in(dtype), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Keras's variables, about NumPy's `copy=`
        optimizer = getattr(keras.optimizers, name)(**options)
        tracked = [keras.Variable(one, dtype=dtype, name=f"variable_{i}") for i, one in enumerate(variables)]
        optimizer.build(tracked)
        for gradients in steps:
            optimizer.apply([np.array(one) for one in gradients], tracked)
        return optimizer, [np.asarray(one.value) for one in tracked]
