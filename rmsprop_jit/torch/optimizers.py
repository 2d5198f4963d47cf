"""The classes: torch's optimizers, whose step is one launch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch

from ..codegen import Rule
from ..errors import ArrayError, OptionError
from ..seeds import new_seed
from .engine import Engine, names_of
from .lent import Reach
from .settings import rate_of, settings_of
from .watched import is_watched
from .words import Words, words_of


class Fused(torch.optim.Optimizer):  # type: ignore[misc]
    """A torch.optim.Optimizer whose step is one launch over all parameters, of a rule that its subclass names.

    Groups, hooks, states and what `lr_scheduler` and `GradScaler` do with them are torch's. Parameters and gradients
    are dense float32 or float64 tensors (in host memory complex ones, too), used where they lie; every step asks each
    where it is.

    Differs: a scaler's scale is taken out within the step, and gradients stay as they are; torch's fused optimizers
    divide them in place. Where no profiler is on, a step makes no mark for it.
    """

    _words: ClassVar[Words]
    _step_supports_amp_scaling = True
    _reach, _times_shown = Reach.NOTHING, 0  # what others may have of what `state_dict` showed, and how often it did
    _times_asked = _own_times = 0  # for all states; so many of these times for nobody who keeps any

    def __init__(self, params: Any, *arguments: Any, **options: Any) -> None:
        words = self._words
        try:
            given = words.signature.bind(params, *arguments, **options).arguments
        except TypeError as problem:
            raise TypeError(f"{words.title}() {problem}") from None
        own = {name: value for name, value in given.items() if name in words.defaults}
        super().__init__(params, {**words.defaults, **own})
        self._own_times = self._times_asked  # nobody else has what was just made

    @property
    def state(self) -> dict[Any, dict[str, Any]]:
        """The states, by parameter. Who was shown them may change them: from then on every step looks at them, too."""
        self._times_asked += 1
        return self._states()

    @state.setter
    def state(self, states: dict[Any, dict[str, Any]]) -> None:
        self._times_asked, self.__dict__["state"] = self._times_asked + 1, states

    def _states(self) -> dict[Any, dict[str, Any]]:
        """The same, for who will show them to nobody. They are kept where torch puts them."""
        states: dict[Any, dict[str, Any]] = self.__dict__["state"]
        return states

    def state_dict(self) -> dict[str, Any]:
        """As torch does it. Steps look at the states, too, as long as anybody has any of it."""
        before = self._times_asked
        hooks = [getattr(self, f"_optimizer_state_dict_{when}_hooks", True) for when in ("pre", "post")]
        found: dict[str, Any] = super().state_dict()  # asks for `state`
        if self._times_asked == before + 1 and not any(hooks):  # no other thread did meanwhile
            self._own_times += 1
        self._reach, self._times_shown = Reach.OBJECTS, self._times_shown + 1
        return found

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Another group of parameters. Raises OptionError for a value without meaning, and is as it was then."""
        try:
            super().add_param_group(param_group)
        except ValueError:
            self._refuse_twice(param_group)
            raise
        self._seed(self.param_groups[-1])
        try:
            settings_of(self._words, self.param_groups[-1], None, None)
            rate_of(self._words, self.param_groups[-1])
        except OptionError:
            del self.param_groups[-1]
            raise

    def _refuse_twice(self, group: Mapping[str, Any]) -> None:
        """Raise ArrayError, naming it, for a parameter of a group that is in the optimizer already."""
        groups = [*self.param_groups, group]
        every = [one for own in groups for one in own["params"]]
        names: dict[int, str] = {}
        for one, name in zip(every, names_of(groups), strict=True):
            if names.setdefault(id(one), name) != name:
                raise ArrayError(
                    f"{name!r} is in the optimizer already, as {names[id(one)]!r}. Received: the same parameter, of "
                    f"shape {tuple(one.shape)}, in two groups. Pass each parameter once."
                ) from None

    def _seed(self, group: dict[str, Any]) -> None:
        """A seed for a group that has none, where the rule draws: that of the groups before, or one from the system."""
        if group.get("seed", 0) is None:
            known = [one["seed"] for one in self.param_groups if one["seed"] is not None]
            group["seed"] = known[0] if known else new_seed()

    def __setstate__(self, state: dict[str, Any]) -> None:
        before = self._times_asked
        super().__setstate__(state)
        if self.__dict__.get("_is_loading", False):
            self._own_times = before
        else:
            self._times_asked += 1
        for group in self.param_groups:  # of checkpoints of torch's, which say less
            for name, value in self._words.defaults.items():
                group.setdefault(name, value)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """As torch does it; numbers of float64 stay so, which torch would round to the parameters' dtype."""
        self._is_loading = True
        try:
            super().load_state_dict(state_dict)
        finally:
            self._is_loading = False
        ours = [one for group in self.param_groups for one in group["params"]]
        theirs = [i for group in state_dict["param_groups"] for i in group["params"]]
        for one, i in zip(ours, theirs, strict=True):
            own = self._states().get(one, {})
            for name, value in state_dict["state"].get(i, {}).items():
                if isinstance(value, torch.Tensor):
                    kept = value.dtype == torch.float64 and value.ndim == 0 and name in self._words.numbers
                    own[name] = value.to(one.device).clone() if kept else own[name].clone()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every parameter that has a gradient; what `closure` returns, which is called first.

        Raises ArrayError, naming the parameter, or OptionError, before anything is written.
        """
        given = () if closure is None else (closure,)  # hooks are shown the arguments, and may return others
        is_own = type(self).step is Fused.step  # else torch, or who overrides this, has seen to what is around it
        return self._watched_step(*given) if is_own and is_watched(self) else self._step(*given)

    step.hooked = True  # type: ignore[attr-defined]  # for torch, which else puts its profiler's mark around each

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        found_inf, scale = getattr(self, "found_inf", None), getattr(self, "grad_scale", None)
        if found_inf is not None and float(found_inf):
            return loss
        launch = _left_alone if torch.compiler.is_compiling() else Fused._launch
        launch(self, None if scale is None else float(scale))
        return loss

    _watched_step = torch.optim.Optimizer.profile_hook_step(_step)

    def _launch(self, scale: float | None) -> None:
        """The step itself."""
        engine = self.__dict__.get("_engine") or self.__dict__.setdefault("_engine", Engine(self._words))
        with engine.lock:
            known, times = self._reach, self._times_shown
            is_shown = self._times_asked != self._own_times
            engine.step(self.param_groups, self._states(), Reach.OBJECTS if is_shown else known, scale)
            if known is not Reach.NOTHING:
                found = engine.reach(known)
                if self._times_shown == times:  # by no other thread meanwhile
                    self._reach = found


_left_alone = torch.compiler.disable(Fused._launch)
"""A step for torch's compiler, where it is at work: it would find nothing that it could make faster.

Elsewhere the switch that turns it off would take as long as a tenth of the host's work.
"""


@functools.cache
def optimizer(rule: str | Rule) -> type[Fused]:
    """The class of torch.optim.Optimizer for a rule: the name of a bundled one, as "adam", or a `codegen.Rule`.

    Rules that torch has are those of torch: its arguments, defaults, numbers and states. Others take `lr`, their own
    numbers (`eps` and `betas` as torch calls them), `weight_decay` and `maximize`. All take `clip_grad_norm` and `ema`,
    see `RMSprop`. Classes of rules of your own cannot be pickled, as their equations cannot; `state_dict` can be saved.

    Rules that draw random numbers take `seed`, and draw by the names of parameters, or else by their places. What a
    rule reads beside gradients is an attribute of each parameter, as `parameter.hessian`. Numbers that all parameters
    have in common, as Prodigy's `d`, are in the state of each; what they follow from is the same in all groups, and
    steps are counted for all together.

    Raises OptionError for an unknown name.
    """
    name = rule.lower() if isinstance(rule, str) else rule
    if name == "rmsprop":
        return RMSprop
    return _subclass(words_of(name))


def _subclass(words: Words) -> type[Fused]:
    taken = [name for name in words.rule.inputs if hasattr(torch.Tensor, name)]
    if taken:
        raise OptionError(
            f"inputs of a rule are attributes of parameters here, and tensors have another {taken[0]!r}. Received: the "
            f"rule {words.rule.name!r}, with this input. Give it another name."
        )
    text = f"The rule {words.rule.name!r} as an optimizer of torch's; see `Fused`, and `RMSprop` for what is ours."
    if words.rule.inputs:
        brought = " and ".join(f"`parameter.{name}`" for name in words.rule.inputs)
        text += f"\n\nBefore a step that reads it, set {brought} to a tensor of the parameter's shape."
    contents = {"_words": words, "__doc__": text, "__module__": __package__, "__signature__": words.signature}
    return type(words.title, (Fused,), contents)


class RMSprop(Fused):
    """torch.optim.RMSprop in one pass over memory: its arguments, its numbers, its states.

    Ours are, both of them fused into the same pass:

    clip_grad_norm: bound of the norm of the gradients of all groups that set it; None is off. As
                    `torch.nn.utils.clip_grad_norm_` before the step, but gradients stay as they are, the norm is summed
                    in float64, and the factor has no 1e-6 in it.
    ema:            keep an exponential moving average of the parameters, with this decay in [0, 1], as
                    `state[p]["ema"]`; None is off. As `torch.optim.swa_utils.AveragedModel` with
                    `get_ema_multi_avg_fn(ema)` after each step.

    `foreach` means nothing here; `capturable` and `differentiable` can only be False.
    """

    _words = words_of("rmsprop")

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        *,
        clip_grad_norm: float | None = None,
        ema: float | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in self._words.defaults}
        super().__init__(params, **given)


RMSprop.__module__ = __package__
