"""Every bundled rule on a real GPU beside the processor: as an optimizer of CuPy's arrays, and of torch's tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compare import Array
from every_rule import VARIANTS, Variant, own_flags, rule_of
from gpu import cupy, torch_here

import rmsprop_jit
from rmsprop_jit.buckets import program_of

pytestmark = pytest.mark.gpu(real=True)

SHAPES: list[tuple[int, ...]] = [(1000,), (33, 70), (4, 3, 5, 7), (1, 17), (16_385,)]
STEPS = 3
NEAR = {"float32": 1e-4, "float64": 1e-9}
"""Of the largest number, for rules that sum: in another order, and a rule may divide by what nearly cancels."""

WITH_HESSIANS = ("Sophia",)


def arrays(dtype: str, seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]


def trained(variant: Variant, dtype: str, place: Callable[[Array], Any], **options: Any) -> list[Array]:
    """The variables after some steps with arrays that `place` makes."""
    own = [place(one) for one in arrays(dtype, 0)]
    optimizer = variant.made(**options)
    optimizer.build(own)
    for step in range(STEPS):
        inputs = {"hessian": [place(one * one) for one in arrays(dtype, 50 + step)]}
        more = inputs if variant.name in WITH_HESSIANS else {}
        optimizer.apply([place(one) for one in arrays(dtype, 1 + step)], **more)
    return [one if isinstance(one, np.ndarray) else one.get() for one in own]


def sums(variant: Variant) -> bool:
    """Whether a rule's numbers depend on sums over elements, or on functions of the array library."""
    rule = rule_of(variant)
    programs = [program_of(rule, flags, "float32") for flags in own_flags(rule)]
    return bool(rule.functions) or any(one.reductions() or one.is_by_axes for one in programs)


def assert_as_on_processor(variant: Variant, ours: list[Array], theirs: list[Array], within: float) -> None:
    """The same bits without sums, near them with some."""
    if sums(variant):
        assert_near(ours, theirs, within)
    for shape, mine, other in zip(SHAPES, ours, theirs, strict=True):
        assert np.isfinite(other).all()
        assert sums(variant) or np.array_equal(mine, other), (shape, int((mine != other).sum()))


def assert_near(ours: list[Array], theirs: list[Array], within: float) -> None:
    start = arrays(str(theirs[0].dtype), 0)
    for shape, mine, other, before in zip(SHAPES, ours, theirs, start, strict=True):
        assert np.isfinite(other).all()
        error = np.abs(mine.astype(np.float64) - other.astype(np.float64))
        size = float(np.max(np.abs(other)))
        far = error > within * size
        assert far.mean() <= 1e-3, (shape, float(error.max()), size, int(far.sum()))  # a sign may be another's
        assert not np.array_equal(mine, before), (shape, "nothing was done")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_rule_does_on_a_gpu_what_it_does_on_the_processor(variant: Variant, dtype: str) -> None:
    ours = trained(variant, dtype, lambda array: cupy.asarray(array))
    assert_as_on_processor(variant, ours, trained(variant, dtype, np.copy), NEAR[dtype])


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_rule_with_slots_in_bfloat16_does_so_too(variant: Variant) -> None:
    ours = trained(variant, "float32", lambda array: cupy.asarray(array), storage="bfloat16")
    assert_as_on_processor(variant, ours, trained(variant, "float32", np.copy, storage="bfloat16"), 5e-3)


@pytest.fixture
def torch() -> Any:
    return torch_here()


def stepped(torch: Any, optimizer: Callable[[list[Any]], Any], device: str, steps: int = STEPS) -> list[Array]:
    """The parameters after some steps, on a device of torch's."""
    own = [torch.nn.Parameter(torch.from_numpy(one).to(device)) for one in arrays("float32", 0)]
    made = optimizer(own)
    for step in range(steps):
        for one, gradient in zip(own, arrays("float32", 1 + step), strict=True):
            one.grad = torch.from_numpy(gradient).to(device)
        made.step()
    return [one.detach().cpu().numpy() for one in own]


IN_TORCH = ("SGD", "Adagrad", "Adadelta", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "Rprop", "RMSprop")


@pytest.mark.parametrize("name", IN_TORCH)
def test_an_optimizer_of_torchs_kind_on_a_gpu_is_torchs(torch: Any, name: str) -> None:
    import rmsprop_jit.torch as fused

    ours = getattr(fused, name, None) or getattr(fused, name.replace("NAdam", "Nadam"))
    options = {"lr": 0.01} | ({"momentum": 0.9} if name in ("SGD", "RMSprop") else {})
    mine = stepped(torch, lambda own: ours(own, **options), "cuda")
    theirs = stepped(torch, lambda own: getattr(torch.optim, name)(own, **options), "cuda")
    assert_near(mine, theirs, 1e-5)


def test_a_scaler_of_torchs_skips_what_is_not_finite(torch: Any) -> None:
    import rmsprop_jit.torch as fused

    def run(make: Callable[[list[Any]], Any]) -> tuple[list[Array], float]:
        own = [torch.nn.Parameter(torch.from_numpy(one).cuda()) for one in arrays("float32", 0)]
        optimizer, scaler = make(own), torch.amp.GradScaler("cuda", init_scale=256.0, growth_interval=2)
        scaler.scale(torch.ones((), device="cuda"))
        for step in range(4):
            for one, gradient in zip(own, arrays("float32", 1 + step), strict=True):
                one.grad = torch.from_numpy(gradient).cuda() * scaler.get_scale()
            if step == 1:
                own[2].grad.view(-1)[5] = float("inf")
            scaler.step(optimizer)
            scaler.update()
        return [one.detach().cpu().numpy() for one in own], scaler.get_scale()

    mine, scale = run(lambda own: fused.AdamW(own, lr=0.01))
    theirs, expected = run(lambda own: torch.optim.AdamW(own, lr=0.01, fused=True))
    assert scale == expected
    assert_near(mine, theirs, 1e-5)


def test_a_model_of_torchs_is_trained_on_a_gpu(torch: Any) -> None:
    import rmsprop_jit.torch as fused

    def losses(make: Callable[[Any], Any]) -> list[float]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1)).cuda()
        x, y = torch.randn(256, 20, device="cuda"), torch.randn(256, 1, device="cuda")
        optimizer, found = make(model.parameters()), []
        for _ in range(30):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    mine = losses(lambda own: fused.RMSprop(own, lr=1e-3, momentum=0.9))
    theirs = losses(lambda own: torch.optim.RMSprop(own, lr=1e-3, momentum=0.9))
    assert mine[-1] < 0.9 * mine[0]
    np.testing.assert_allclose(mine, theirs, rtol=1e-3)


def test_gradients_of_jaxs_on_a_gpu_are_read_where_they_lie() -> None:
    jax = pytest.importorskip("jax")
    if jax.default_backend() != "gpu":
        pytest.skip("jax does not compute on a GPU here")
    host, gradient = arrays("float32", 0)[0], arrays("float32", 1)[0]
    ours, theirs, variable = rmsprop_jit.RMSprop(), rmsprop_jit.RMSprop(), cupy.asarray(host)
    ours.build([variable])
    for _ in range(3):
        ours.apply([jax.device_put(gradient)])
        theirs.apply([gradient], [host])
    np.testing.assert_allclose(variable.get(), host, rtol=1e-5, atol=1e-6)
