"""
Other people's optimizers as rules, each written as its paper's equations.

They are here to show that the language is large enough, and to try the compiler on rules that nobody had in mind when
it was written. `theta` of the papers is p, `alpha` is h.learning_rate, `t` is h.step.
"""

import itertools
from collections.abc import Iterator

from rmsprop_jit.codegen import (
    Expr,
    Flag,
    Hyper,
    Rule,
    all_finite,
    clip,
    exp,
    log,
    max_abs,
    maximum,
    minimum,
    new,
    rounded,
    sign,
    sqrt,
    square,
    sum_of,
    sum_of_squares,
    where,
)
from rmsprop_jit.codegen.names import Names


def sgd(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Polyak 1964; nesterov: Sutskever et al. 2013, eq. 3-4, in the form that evaluates gradients at the parameters."""
    velocity = h.momentum * s.velocity - h.learning_rate * g
    ahead = where(on.nesterov, h.momentum * velocity - h.learning_rate * g, velocity)
    return {s.velocity: velocity, p: p + where(on.momentum, ahead, -(h.learning_rate * g))}


SGD = Rule(
    "sgd",
    sgd,
    slots={"velocity": 0.0},
    hypers={"momentum": Hyper(0.9, low=0.0, high=1.0)},
    flags={"momentum": Flag(follows="momentum"), "nesterov": False},
)


def adagrad(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Duchi, Hazan & Singer 2011, fig. 1, diagonal form."""
    total = s.total + square(g)
    return {s.total: total, p: p - h.learning_rate * g / (sqrt(total) + h.epsilon)}


ADAGRAD = Rule("adagrad", adagrad, slots={"total": 0.1}, hypers={"epsilon": 1e-7})


def adadelta(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Zeiler 2012, algorithm 1: the step uses the old average of squared steps."""
    squares = h.rho * s.squares + (1 - h.rho) * square(g)
    step = -(sqrt(s.steps + h.epsilon) / sqrt(squares + h.epsilon)) * g
    return {s.squares: squares, s.steps: h.rho * s.steps + (1 - h.rho) * square(step), p: p + h.learning_rate * step}


ADADELTA = Rule("adadelta", adadelta, slots={"squares": 0.0, "steps": 0.0}, hypers={"rho": 0.95, "epsilon": 1e-6})

BETAS: dict[str, Hyper | float] = {
    "beta_1": Hyper(0.9, low=0.0, high=1.0),
    "beta_2": Hyper(0.999, low=0.0, high=1.0),
    "epsilon": 1e-8,
}
MOMENTS = {"m": 0.0, "v": 0.0}


def moments(g: Expr, s: Names, h: Names) -> tuple[Expr, Expr]:
    """The two running moments of Adam."""
    return h.beta_1 * s.m + (1 - h.beta_1) * g, h.beta_2 * s.v + (1 - h.beta_2) * square(g)


def adam(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Kingma & Ba 2015, algorithm 1; amsgrad: Reddi, Kale & Kumar 2018, algorithm 2."""
    m, v = moments(g, s, h)
    largest = maximum(s.largest, v)
    seen = where(on.amsgrad, largest, v)
    unbiased_m = m / (1 - h.beta_1**h.step)
    unbiased_v = seen / (1 - h.beta_2**h.step)
    step = h.learning_rate * unbiased_m / (sqrt(unbiased_v) + h.epsilon)
    return {s.m: m, s.v: v, s.largest: largest, p: p - step}


ADAM = Rule("adam", adam, slots=MOMENTS | {"largest": 0.0}, hypers=BETAS, flags={"amsgrad": False})


def adamw(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Loshchilov & Hutter 2019, algorithm 2."""
    m, v = moments(g, s, h)
    unbiased_m, unbiased_v = m / (1 - h.beta_1**h.step), v / (1 - h.beta_2**h.step)
    step = h.learning_rate * unbiased_m / (sqrt(unbiased_v) + h.epsilon) + h.learning_rate * h.decay * p
    return {s.m: m, s.v: v, p: p - step}


ADAMW = Rule("adamw", adamw, slots=MOMENTS, hypers=BETAS | {"decay": 0.01})


def adamax(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Kingma & Ba 2015, algorithm 2."""
    m = h.beta_1 * s.m + (1 - h.beta_1) * g
    u = maximum(h.beta_2 * s.u, abs(g))
    return {s.m: m, s.u: u, p: p - h.learning_rate / (1 - h.beta_1**h.step) * m / (u + h.epsilon)}


ADAMAX = Rule("adamax", adamax, slots={"m": 0.0, "u": 0.0}, hypers=BETAS)


def lion(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Chen et al. 2023, algorithm 2: the sign of one average, another one kept."""
    direction = sign(h.beta_1 * s.m + (1 - h.beta_1) * g)
    return {p: p - h.learning_rate * (direction + h.decay * p), s.m: h.beta_2 * s.m + (1 - h.beta_2) * g}


LION = Rule("lion", lion, slots={"m": 0.0}, hypers={"beta_1": 0.9, "beta_2": 0.99, "decay": 0.01})


def adabelief(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Zhuang et al. 2020, algorithm 2."""
    m = h.beta_1 * s.m + (1 - h.beta_1) * g
    belief = h.beta_2 * s.v + (1 - h.beta_2) * square(g - m) + h.epsilon
    unbiased_m, unbiased = m / (1 - h.beta_1**h.step), belief / (1 - h.beta_2**h.step)
    return {s.m: m, s.v: belief, p: p - h.learning_rate * unbiased_m / (sqrt(unbiased) + h.epsilon)}


ADABELIEF = Rule("adabelief", adabelief, slots=MOMENTS, hypers=BETAS)


def yogi(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Zaheer et al. 2018, algorithm 2."""
    m = h.beta_1 * s.m + (1 - h.beta_1) * g
    v = s.v - (1 - h.beta_2) * sign(s.v - square(g)) * square(g)
    return {s.m: m, s.v: v, p: p - h.learning_rate * m / (sqrt(v) + h.epsilon)}


YOGI = Rule("yogi", yogi, slots={"m": 0.0, "v": 1e-6}, hypers=BETAS | {"epsilon": 1e-3})


def adopt(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Taniguchi et al. 2024, algorithm 2: the first step only measures, later ones divide by the old average."""
    first = h.step == 1
    scaled = g / maximum(sqrt(s.v), h.epsilon)
    bounded = where(on.clipped, clip(scaled, -h.bound, h.bound), scaled)
    m = where(first, 0.0, h.beta_1 * s.m + (1 - h.beta_1) * bounded)
    v = where(first, square(g), h.beta_2 * s.v + (1 - h.beta_2) * square(g))
    return {s.m: m, s.v: v, p: where(first, p, p - h.learning_rate * m)}


ADOPT = Rule("adopt", adopt, slots=MOMENTS, hypers=BETAS | {"bound": 1.0, "epsilon": 1e-6}, flags={"clipped": True})


def lamb(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """You et al. 2020, algorithm 2: the norms of a parameter and of its update set the length of the step."""
    m, v = moments(g, s, h)
    unbiased_m, unbiased_v = m / (1 - h.beta_1**h.step), v / (1 - h.beta_2**h.step)
    update = unbiased_m / (sqrt(unbiased_v) + h.epsilon) + h.decay * p
    weight_norm, update_norm = sqrt(sum_of_squares(p)), sqrt(sum_of_squares(update))
    trust = where((weight_norm > 0) & (update_norm > 0), weight_norm / update_norm, 1.0)
    return {s.m: m, s.v: v, p: p - h.learning_rate * trust * update}


LAMB = Rule("lamb", lamb, slots=MOMENTS, hypers=BETAS | {"decay": 0.01, "epsilon": 1e-6})


def mars(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Yuan et al. 2024, algorithm 2 (MARS-AdamW): the corrected gradient is clipped to norm 1."""
    corrected = g + h.gamma * (h.beta_1 / (1 - h.beta_1)) * (g - s.before)
    norm = sqrt(sum_of_squares(corrected))
    c = where(norm > 1, corrected / norm, corrected)
    m = h.beta_1 * s.m + (1 - h.beta_1) * c
    v = h.beta_2 * s.v + (1 - h.beta_2) * square(c)
    unbiased_m, unbiased_v = m / (1 - h.beta_1**h.step), v / (1 - h.beta_2**h.step)
    step = h.learning_rate * (unbiased_m / (sqrt(unbiased_v) + h.epsilon) + h.decay * p)
    return {s.m: m, s.v: v, s.before: g, p: p - step}


MARS = Rule("mars", mars, slots=MOMENTS | {"before": 0.0}, hypers=BETAS | {"gamma": 0.025, "decay": 0.01})


def power_sign(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Bello et al. 2017: PowerSign; add_sign: AddSign; faded: with the cosine's place taken by an exponential."""
    m = h.beta_1 * s.m + (1 - h.beta_1) * g
    agree = sign(g) * sign(m) * where(on.faded, exp(-h.rate * h.step), 1.0)
    factor = where(on.add_sign, 1 + agree, exp(agree))
    return {s.m: m, p: p - h.learning_rate * factor * g}


POWER_SIGN = Rule(
    "power_sign",
    power_sign,
    slots={"m": 0.0},
    hypers={"beta_1": 0.9, "rate": 0.1},
    flags={"add_sign": False, "faded": False},
)


def rprop(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Riedmiller & Braun 1993; iRprop-: Igel & Huesken 2000, where a changed sign forgets the gradient."""
    agreement = s.before * g
    grown, shrunk = minimum(s.size * h.up, h.largest), maximum(s.size * h.down, h.smallest)
    size = where(agreement > 0, grown, where(agreement < 0, shrunk, s.size))
    used = where(agreement < 0, 0.0, g)
    return {s.size: size, s.before: used, p: p - sign(used) * new(s.size)}


RPROP = Rule(
    "rprop",
    rprop,
    slots={"before": 0.0, "size": 0.1},
    hypers={"up": 1.2, "down": 0.5, "largest": 50.0, "smallest": 1e-6},
)


def padam(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Chen et al. 2018 (Padam), algorithm 1: a power between SGD's 0 and Adam's 1/2."""
    m, v = moments(g, s, h)
    largest = maximum(s.largest, v)
    return {s.m: m, s.v: v, s.largest: largest, p: p - h.learning_rate * m / (largest + h.epsilon) ** h.partial}


PADAM = Rule("padam", padam, slots=MOMENTS | {"largest": 0.0}, hypers=BETAS | {"partial": 0.125})


def exponentiated(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Kivinen & Warmuth 1997 (EG), on the logarithm of a positive parameter."""
    return {p: exp(log(abs(p) + h.epsilon) - h.learning_rate * clip(g, -1.0, 1.0))}


EXPONENTIATED = Rule("exponentiated", exponentiated, hypers={"epsilon": 1e-3})


def normalised(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Hazan, Levy & Shalev-Shwartz 2015 (NGD) over all tensors; a step that is not finite is left out."""
    length = sqrt(sum_of_squares(g, over="all"))
    usable = all_finite(g, over="all") & (length > h.epsilon)
    return {p: where(usable, p - h.learning_rate * g / length, p)}


NORMALISED = Rule("normalised", normalised, hypers={"epsilon": 1e-12})


def largest_first(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
    """Steepest descent in the maximum norm, minus the mean of a tensor, with a decaying rate; no one's paper."""
    centred = g - sum_of(g) / h.count
    scale = where(all_finite(g) & ~(max_abs(g) == 0), 1 / max_abs(g), 0.0)
    return {p: p - rounded(h.learning_rate / sqrt(h.step)) * scale * centred}


LARGEST_FIRST = Rule("largest_first", largest_first, hypers={"count": Hyper(1000.0, per="tensor")})

RULES = [
    SGD,
    ADAGRAD,
    ADADELTA,
    ADAM,
    ADAMW,
    ADAMAX,
    LION,
    ADABELIEF,
    YOGI,
    ADOPT,
    LAMB,
    MARS,
    POWER_SIGN,
    RPROP,
    PADAM,
    EXPONENTIATED,
    NORMALISED,
    LARGEST_FIRST,
]

WITH_NORMS = (LAMB, MARS, NORMALISED, LARGEST_FIRST)
"""Rules whose reductions may differ in the last bits from one order of summation to another."""


def flag_sets(rule: Rule) -> Iterator[tuple[str, ...]]:
    """Every combination of a rule's flags."""
    names = list(rule.flags)
    for on in itertools.product((False, True), repeat=len(names)):
        yield tuple(name for name, chosen in zip(names, on, strict=True) if chosen)


ALL = [(rule, flags) for rule in RULES for flags in flag_sets(rule)]
"""Every rule with every combination of its flags."""


def label(value: object) -> str | None:
    """The name of a rule or of a set of flags in a test's id."""
    return value.name if isinstance(value, Rule) else "+".join(value) if isinstance(value, tuple) else None
