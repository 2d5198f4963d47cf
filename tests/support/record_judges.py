"""Asks torch and optax all cases of `judges`, and keeps what they answer: `python tests/support/record_judges.py`."""

import operator
from collections.abc import Callable

import numpy as np
from compare import Array
from judges import JUDGES, RECORD, Case, cases, key

Answer = Callable[[Case], Array]


def torch_trained(case: Case) -> Array:
    """What torch makes of the variables, as one array."""
    import torch

    variables = [torch.tensor(one, requires_grad=True) for one in case.variables()]
    made = getattr(torch.optim, case.judged.theirs)
    optimizer = made(variables, **case.judged.translated(case.options), foreach=False)
    for gradients in case.gradients():
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.grad = torch.tensor(gradient)
        optimizer.step()
    return np.concatenate([one.detach().numpy().ravel() for one in variables])


def optax_trained(case: Case) -> Array:
    """What optax makes of the variables, as one array."""
    import jax

    with jax.enable_x64(True):
        return _optax_trained(case)


def _optax_trained(case: Case) -> Array:
    import jax
    import optax

    optimizer = operator.attrgetter(case.judged.theirs)(optax)(**case.judged.translated(case.options))
    variables = [jax.numpy.asarray(one) for one in case.variables()]
    state, update = optimizer.init(variables), jax.jit(optimizer.update)
    for gradients in case.gradients():
        updates, state = update([jax.numpy.asarray(one) for one in gradients], state, variables)
        variables = optax.apply_updates(variables, updates)
    return np.concatenate([np.asarray(one).ravel() for one in variables])


ANSWERS: dict[str, Answer] = {"torch": torch_trained, "optax": optax_trained}


def main() -> None:
    """Ask, and write the record anew."""
    import optax
    import torch

    kept = {
        key(judge, judged): np.stack([ANSWERS[judge](case) for case in cases(judged)])
        for judge, each in JUDGES.items()
        for judged in each
    }
    versions = {"torch": np.array(torch.__version__), "optax": np.array(optax.__version__)}
    np.savez_compressed(RECORD, allow_pickle=False, **versions, **kept)
    print(f"{RECORD}: {len(kept)} rules, {RECORD.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
