"""Optimizer: any rule over lists of arrays, in place; Keras's methods, counters and slots.

A call goes: resolve variables -> check gradients -> plan (which kernels for which variables) -> numbers ->
launch (which counts it) -> constraints. What can fail comes before the launch, but for the caller's own constraints.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, Self

from . import patterns, tree
from .alone import rule_alone
from .arrays.homes import is_array
from .attributes import refuse_without_rule
from .calls import Calls
from .copying import Copying
from .errors import ArrayError, OptionError, RuleError
from .graphs import Graph
from .grouping import grouped
from .members import Variables
from .option_table import OPTIONS
from .options import LearningRate, Options, own_values
from .resolve import Gradients, is_empty
from .rules.around import Rule, check_names
from .settings import Settings
from .state import State
from .variable import Variable


class Optimizer(Copying):
    """An optimizer for any rule written as equations.

    rule:          the update, a `codegen.Rule`.
    learning_rate: a float, a LearningRateSchedule, or a callable (of no arguments, or of the number of calls so far).
    others:        Keras's arguments, and the rule's own hyperparameters and flags by name.

    Variables are C-contiguous float32, float64 or bfloat16 arrays (or Variables), updated in place: NumPy's, CuPy's,
    torch's (in host memory in any dense order), or others on a GPU that have `__cuda_array_interface__` or DLPack.
    Every option can be read and set as an attribute; setting one checks it, and makes new slots where it needs them.
    Raises OptionError for a value out of range or an unknown option.
    Source: `keras.optimizers.Optimizer` of Keras 3; differences are listed in the README.
    """

    def __init__(
        self,
        rule: Rule,
        learning_rate: LearningRate = 0.001,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = 100,
        loss_scale_factor: float | None = None,
        nonfinite: Literal["propagate", "skip", "raise"] = "propagate",
        gradient_accumulation_steps: int | None = None,
        maximize: bool = False,
        name: str | None = None,
        groups: Any = None,
        storage: Any = None,
        seed: int | None = None,
        threads: int | None = None,
        compiler: str | None = None,
        **rule_options: Any,
    ) -> None:
        values = {name: value for name, value in locals().items() if name in OPTIONS}  # as written above, once
        check_rule(rule)
        own = own_values(rule, rule_options)
        values |= {"name": rule.name if name is None else name, "groups": grouped(rule, groups)}
        options = Options(values, *own)
        self._rule, self._graph = rule, None
        self._calls = Calls(rule, Settings(rule, options, ()), State(rule))

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "update_step" in vars(cls):
            raise RuleError(
                f"`update_step` of {cls.__name__} would never be called: a step is compiled from its rule. "
                "Received: a subclass that overrides it. Write the equations as a codegen.Rule for Optimizer."
            )

    @property
    def learning_rate(self) -> float:
        """The rate that the next call uses, as a float. Set it to a number, a schedule or a callable.

        Of variables whose group has a rate of its own it is not the rate, and setting it leaves theirs as they are.
        """
        calls = self._calls
        return calls.options.rate(calls.state.ledger.calls)

    @learning_rate.setter
    def learning_rate(self, value: LearningRate) -> None: ...  # as of every option, see `Attributes.__setattr__`

    @property
    def iterations(self) -> int:
        """Updates made so far: calls, or calls // gradient_accumulation_steps. Read only."""
        calls = self._calls
        return calls.state.ledger.calls // (calls.options.gradient_accumulation_steps or 1)

    @property
    def skipped_steps(self) -> int:
        """Calls that changed nothing, because a gradient held inf or nan and `nonfinite` is "skip". Read only."""
        return self._state.ledger.skipped

    @property
    def built(self) -> bool:
        """Whether the optimizer knows its variables."""
        return self._state.built

    # Variables and slots.

    def build(self, var_list: Variables) -> None:
        """Take the variables and make their slots.

        var_list: a list of arrays or Variables, or a dict from names to them; of a float dtype, C-contiguous,
                  writable, none twice, none sharing memory. A second call must name the same variables. Lists and
                  dicts may be nested: {"dense": {"kernel": array}} is {"dense/kernel": array}, in this order. One
                  that is named "" is called by its place, as if it had no name: "variable_0". Or a list of groups
                  as in torch, [{"params": [...], "learning_rate": ...}, ...], which then are `groups`.
        Raises ArrayError, naming the culprit; nothing is kept then.
        """
        self._build(var_list)

    @property
    def variables(self) -> list[Variable]:
        """The state in Keras's order: iteration, learning_rate (if it is a number), then slots kind by kind.

        By name they are `{one.name: one for one in optimizer.variables}`; `state_dict` has copies under these names.
        Slots share memory with the optimizer; the first two are copies of the moment. One kind of slot does not always
        share: for a variable that has added up no gradients since its last update, `gradient_accumulator` is a new
        array of zeros, because the optimizer's own holds leftovers then.
        """
        return list(self._each_variable())

    # Steps.

    def apply(self, grads: Gradients, trainable_variables: Variables | None = None, **inputs: Gradients) -> None:
        """One call: update the variables in place, or (with gradient accumulation) add the gradients up.

        grads:               a gradient for each variable, of its shape; of its dtype, or another of float16,
                             float32, float64, bfloat16: then it is cast once where it is read, without a copy. None
                             where there is none. A list, or a dict by name where the variables are a dict; nested
                             as they are.
        trainable_variables: by default all variables that the optimizer was built on, in that order; on the first call
                             the optimizer is built on them; later any part of them.
        inputs:              what the rule reads beside gradients, by the names that it gives them, each like `grads`.
                             One may be left out, or have None for a variable, where this call does not read it.
        Nothing happens for an empty list, as in Keras; a dict names every variable. Raises ArrayError or OptionError
        before anything is written. In host memory a call is done and counted, or nothing has changed, whatever signal
        interrupts it, and calls of several threads come one after the other. Elsewhere a call that does not end is
        torn: BackendError. Constraints follow; where one raises, it is due, and the next call applies it first.
        """
        if not inputs and self._calls.again(grads, trainable_variables):
            return
        if is_empty(grads):
            return
        passed = grads
        grads, trainable_variables, inputs = self._flat_call(grads, trainable_variables, inputs)
        if grads is not passed and not inputs and self._calls.again(grads, trainable_variables):
            return
        self._meet(grads, trainable_variables, inputs)
        if self._calls.is_captured:
            graph = self._graph or Graph(self._calls)
            graph.add(self._calls, grads, trainable_variables, inputs)
            self._graph = graph
            return
        while not self._calls.once(grads, trainable_variables, inputs):  # another thread was faster
            pass

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> int:
        """`apply` for pairs of gradient and variable; returns the number of calls made so far."""
        pairs = list(grads_and_vars)
        self.apply([gradient for gradient, _ in pairs], [variable for _, variable in pairs])
        return self._state.ledger.calls

    def minimize(self, loss: Callable[[], Any], var_list: Variables) -> float:
        """One call with the gradients of `loss`, by the autograd package. Returns what the loss was before it.

        loss:     a function of no arguments that computes one real number from the Variables with arithmetic or
                  functions of `autograd.numpy`.
        var_list: the Variables to update, also nested; one that the loss does not read has gradient None.
        """
        from .gradients import differentiated  # only wanted where a loss is differentiated

        given = tree.flat(var_list)
        variables = tree.leaves(given)
        for variable in variables:
            if not isinstance(variable, Variable):
                raise ArrayError(
                    f"minimize() differentiates with respect to Variables. Received: {type(variable).__name__}. "
                    "Wrap arrays as rmsprop_jit.Variable(array), or compute gradients and call apply()."
                )
        value, gradients = differentiated(loss, variables)
        self.apply(dict(zip(given, gradients, strict=True)) if isinstance(given, Mapping) else gradients, given)
        return value

    def update_step(self, gradient: Any, variable: Any, learning_rate: float) -> None:
        """The rule alone on one variable: no unscaling, clipping, decay, average or count. Raises ArrayError."""
        self._look_again()
        rule_alone(self._calls, gradient, variable, learning_rate)

    # Weight decay, averages, loss scaling.

    def exclude_from_weight_decay(
        self, var_list: Iterable[Any] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Name variables that weight decay leaves alone.

        var_list:  arrays or Variables.
        var_names: regular expressions, searched for in the variables' names: "b" finds "embed", too, "^b$" only "b".
        Differs: calls add up (Keras forgets the earlier ones), and names are kept by `get_config`. Raises OptionError
        for a bad expression.
        """
        names = patterns.checked("var_names", var_names or ())
        variables = [getattr(variable, "value", variable) for variable in tree.leaves(var_list or ())]
        for variable in variables:
            if not is_array(variable):
                raise OptionError(f"`var_list` holds arrays or Variables. Received: {type(variable).__name__}.")
        self._change(lambda calls: self._with_state(calls, calls.state.excluding(names, variables)))

    def finalize_variable_values(self, var_list: Variables | None = None) -> None:
        """Write the averages to the variables, as after the last epoch of Keras's `fit`; nothing without `use_ema`.

        var_list: by default all variables. Differs: variables are found by identity, not by their place in the list.
        """
        if not self._options.use_ema:
            return
        self._state.require_built() if var_list is not None else self._meet()
        if self.iterations > 0:
            self._state.put_averages(tree.flat(var_list))

    def averaged(self) -> AbstractContextManager[None]:
        """A block in which the variables hold their averaged weights: `with optimizer.averaged(): evaluate(model)`.

        They are the rule's own, as of `ScheduleFreeSGD`; where it has none, `use_ema`'s. However the block ends, the
        variables have the bits that they had before; copies are kept so long. Inside, what trains, builds, saves or
        loads raises OptionError, on any thread. So do another such block, and calls in a CUDA graph before it.
        """
        from . import averages  # few need it

        self._meet()
        return averages.averaged(lambda: self._calls, self._graph is not None)

    def scale_loss(self, loss: Any) -> Any:
        """`loss * loss_scale_factor`, or the loss itself; `apply` divides the gradients by the same factor."""
        factor = self._options.loss_scale_factor
        return loss if factor is None else loss * factor

    def explain(
        self, form: str = "kernel", dtype: str | None = None, on: Collection[str] = (), off: Collection[str] = ()
    ) -> str:
        """What these options compile to, as text.

        dtype: by default that of the variables (of the first one); float32 before there are any.
        form: "rule", "latex", "kernel"; for processors "python", "llvm", "asm"; for GPUs "cuda", "launches" (what a
              step starts and copies), "mlir-cuda", "ptx", "sass"; "mlir" for MLIR's compilers; "summary" for loads,
              stores, bytes, vectors; "programs" for what the step or the shape chooses between. None needs a GPU.
        on, off: flags that the step or the shape decides, as they shall be; by default as where most is done.
        Raises BackendError for a compiler that is not installed.
        """
        from .shown import explained  # only wanted here

        return explained(self._calls, dtype, form, on, off)

    # Configs; states are saved in `checkpoints`.

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; names excluded from weight decay are kept under `weight_decay_exclusions`."""
        config = self._options.config()
        if self._state.excluded_names:
            config["weight_decay_exclusions"] = list(self._state.excluded_names)
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **arguments: Any) -> Self:
        """An optimizer from what `get_config` returned; `config` is not changed.

        A config holds no equations: `Optimizer.from_config(config, rule=...)` takes them as an argument.
        """
        remaining = {**config}
        if "rule" in inspect.signature(cls).parameters and not {"rule"} & {*config, *arguments}:
            refuse_without_rule(cls.__name__)
        excluded = remaining.pop("weight_decay_exclusions", None)
        optimizer = cls(**arguments, **remaining)
        if excluded:
            optimizer.exclude_from_weight_decay(var_names=excluded)
        return optimizer


RESERVED = {"self", "rule", "weight_decay_exclusions", *dir(Optimizer)} - {"learning_rate"}
"""Names in calls, in configs and of methods, beside those of options, that no rule can give to its own numbers."""


def check_rule(rule: Rule) -> None:
    """Raise RuleError if a number or switch of a rule could not be an argument and an attribute beside all others."""
    check_names(rule, RESERVED)
