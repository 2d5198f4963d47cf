"""The same rule in torch: the class of torch.optim of this name, with the numbers that ours has."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from rmsprop_jit import Optimizer
from rmsprop_jit.rules.table import TABLE

from ..torch_step import TorchStep
from ..workloads import Array
from .cases import COMPILED, FOREACH, FUSED, USUAL

OTHER_NAMES = {"learning_rate": "lr", "epsilon": "eps"}
"""What torch calls some of our numbers; others have the same name there."""

FURTHER_NAMES = {"alpha": "rho"}
"""Of torch's classes, what ours is called where there is no other of that name."""

PAIRS = {"betas": ("beta_1", "beta_2"), "etas": ("eta_minus", "eta_plus"), "step_sizes": ("smallest", "largest")}
"""Numbers that torch takes two at a time."""

AS_LARGE = {"adjust_lr_fn": "match_rms_adamw"}
"""What torch is told of Muon's steps, if ours are as large as Moonlight's."""

SWITCHES: Mapping[str, dict[str, bool]] = {FOREACH: {"foreach": True}, FUSED: {"fused": True}, COMPILED: {}, USUAL: {}}


def ours(rule: str) -> tuple[Optimizer, bool]:
    """Our optimizer, in torch's dialect where it has one; whether it has."""
    made: Any = TABLE[rule.lower()][1]
    has_dialect = "dialect" in inspect.signature(made).parameters
    return made(**({"dialect": "torch"} if has_dialect else {})), has_dialect


def arguments(made: Any, optimizer: Optimizer) -> dict[str, Any]:
    """The arguments of a class of torch's with which it does what an optimizer of ours does."""
    ours_of = {theirs: name for name, theirs in OTHER_NAMES.items()} | FURTHER_NAMES
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(made).parameters.items():
        if name in PAIRS:
            found[name] = tuple(getattr(optimizer, own) for own in PAIRS[name])
        elif hasattr(optimizer, ours_of.get(name, name)):
            value = getattr(optimizer, ours_of.get(name, name))
            found[name] = int(value) if type(parameter.default) is int and value == int(value or 0) else value
    found |= {"weight_decay": found["weight_decay"] or 0.0} if "weight_decay" in found else {}
    return found | (AS_LARGE if getattr(optimizer, "rms_rate", None) else {})


def in_host_memory(array: Array) -> Any:
    """A copy of an array as a tensor."""
    import torch

    return torch.from_numpy(array.copy())


def made_in_torch(
    rule: str,
    against: str,
    optimizer: Optimizer,
    parameters: list[Any],
    gradients: list[Any],
    as_tensor: Callable[[Any], Any] = in_host_memory,
) -> TorchStep:
    """A step of torch's on copies, where `as_tensor` makes them. Raises NotImplementedError for what torch lacks."""
    import torch

    named = {name.lower(): one for name, one in vars(torch.optim).items() if inspect.isclass(one)}
    made: Any = named[rule.lower()]
    switches = SWITCHES[against]
    if not switches.keys() <= inspect.signature(made).parameters.keys():
        raise NotImplementedError("torch has it not fused")
    tensors = [torch.nn.Parameter(as_tensor(p)) for p in parameters]
    for tensor, gradient in zip(tensors, gradients, strict=True):
        tensor.grad = as_tensor(gradient)
    try:
        theirs = made(tensors, **(arguments(made, optimizer) | switches))
    except RuntimeError as problem:
        if against != FUSED:
            raise
        raise NotImplementedError("torch has it not fused on this device") from problem
    return TorchStep(theirs, tensors, torch.compile(theirs.step) if against == COMPILED else None)
