"""A model of torch's, trained by one launch a step: `rmsprop-jit demo beside_torch`.

A network of many small layers learns two spirals, once by `torch.optim.RMSprop` and once by the optimizer that takes
its place: the same arguments, the same losses, and checkpoints of either load in the other. Midway the states are
exchanged. Then comes what takes torch further passes: a bound of the norm of gradients, and averaged weights.

torch is a package of its own: `pip install torch`.
"""

import copy
import itertools
import time
from typing import Any, NamedTuple

from rich.console import Console

import rmsprop_jit

OPTIONS: dict[str, Any] = {"lr": 1e-3, "momentum": 0.5, "centered": True, "weight_decay": 1e-4}


class Result(NamedTuple):
    """What came of it: the largest difference between the losses of the two, and the last ones."""

    difference: float
    last_loss: float
    bounded_loss: float
    averaged_loss: float


def spirals(torch: Any, count: int = 200) -> tuple[Any, Any]:
    """Points of two spirals, and of which each is."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.rand(count, 1, generator=generator, dtype=torch.float64) * 6
    kind = torch.arange(count)[:, None] % 2
    angle = turn + torch.pi * kind
    return torch.cat([turn * angle.cos(), turn * angle.sin()], 1) / 6, kind.to(torch.float64)


def model_of(torch: Any, layers: int = 8) -> Any:
    """The network, of the same weights each time."""
    torch.manual_seed(1)
    sizes = [2, *[24] * layers, 1]
    made = [(torch.nn.Linear(a, b, dtype=torch.float64), torch.nn.Tanh()) for a, b in itertools.pairwise(sizes)]
    return torch.nn.Sequential(*[part for pair in made for part in pair][:-1])


def trained(torch: Any, model: Any, optimizer: Any, steps: int) -> tuple[list[float], float]:
    """The losses of so many steps, and what the optimizer took of a second for one of them."""
    points, kinds = spirals(torch)
    losses, spent = [], []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(points), kinds)
        loss.backward()
        begin = time.perf_counter()
        optimizer.step()
        spent.append(time.perf_counter() - begin)
        losses.append(loss.item())
    return losses, min(spent)


def main(steps: int = 100) -> Result:
    """Train by both, exchange their states, go on; then with what is ours."""
    try:
        import torch

        import rmsprop_jit.torch as fused
    except ImportError:
        raise rmsprop_jit.BackendError(
            "this example trains a model of torch's, which is not installed. Received: no module 'torch'. "
            "Run `pip install torch`."
        ) from None

    torch.set_num_threads(1)  # of products so small, several threads make no haste
    say = Console(highlight=False).print
    ours, theirs = model_of(torch), model_of(torch)
    optimizer = fused.RMSprop(ours.parameters(), **OPTIONS)
    other = torch.optim.RMSprop(theirs.parameters(), **OPTIONS)
    losses, took = trained(torch, ours, optimizer, steps)
    their_losses, their_took = trained(torch, theirs, other, steps)
    saved, their_saved = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(other.state_dict())
    optimizer.load_state_dict(their_saved)
    other.load_state_dict(saved)
    losses += trained(torch, ours, optimizer, steps)[0]
    their_losses += trained(torch, theirs, other, steps)[0]
    difference = max(abs(a - b) for a, b in zip(losses, their_losses, strict=True))
    say(f"loss: {losses[0]:.3f}, after {2 * steps} steps {losses[-1]:.3f}")
    say(f"beside torch.optim.RMSprop: {difference:.0e} apart, in {took / their_took:.0%} of the time of a step")

    model = model_of(torch)
    bounded = fused.RMSprop(model.parameters(), **OPTIONS, clip_grad_norm=0.1, ema=0.95)
    bounded_loss = trained(torch, model, bounded, 2 * steps)[0][-1]
    averaged = copy.deepcopy(model)
    for own, kept in zip(averaged.parameters(), model.parameters(), strict=True):
        own.data.copy_(bounded.state[kept]["ema"])
    points, kinds = spirals(torch)
    with torch.no_grad():
        averaged_loss = torch.nn.functional.binary_cross_entropy_with_logits(averaged(points), kinds).item()
    say(f"with a bound of the norm: {bounded_loss:.3f}; of averaged weights: {averaged_loss:.3f}")
    return Result(difference, losses[-1], bounded_loss, averaged_loss)


if __name__ == "__main__":
    main()
