"""An inverse problem, by a network that knows its physics: `rmsprop-jit demo inverse`.

A weight swings on a spring: u'' + k u = 0. Its place was measured a few times, with errors; k is not known. A network
u(t) is trained to be near what was measured, and to obey the equation everywhere; k is trained beside its weights.
Source: Raissi, Perdikaris and Karniadakis 2019, section 4 (physics-informed neural networks).

The gradients are those of the autograd package: `pip install autograd`.
"""

from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

import rmsprop_jit
from rmsprop_jit import Variable

WANTED, NOISE, HIDDEN = 4.0, 0.05, 16


class Result(NamedTuple):
    """What came of it."""

    first_loss: float
    last_loss: float
    k: float


def main(steps: int = 2000) -> Result:
    """Find k."""
    try:
        import autograd.numpy as anp
    except ImportError:
        raise rmsprop_jit.BackendError(
            "this example differentiates with the autograd package, which is not installed. "
            "Received: no module 'autograd'. Run `pip install autograd`."
        ) from None

    say = Console(highlight=False).print
    rng = np.random.default_rng(0)
    times = np.linspace(0, 3, 25)[:, None]
    measured = np.cos(np.sqrt(WANTED) * times) + rng.normal(0, NOISE, times.shape)
    everywhere = np.linspace(0, 3, 60)[:, None]

    inner = Variable(rng.normal(0, 1.5, (1, HIDDEN)), name="inner")
    shift = Variable(rng.normal(0, 1.5, HIDDEN), name="shift")
    outer = Variable(rng.normal(0, 0.3, (HIDDEN, 1)), name="outer")
    k = Variable(np.array(1.0), name="k")

    def loss() -> Any:
        """How far the network is from what was measured, and from obeying the equation."""
        near = anp.tanh(times @ inner + shift) @ outer - measured
        t = anp.tanh(everywhere @ inner + shift)
        second = (-2 * t * (1 - t**2) * inner**2) @ outer  # the second derivative of tanh, by the chain rule
        obeys = second + k * (t @ outer)
        return anp.mean(near**2) + 0.01 * anp.mean(obeys**2)

    optimizer = rmsprop_jit.Adam(rmsprop_jit.CosineDecay(0.02, steps))
    losses = []
    for step in range(steps):
        losses.append(optimizer.minimize(loss, [inner, shift, outer, k]))
        if step % (steps // 5) == 0:
            say(f"step {step:4d}  loss {losses[-1]:.4f}  k = {float(k):.2f}")
    say(f"found k = {float(k):.2f}; it was {WANTED}")
    return Result(losses[0], losses[-1], float(k))


if __name__ == "__main__":
    main()
