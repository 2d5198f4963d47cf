"""LossScaleOptimizer: an optimizer around another, which scales the loss so that small gradients do not vanish."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, NoReturn, Self, TypeVar

import numpy as np

from . import saving
from .arrays.homes import Array
from .errors import ArrayError, OptionError
from .members import Variables
from .optimizer import Optimizer
from .option_table import OPTIONS
from .resolve import Gradients
from .rules.table import TABLE
from .saving import count, number
from .scaling import Scaling, checked_scale, checked_steps, refuse_others
from .variable import Variable

SCALE, STEPS = "loss_scale", "loss_scale_steps"
"""Their names in a state."""

OWN = 4
"""Variables that Keras has beside those of the optimizer inside: iteration, learning_rate (both unused), and these."""

CHECKED: Mapping[str, Callable[[Any], Any]] = {"initial_scale": checked_scale, "dynamic_growth_steps": checked_steps}
"""Its own numbers, and what checks them."""

T = TypeVar("T")


class LossScaleOptimizer:
    """Scales the loss dynamically, around another optimizer that divides gradients by the scale.

    inner_optimizer:      what updates the variables; its `loss_scale_factor` and `nonfinite` are set from here on.
    initial_scale:        the scale of the first call; the product of loss and scale should just not overflow.
    dynamic_growth_steps: after so many good calls the scale is doubled. A call with inf or nan in a gradient changes
                          nothing but the scale, which is halved, and `skipped_steps`.
    name:                 a prefix of names; by default "loss_scale_optimizer".

    Looking, unscaling and the step are one compiled call. What is not here is asked of the optimizer inside.
    Differs: gradients are judged as the step reads them, without the scale; a scale stays a normal float32.
    Raises OptionError for other arguments: set them on the optimizer inside.
    Source: `keras.optimizers.LossScaleOptimizer` of Keras 3.
    """

    def __init__(
        self,
        inner_optimizer: Optimizer,
        initial_scale: float = 2.0**15,
        dynamic_growth_steps: int = 2000,
        name: str | None = None,
        **others: Any,
    ) -> None:
        refuse_others(others)
        if not isinstance(inner_optimizer, Optimizer):
            raise OptionError(
                f"`inner_optimizer` must be an optimizer of rmsprop_jit. Received: {type(inner_optimizer).__name__}. "
                "Pass LossScaleOptimizer(rmsprop_jit.RMSprop(...))."
            )
        self.inner_optimizer = inner_optimizer
        self.name = str(OPTIONS["name"].check("name", "loss_scale_optimizer" if name is None else name))
        self.initial_scale = initial_scale
        self.dynamic_growth_steps = dynamic_growth_steps
        self._scaling = Scaling(self.initial_scale, 0, self._calls, inner_optimizer.skipped_steps)
        self._settle()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "inner_optimizer":  # which is not there yet in a copy that is being made
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}.")
        return getattr(self.inner_optimizer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Options are those of the optimizer inside, where they are checked, but for the two that are set from here."""
        if name in ("loss_scale_factor", "nonfinite"):
            raise OptionError(
                f"a LossScaleOptimizer sets `{name}` of the optimizer inside itself. Received: {name}={value!r}. "
                "Make another with `initial_scale`, or use the optimizer inside alone."
            )
        if name.startswith("_") or name in ("inner_optimizer", "name") or hasattr(type(self), name):
            object.__setattr__(self, name, value)
        elif name in CHECKED:
            object.__setattr__(self, name, CHECKED[name](value))
        else:
            setattr(self.inner_optimizer, name, value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self.inner_optimizer!r}): scale {self.dynamic_scale:g}>"

    @property
    def learning_rate(self) -> float:
        """That of the optimizer inside; set it as there."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.inner_optimizer.learning_rate = value

    @property
    def iterations(self) -> int:
        """Updates that the optimizer inside has made; skipped calls are none. Read only."""
        return self.inner_optimizer.iterations

    @property
    def dynamic_scale(self) -> float:
        """What the next loss is to be multiplied by. Read only."""
        self._settle()
        return self._scaling.scale

    @property
    def step_counter(self) -> int:
        """Good calls since the scale was changed last. Read only."""
        self._settle()
        return self._scaling.steps

    @property
    def variables(self) -> list[Variable]:
        """The state in Keras's order: four numbers of its own, of which two mean nothing, then those inside."""
        own = {
            "iteration": np.array(0, np.int64),
            "learning_rate": np.array(0.0, np.float64),
            "step_counter": np.array(self.step_counter, np.int64),
            "dynamic_scale": np.array(self.dynamic_scale, np.float32),
        }
        made = [Variable(value, name=name, path=f"{self.name}/{name}") for name, value in own.items()]
        return made + self.inner_optimizer.variables

    def apply(self, grads: Gradients, trainable_variables: Variables | None = None, **inputs: Gradients) -> None:
        """One call with gradients of the scaled loss: done, or skipped where they hold inf or nan."""
        self._settle()  # a signal may have come between the last call and what follows from it
        self.inner_optimizer.apply(grads, trainable_variables, **inputs)
        self._settle()

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> int:
        """`apply` for pairs of gradient and variable; returns the number of calls that were done so far."""
        pairs = list(grads_and_vars)
        self.apply([gradient for gradient, _ in pairs], [variable for _, variable in pairs])
        return self._calls

    def minimize(self, loss: Callable[[], Any], var_list: Variables) -> float:
        """One call with the gradients of the scaled loss; returns the loss."""
        scale = self.dynamic_scale
        value = self.inner_optimizer.minimize(lambda: loss() * scale, var_list)
        self._settle()
        return value / scale

    def stateless_apply(self, *_: object, **__: object) -> NoReturn:
        """Never done: the scale is this object's. Raises OptionError."""
        raise OptionError(
            "a LossScaleOptimizer keeps its scale, and values that are passed have none. Received: stateless_apply(). "
            "Call it of the optimizer inside, with gradients of the loss itself."
        )

    def scale_loss(self, loss: Any) -> Any:
        """`loss * dynamic_scale`."""
        return loss * self.dynamic_scale

    # States and configs.

    def state_dict(self, variables: bool = False) -> dict[str, Array]:
        """That of the optimizer inside, with the scale and the good calls since it was changed."""
        self._settle()
        scaling = self._scaling
        own = {SCALE: np.array(scaling.scale, np.float64), STEPS: np.array(scaling.steps, np.int64)}
        return {**self.inner_optimizer.state_dict(variables), **own}

    def load_state_dict(
        self, state: Mapping[str, Any], options: str = "check", strict: bool = True, variables: bool | None = None
    ) -> dict[str, str]:
        """Take over what `state_dict` returned, all or nothing; the arguments are those of the optimizer inside."""
        saving.check_store(state, "the state")
        rest = dict(state)
        missing = [key for key in (SCALE, STEPS) if key not in rest]
        if missing:
            raise ArrayError(
                f"the state is not of a LossScaleOptimizer. Received: a state without {missing[0]!r}. Load it into the "
                "optimizer inside."
            )
        scale, steps = checked_scale(number(rest.pop(SCALE), SCALE)), count(rest.pop(STEPS), STEPS)
        return self._load(scale, steps, lambda: self.inner_optimizer.load_state_dict(rest, options, strict, variables))

    def save(self, path: Any, keep: int = 1, variables: bool = False) -> None:
        """Write the state to a file, as the optimizer inside does."""
        from . import files  # only wanted where a state is saved

        files.save(path, self.state_dict(variables), keep)

    def load(
        self, path: Any, options: str = "check", strict: bool = True, variables: bool | None = None
    ) -> dict[str, str]:
        """Take over what `save` has written, all or nothing."""
        from . import files

        return self.load_state_dict(files.load(path), options, strict, variables)

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Put `variables` into a store as "0", "1", ..., so that Keras can load them."""
        for i, variable in enumerate(self.variables):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Take over what this method's twin, or Keras's, has saved, all or nothing. Raises ArrayError, OptionError."""
        saving.check_store(store, "the store")
        if not {str(i) for i in range(OWN)} <= {*store.keys()}:
            raise ArrayError(f"a saved LossScaleOptimizer has keys '0', '1', ... Received: {sorted(store.keys())[:5]}.")
        steps, scale = count(store["2"], "step_counter"), checked_scale(number(store["3"], "dynamic_scale"))
        rest = {str(int(key) - OWN): store[key] for key in store.keys() if key.isdigit() and int(key) >= OWN}
        self._load(scale, steps, lambda: self.inner_optimizer.load_own_variables(rest))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, the optimizer inside as Keras serialises it."""
        config = {**self.inner_optimizer.get_config(), "loss_scale_factor": None}
        config.pop("nonfinite", None)
        kind = type(self.inner_optimizer)
        inner = {"module": "rmsprop_jit", "class_name": kind.__name__, "config": config, "registered_name": None}
        own = {"initial_scale": self.initial_scale, "dynamic_growth_steps": self.dynamic_growth_steps}
        return {"name": self.name, "inner_optimizer": inner, **own}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **arguments: Any) -> Self:
        """An optimizer from what `get_config` returned, here or in Keras.

        Equations are in no config: pass `inner_optimizer=` where the optimizer inside is of a rule of your own.
        """
        remaining = {**config, **arguments}
        inner = remaining.pop("inner_optimizer", None)
        if inner is None or (isinstance(inner, Mapping) and not isinstance(inner.get("config"), Mapping)):
            raise OptionError(
                f"its config has one of the optimizer inside. Received: inner_optimizer={inner!r}. "
                "Pass from_config(config, inner_optimizer=...)."
            )
        if isinstance(inner, Mapping):
            made = TABLE.get(str(inner.get("class_name")).lower())
            if made is None:
                raise OptionError(
                    f"no optimizer is called so. Received: class_name={inner.get('class_name')!r}. "
                    "Pass from_config(config, inner_optimizer=...)."
                )
            inner = made[1].from_config(inner["config"])
        return cls(inner, **remaining)

    # How far the scale has come.

    @property
    def _calls(self) -> int:
        return self.inner_optimizer._state.ledger.calls

    def _settle(self) -> None:
        """Let the scale follow the calls that were done or skipped, and gradients be divided by it."""
        old, inner = self._scaling, self.inner_optimizer
        if inner.nonfinite != "skip":
            inner.nonfinite = "skip"
        calls, skipped = self._calls, inner.skipped_steps
        if (calls, skipped) != (old.calls, old.skipped):
            self._scaling = old.at(calls, skipped, self.dynamic_growth_steps)
        if inner.loss_scale_factor != self._scaling.scale:
            inner.loss_scale_factor = self._scaling.scale

    def _load(self, scale: float, steps: int, load: Callable[[], T]) -> T:
        """Load what is inside, with the scale that it was saved with; or nothing."""
        old, inner = self._scaling, self.inner_optimizer
        inner.loss_scale_factor = scale
        try:
            found = load()
        except BaseException:
            inner.loss_scale_factor = old.scale
            raise
        self._scaling = Scaling(scale, steps, self._calls, inner.skipped_steps)
        return found
