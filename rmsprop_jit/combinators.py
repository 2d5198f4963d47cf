"""Combinators: rules around rules, each fused into the passes of what it is put around.

::

    from rmsprop_jit import Adam, Optimizer, combinators

    optimizer = Optimizer(combinators.lookahead(combinators.cautious(Adam), steps=6), learning_rate=1e-3)

Each takes a `codegen.Rule`, or a bundled class for its rule, and returns a `codegen.Rule`. The numbers given here are
defaults of hyperparameters: `Optimizer(heavy_ball(Adam), ball_momentum=0.95)` sets one, and it can be assigned later.

A rule hands its step on as `{p: p - u}`; a combinator takes `u` from there. Those that write the parameter otherwise
(ScheduleFreeSGD, a rule that clips the parameter) are refused with RuleError. A step has the learning rate in it.
Names inside stay as they are; one that is taken gets a number, such as `momentum_2`. The option `weight_decay` acts
where it does in the rule inside, once; in a chain, where it does in the one of its rules that says anything of it.
"""

from __future__ import annotations

from typing import Any

from .codegen import Expr, Flag, Hyper, Rule, RuleError, Slot, but, maximum, mean_of, sqrt, sum_of_squares, where
from .codegen.names import Names
from .composing import Inside, RuleLike, Stores, combined, rule_of

__all__ = [
    "cautious",
    "centralised",
    "chain",
    "clip_adaptive",
    "coupled",
    "decoupled",
    "ema",
    "heavy_ball",
    "lookahead",
    "nesterov",
]

LEAST_AGREEMENT = 1e-3
"""Of the elements of a tensor, as in the authors' code of cautious optimizers."""


def chain(*rules: RuleLike) -> Rule:
    """The step of each rule as the gradient of the next; that of the last is made.

    All but the last take steps of rate 1: the learning rate is applied once. `chain(Adam, SGD)` is Adam with SGD's
    momentum after it. Differs from optax's: the elements are whole rules, so that no sign or rate is added by hand.
    Raises RuleError for fewer than two rules.
    """
    insides = [rule_of(rule) for rule in rules]
    if len(rules) < 2:
        raise RuleError(f"a chain has two rules or more. Received: {len(rules)}. Use the rule itself.")

    def equations(*given: Any) -> Stores:
        *before, last, p, g, _s, _h, _on = given
        stores: Stores = {}
        for inside in before:
            g, more = inside.step(p, g, rate=1.0)
            stores |= more
        step, more = last.step(p, g)
        return {**stores, **more, p: p - step}

    return combined(chain, rules, insides, equations)


def heavy_ball(rule: RuleLike, momentum: float = 0.9) -> Rule:
    """Polyak 1964: steps add up, with `ball_momentum` of the sum so far; the sum is what is gone."""
    return _with_ball(heavy_ball, rule, momentum, is_ahead=False)


def nesterov(rule: RuleLike, momentum: float = 0.9) -> Rule:
    """Sutskever et al. 2013, eq. 3-4, as optax's `trace(nesterov=True)`: one step of the sum is looked ahead."""
    return _with_ball(nesterov, rule, momentum, is_ahead=True)


def _with_ball(made_by: Any, rule: RuleLike, momentum: float, is_ahead: bool) -> Rule:
    def equations(inside: Inside, p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Stores:
        step, stores = inside.step(p, g)
        ball = step + h.ball_momentum * s.ball
        gone = step + h.ball_momentum * ball if is_ahead else ball
        return {**stores, s.ball: ball, p: p - gone}

    hypers = {"ball_momentum": Hyper(momentum, low=0.0, high=1.0)}
    return combined(made_by, (rule, momentum), [rule_of(rule)], equations, slots={"ball": Slot(0.0)}, hypers=hypers)


def ema(rule: RuleLike, decay: float = 0.9) -> Rule:
    """A running average of steps, without its bias, in place of each step; as optax's `ema` with `debias=True`.

    The average of weights is an option of every optimizer: `use_ema`.
    """

    def equations(inside: Inside, p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Stores:
        step, stores = inside.step(p, g)
        smooth = (1 - h.smooth_decay) * step + h.smooth_decay * s.smooth
        return {**stores, s.smooth: smooth, p: p - smooth * (1 / (1 - h.smooth_decay**h.step))}

    hypers = {"smooth_decay": Hyper(decay, low=0.0, high=1.0, high_open=True)}
    return combined(ema, (rule, decay), [rule_of(rule)], equations, slots={"smooth": Slot(0.0)}, hypers=hypers)


def coupled(rule: RuleLike, decay: float = 0.01) -> Rule:
    """Decay as part of the gradient, which goes through all that the rule makes of it: `g + coupled_decay * p`."""

    def equations(inside: Inside, p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Stores:
        step, stores = inside.step(p, g + h.coupled_decay * p)
        return {**stores, p: p - step}

    return combined(coupled, (rule, decay), [rule_of(rule)], equations, hypers={"coupled_decay": Hyper(decay, low=0.0)})


def decoupled(rule: RuleLike, decay: float = 0.01) -> Rule:
    """Loshchilov & Hutter 2019: decay beside the step, times the rate, of the same old parameter.

    Inside another combinator the decay is part of the step. What surrounds all of a rule is the option `weight_decay`.
    """

    def equations(inside: Inside, p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Stores:
        step, stores = inside.step(p, g)
        return {**stores, p: p - (step + h.learning_rate * (h.decoupled_decay * p))}

    hypers = {"decoupled_decay": Hyper(decay, low=0.0)}
    return combined(decoupled, (rule, decay), [rule_of(rule)], equations, hypers=hypers)


def is_synchronized(h: Any) -> bool:
    """Whether slow weights follow in this step."""
    return bool(h.step % h.slow_steps == 0)


def lookahead(rule: RuleLike, steps: int = 5, rate: float = 0.5) -> Rule:
    """Zhang et al. 2019, algorithm 1: every so many steps slow weights follow the fast ones, which return to them.

    In the steps between nothing of the slow weights is moved. They start as the parameters. A combinator around it is
    refused, since the fast weights are put, and not moved by a step.
    """

    def equations(inside: Inside, p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Stores:
        step, stores = inside.step(p, g)
        slow = s.slow + h.slow_rate * ((p - step) - s.slow)
        return {**stores, s.slow: where(on.slow_due, slow, s.slow), p: where(on.slow_due, slow, p - step)}

    return combined(
        lookahead,
        (rule, steps, rate),
        [rule_of(rule)],
        equations,
        slots={"slow": Slot("parameter")},
        hypers={"slow_steps": Hyper(steps, low=1.0, whole=True), "slow_rate": Hyper(rate, low=0.0, high=1.0)},
        flags={"slow_due": Flag(when=is_synchronized)},
    )


def cautious(rule: RuleLike, name: str | None = None) -> Rule:
    """Liang et al. 2024, algorithm 1: only elements whose step and gradient have one sign are moved, and by more.

    Steps are divided by the part of a tensor's elements that is moved, at least 0.001.
    name: of the rule that is made; by default `cautious_<name>`.
    """

    def equations(inside: Inside, p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Stores:
        step, stores = inside.step(p, g)
        moved = where(step * g > 0, 1.0, 0.0)
        return {**stores, p: p - step * moved / maximum(mean_of(moved), LEAST_AGREEMENT)}

    return combined(cautious, (rule, name), [rule_of(rule)], equations, name=name)


def has_rows(shape: tuple[int, ...]) -> bool:
    """Whether a tensor has more axes than one."""
    return len(shape) > 1


def centralised(rule: RuleLike) -> Rule:
    """Yong et al. 2020, eq. 1: gradients without the mean of what belongs to each place along the first axis.

    As optax's `centralize`; vectors stay as they are.
    """

    def equations(inside: Inside, p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Stores:
        step, stores = inside.step(p, where(on.rows, g - mean_of(g, over=but(0)), g))
        return {**stores, p: p - step}

    return combined(centralised, (rule,), [rule_of(rule)], equations, flags={"rows": Flag(of=has_rows)})


LEAST_NORM = 1e-6
"""By which at least a gradient is divided, as in optax; the bound of its norm is far from it."""


def is_one_unit(shape: tuple[int, ...]) -> bool:
    """Whether all of a tensor is one unit: a vector, whatever axes of one place it has beside."""
    return sum(places != 1 for places in shape) <= 1


def has_heads(shape: tuple[int, ...]) -> bool:
    """Whether a tensor has a unit for each place along its last two axes."""
    return len(shape) == 3 and not is_one_unit(shape)


def clip_adaptive(rule: RuleLike, clipping: float = 0.01, epsilon: float = 1e-3) -> Rule:
    """Brock et al. 2021, eq. 3: no unit's gradient has a norm of more than `unit_clipping` times that of its weights.

    Units as in optax's `adaptive_grad_clip`: along all axes but the last, in tensors of three axes along the first.
    Norms of weights count as `unit_epsilon` at least.
    """

    def equations(inside: Inside, p: Expr, g: Expr, s: Names, h: Names, on: Names) -> Stores:
        weights, norm = (_norm_of_units(x, on) for x in (p, g))
        most = h.unit_clipping * maximum(weights, h.unit_epsilon)
        step, stores = inside.step(p, g * where(norm < most, 1.0, most / maximum(norm, LEAST_NORM)))
        return {**stores, p: p - step}

    return combined(
        clip_adaptive,
        (rule, clipping, epsilon),
        [rule_of(rule)],
        equations,
        hypers={"unit_clipping": Hyper(clipping, low=0.0), "unit_epsilon": Hyper(epsilon, low=0.0)},
        flags={"one_unit": Flag(of=is_one_unit), "heads": Flag(of=has_heads)},
    )


def _norm_of_units(x: Expr, on: Names) -> Expr:
    squares = where(on.heads, sum_of_squares(x, over=0), sum_of_squares(x, over=but(-1)))
    return sqrt(where(on.one_unit, sum_of_squares(x), squares))
