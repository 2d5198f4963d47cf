"""What torch and optax are asked, and what they have answered: cases by which rules and dialects are judged.

`python tests/support/record_judges.py` runs both on all cases and keeps their answers in `recorded_judges.npz`; tests
read that, so that neither has to be installed. Everything is made of seeds: a case asks the same on every machine.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from compare import Array

RECORD = Path(__file__).with_name("recorded_judges.npz")
SHAPES = ((5,), (3, 4), (2, 1, 3, 2))
STEPS = 20
RANDOM_SETS = 50

Options = dict[str, Any]


class Judged(NamedTuple):
    """A rule that others have, too.

    ours:    its class, with the dialect if it has one.
    theirs:  what it is called there.
    names:   what its arguments are called there; "betas.0" is the first of a tuple, "a b" is two arguments.
    usual:   all of its numbers, so that nobody's defaults are meant.
    sets:    what is asked instead.
    further: what they are told beside.
    """

    ours: str
    theirs: str
    names: dict[str, str]
    usual: Options
    sets: tuple[Options, ...]
    dialect: str | None = None
    further: Mapping[str, Any] = MappingProxyType({})

    def translated(self, options: Options) -> Options:
        """Our arguments as theirs."""
        found: Options = {**self.further}
        for name, value in options.items():
            for target in self.names.get(name, name).split():
                whole, _, place = target.partition(".")
                found[whole] = (*found.get(whole, ()), value) if place else value
        return found


class Case(NamedTuple):
    """One question: a rule with all of its options, and the seed of variables and gradients."""

    judged: Judged
    options: Options
    seed: int

    def variables(self) -> list[Array]:
        """Of float64, but numbers that float32 holds, too."""
        return _numbers(self.seed)

    def gradients(self) -> list[list[Array]]:
        """For each step: of changing sign and size, and in the same direction for some steps."""
        steady = _numbers(self.seed + 1)
        noise = [_numbers(self.seed + 2 + step) for step in range(STEPS)]
        return [[_narrow(a + b) for a, b in zip(one, steady, strict=True)] for one in noise]


def _narrow(x: Array) -> Array:
    return x.astype(np.float32).astype(np.float64)


def _numbers(seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [_narrow(rng.normal(size=shape)) for shape in SHAPES]


RATE = {"learning_rate": "lr"}
ADAM = {**RATE, "beta_1": "betas.0", "beta_2": "betas.1", "epsilon": "eps"}
BETAS = {"learning_rate": 0.125, "beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-3}
TORCH_RMSPROP = Judged("RMSprop", "RMSprop", {**RATE, "rho": "alpha", "epsilon": "eps"}, {}, (), "torch")

TORCH = (
    Judged(
        "SGD",
        "SGD",
        RATE,
        {"learning_rate": 0.125},
        (
            {"maximize": True},
            {"momentum": 0.9, "dampening": 0.25, "weight_decay": 0.1},
            {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1},
        ),
        "torch",
    ),
    Judged(
        "Adagrad",
        "Adagrad",
        {**RATE, "epsilon": "eps"},
        {"learning_rate": 0.125, "initial_accumulator_value": 0.0, "epsilon": 1e-10},
        (
            {},
            {"lr_decay": 0.1, "epsilon": 0.1, "initial_accumulator_value": 0.5},
            {"weight_decay": 0.1, "maximize": True},
        ),
        "torch",
    ),
    Judged(
        "Adadelta",
        "Adadelta",
        {**RATE, "epsilon": "eps"},
        {"learning_rate": 1.0, "rho": 0.9, "epsilon": 1e-3},
        ({}, {"rho": 0.5, "epsilon": 0.1, "learning_rate": 0.5}, {"weight_decay": 0.1, "maximize": True}),
        "torch",
    ),
    Judged(
        "Adam",
        "Adam",
        ADAM,
        BETAS,
        ({}, {"beta_1": 0.5, "epsilon": 0.1}, {"amsgrad": True, "beta_2": 0.5, "weight_decay": 0.1, "maximize": True}),
        "torch",
    ),
    Judged(
        "AdamW",
        "AdamW",
        ADAM,
        {**BETAS, "weight_decay": 0.1},
        ({}, {"weight_decay": 0.5, "epsilon": 0.1}, {"amsgrad": True, "beta_2": 0.5, "maximize": True}),
        "torch",
    ),
    Judged(
        "Adamax",
        "Adamax",
        ADAM,
        BETAS,
        ({}, {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 0.5}, {"weight_decay": 0.1, "maximize": True}),
        "torch",
    ),
    # torch keeps the product of momenta in float32, which others than these numbers show in the ninth place
    Judged(
        "Nadam",
        "NAdam",
        ADAM,
        {**BETAS, "momentum_decay": 0.004},
        ({}, {"momentum_decay": 1.0, "epsilon": 0.1}, {"momentum_decay": 0.25, "weight_decay": 0.1, "maximize": True}),
        "torch",
    ),
    Judged(
        "RAdam",
        "RAdam",
        ADAM,
        BETAS,
        ({}, {"beta_1": 0.5, "epsilon": 0.1}, {"beta_2": 0.9, "weight_decay": 0.1, "maximize": True}),
        further={"decoupled_weight_decay": True},
    ),
    Judged(
        "Rprop",
        "Rprop",
        {
            **RATE,
            "eta_minus": "etas.0",
            "eta_plus": "etas.1",
            "smallest": "step_sizes.0",
            "largest": "step_sizes.1",
        },
        {"learning_rate": 0.125, "eta_minus": 0.5, "eta_plus": 1.2, "smallest": 1e-6, "largest": 50.0},
        ({}, {"eta_minus": 0.25, "eta_plus": 1.5, "smallest": 0.1}, {"largest": 0.25, "maximize": True}),
    ),
    Judged(
        "Adafactor",
        "Adafactor",
        {
            **RATE,
            "beta_2_decay": "beta2_decay",
            "epsilon_1": "eps.0",
            "epsilon_2": "eps.1",
            "clip_threshold": "d",
        },
        {"learning_rate": 0.125, "beta_2_decay": -0.8, "epsilon_1": 1e-7, "epsilon_2": 1e-3, "clip_threshold": 1.0},
        (
            {},
            {"learning_rate": 0.5, "beta_2_decay": -0.5, "epsilon_1": 0.5, "clip_threshold": 1.5},
            {"weight_decay": 0.1, "epsilon_2": 1.0, "maximize": True},
        ),
        "torch",
    ),
)
"""torch.optim. Its RAdam couples decay to the gradient unless it is told not to."""

MOMENTS = {"beta_1": "b1", "beta_2": "b2", "beta_3": "b3", "epsilon": "eps"}
DECAYING = {"weight_decay": 0.0}
OPTAX_RMSPROP = Judged("RMSprop", "rmsprop", {"rho": "decay", "epsilon": "eps"}, {}, (), "optax")

OPTAX = (
    Judged(
        "AdaBelief",
        "adabelief",
        {**MOMENTS, "epsilon": "eps eps_root"},
        BETAS,
        ({}, {"beta_1": 0.5, "beta_2": 0.9}, {"epsilon": 0.1}),
    ),
    # its averages begin as the initial value, also that of gradients, and their bias is corrected: not so in the paper
    Judged("Yogi", "yogi", MOMENTS, {**BETAS, "beta_1": 0.0, "beta_2": 0.0}, ({}, {"epsilon": 0.1})),
    # it adds epsilon to a root without bias
    Judged("RAdam", "radam", MOMENTS, {**BETAS, "epsilon": 0.0}, ({}, {"beta_1": 0.5}, {"beta_2": 0.9})),
    Judged(
        "NovoGrad",
        "novograd",
        {**MOMENTS, "l2": "weight_decay"},
        {**BETAS, "l2": 0.0},
        ({}, {"beta_1": 0.5, "beta_2": 0.5}, {"l2": 0.1, "epsilon": 0.1}),
    ),
    # the gradient's difference has the factor 1 - beta_2 there, where the paper and its authors' code have beta_2
    Judged(
        "Adan",
        "adan",
        MOMENTS,
        {**BETAS, "beta_2": 0.5, "beta_3": 0.99},
        ({}, {"beta_1": 0.5, "beta_3": 0.5}, {"epsilon": 0.1, "weight_decay": 0.1}),
        further={"eps_root": 0.0},
    ),
    # with decay its trust ratio is of the decayed step, as in the paper; ours decays apart, as Keras's does
    Judged("Lamb", "lamb", MOMENTS, BETAS, ({}, {"beta_1": 0.5, "epsilon": 0.1}, {"beta_2": 0.5}), further=DECAYING),
    # with decay its trust ratio divides by the norm of the sum; the paper by the sum of norms
    Judged(
        "LARS",
        "lars",
        {"epsilon": "eps"},
        {"learning_rate": 0.5, "momentum": 0.9, "trust_coefficient": 0.125, "epsilon": 0.0},
        ({}, {"epsilon": 0.1}, {"momentum": 0.5, "trust_coefficient": 0.5}),
    ),
    Judged(
        "Lion",
        "lion",
        MOMENTS,
        {"learning_rate": 0.125, "beta_1": 0.9, "beta_2": 0.99},
        ({}, {"beta_1": 0.5, "beta_2": 0.8}, {"weight_decay": 0.1}),
        further=DECAYING,
    ),
    # it has no average
    Judged(
        "Tiger",
        "sign_sgd",
        {"beta": "", "learning_rate": "learning_rate"},
        {"learning_rate": 0.125, "beta": 0.0},
        ({},),
    ),
    Judged(
        "ADOPT",
        "contrib.adopt",
        {**MOMENTS, "clipped": "use_clipping"},
        {**BETAS, "clipped": True},
        ({}, {"clipped": False, "epsilon": 0.5}, {"beta_1": 0.5, "beta_2": 0.5}),
    ),
    # its rate has no bound of its own, and its two largest axes are rows and columns, if they are long enough
    Judged(
        "Adafactor",
        "adafactor",
        {
            "learning_rate": "learning_rate",
            "beta_2_decay": "",
            "epsilon_1": "eps",
            "epsilon_2": "",
            "clip_threshold": "clipping_threshold",
        },
        {"learning_rate": 0.125, "beta_2_decay": -0.8, "epsilon_1": 1e-30, "epsilon_2": 1e-3, "clip_threshold": 1.0},
        ({}, {"learning_rate": 0.0625, "epsilon_1": 0.5}, {"learning_rate": 0.2, "clip_threshold": 1.5}),
        further={"min_dim_size_to_factor": 1, "decay_rate": np.float64(0.8)},  # of float64: so are its averages then
    ),
    Judged(
        "SM3",
        "sm3",
        {"learning_rate": "learning_rate", "epsilon": ""},
        {"learning_rate": 0.125, "momentum": 0.9, "epsilon": 1e-8},
        ({}, {"momentum": 0.5}, {"momentum": 0.0, "learning_rate": 0.5}),
    ),
    Judged(
        "AdEMAMix",
        "contrib.ademamix",
        MOMENTS,
        {**BETAS, "beta_3": 0.999, "alpha": 5.0},
        ({}, {"beta_3": 0.9, "alpha": 2.0}, {"epsilon": 0.1, "weight_decay": 0.1}),
    ),
)
"""optax, where it has the same rule for some arguments. Its Rprop keeps steps, not gradients; its Sophia moves before
it reads the Hessian, and corrects a bias: torch and the paper judge these."""


def random_sets(judged: Judged) -> Iterator[Options]:
    """Options of RMSprop in a dialect; epsilons that float32 sees beside a centered variance."""
    for seed in range(RANDOM_SETS):
        rng = np.random.default_rng(seed)
        options: Options = {
            "learning_rate": float(rng.choice([0.5, 0.125, 2.0**-7])),
            "rho": float(rng.choice([0.9, 0.99, 0.5])),
            "momentum": float(rng.choice([0.0, 0.5, 0.9])),
            "epsilon": float(rng.choice([0.1, 1e-2])),
            "centered": bool(rng.integers(2)),
        }
        if judged.dialect == "optax":
            yield options | {name: bool(rng.integers(2)) for name in ("nesterov", "bias_correction")}
        else:
            yield options | {"weight_decay": float(rng.choice([0.0, 0.1])), "maximize": bool(rng.integers(4) == 0)}


def cases(judged: Judged, seed: int = 0) -> list[Case]:
    """All questions about a rule; `seed` makes others of them."""
    sets = judged.sets or tuple(random_sets(judged))
    return [Case(judged, {**judged.usual, **own}, 100 * i + 10_000 * seed) for i, own in enumerate(sets)]


JUDGES = {"torch": (TORCH_RMSPROP, *TORCH), "optax": (OPTAX_RMSPROP, *OPTAX)}


def key(judge: str, judged: Judged) -> str:
    """By which answers are kept."""
    return f"{judge}/{judged.ours}"
