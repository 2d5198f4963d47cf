"""How many kernels a step on a GPU launches, what it copies there, for each set of options, and what is said of it."""

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import run_rule
import simulated_cupy as cupy
from compare import assert_same_bits, make
from gpu_counts import Counts, counted

from rmsprop_jit import Optimizer, PiecewiseConstantDecay, RMSprop
from rmsprop_jit.codegen import Expr, Hyper, Rule, backends, max_abs, specialize, sqrt, sum_of
from rmsprop_jit.codegen.backends.cuda import compilers, source
from rmsprop_jit.codegen.names import Names

RATE = PiecewiseConstantDecay([2, 3, 4], [0.1, 0.05, 0.02, 0.01])
"""The same in the first three steps, another in each of the next."""

EVERYTHING: dict[str, Any] = {"centered": True, "momentum": 0.9, "use_ema": True}
DECAY: dict[str, Any] = {"weight_decay": 0.1}
ACCUMULATED: dict[str, Any] = {"gradient_accumulation_steps": 3, "momentum": 0.9}

CASES: dict[str, tuple[Mapping[str, Any], list[int]]] = {
    "plain": ({}, [1]),
    "everything": (EVERYTHING, [1]),
    "everything, overwritten": ({**EVERYTHING, "ema_overwrite_frequency": 2}, [1]),
    "clipvalue and loss scale": ({"clipvalue": 0.5, "loss_scale_factor": 8.0}, [1]),
    "weight decay": (DECAY, [1]),
    "accumulated": (ACCUMULATED, [1]),
    "clipnorm": ({"clipnorm": 0.5}, [3]),
    "global_clipnorm": ({"global_clipnorm": 0.5}, [3]),
    "everything, clipnorm": ({**EVERYTHING, **DECAY, "clipnorm": 0.5, "loss_scale_factor": 8.0}, [3]),
    "everything, global_clipnorm": ({**EVERYTHING, **DECAY, "global_clipnorm": 0.5}, [3]),
    "accumulated, global_clipnorm": ({**ACCUMULATED, "global_clipnorm": 0.5}, [1, 1, 3]),
}
"""Options, and the launches of a step, or of each of the calls of a window."""

GRADIENTS = [make(40, 2), make(7, 3)]


@pytest.fixture
def counts() -> Iterator[Counts]:
    with counted() as found:
        yield found


def trained(
    options: Mapping[str, Any],
    counts: Counts,
    calls: int = 6,
    dtypes: Sequence[str] = ("float32", "float32"),
    excluded: int = 0,
) -> list[tuple[int, int]]:
    """Copies and launches of each call on the same arrays; the host's calls have the same result.

    excluded: how many of the variables, from the first on, do not decay.
    """
    gradients = [gradient.astype(dtype) for gradient, dtype in zip(GRADIENTS, dtypes, strict=True)]
    host: list[Any] = [make(gradient.size, 1).astype(gradient.dtype) for gradient in gradients]
    ours: list[Any] = [cupy.asarray(array) for array in host]
    on_gpu = [cupy.asarray(array) for array in gradients]
    optimizers = RMSprop(**options), RMSprop(**options)
    for optimizer, variables in zip(optimizers, (ours, host), strict=True):
        optimizer.exclude_from_weight_decay(var_list=variables[:excluded])
        optimizer.build(variables)
    counts.taken()
    found = []
    for _ in range(calls):
        optimizers[0].apply(on_gpu)
        found.append(counts.taken())
        optimizers[1].apply(gradients)
    for mine, other in zip(ours, host, strict=True):
        np.testing.assert_allclose(mine.get(), other, rtol=3e-6, atol=1e-6)
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_so_many_launches_and_copies_nothing_also_with_another_rate(name: str, counts: Counts) -> None:
    options, window = CASES[name]
    found = trained({**options, "learning_rate": RATE}, counts)
    assert [launches for _, launches in found] == [window[call % len(window)] for call in range(6)]
    kinds_of_call = 3 if "gradient_accumulation_steps" in options else 1
    assert [uploads for uploads, _ in found[kinds_of_call:]] == [0] * (6 - kinds_of_call)


@pytest.mark.parametrize(("name", "first"), [("plain", 2), ("clipnorm", 3), ("global_clipnorm", 4)])
def test_a_first_step_copies_rows_and_addresses(name: str, first: int, counts: Counts) -> None:
    options, (launches,) = CASES[name]
    assert trained(options, counts, calls=1) == [(first, launches)]


@pytest.mark.parametrize(("norm", "launches"), [(None, 1), ("clipnorm", 3), ("global_clipnorm", 3)])
def test_a_tensors_own_numbers_are_copied_and_made_once(norm: str | None, launches: int, counts: Counts) -> None:
    """Which variables decay is a number of each; with another rate, what follows from it is still the same."""
    options = {**DECAY, "learning_rate": RATE} | ({norm: 0.5} if norm else {})
    found = trained(options, counts, excluded=1)
    assert found[0][1] == launches + (norm is None)
    assert found[1:] == [(0, launches)] * 5


def test_what_follows_from_a_tensors_number_and_the_rate_takes_a_launch(counts: Counts) -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {p: p - sqrt(h.decays * h.learning_rate + 1.0) * g}

    rule = Rule("own rates", equations, hypers={"decays": Hyper(1.0, per="tensor")})
    tensors = run_rule.on_gpu(run_rule.make_tensors(rule, [5, 7], "float32", np.ones))
    table = run_rule.table_of("cuda:0", specialize(rule), tensors, {})
    launch, found = backends.launch({"cuda:0": [table]}), []
    for rate, own in ((0.1, 1.0), (0.1, 1.0), (0.2, 1.0), (0.2, 2.0), (0.2, 2.0)):
        launch(launch.prepared(None, {"learning_rate": rate, "decays": [own, own]}))
        found.append(counts.taken())
    assert found[1:] == [(0, 1), (0, 2), (1, 2), (0, 1)]


@pytest.mark.parametrize(("norm", "launches"), [(None, 2), ("clipnorm", 6), ("global_clipnorm", 6)])
def test_two_buckets_are_twice_as_many(norm: str | None, launches: int, counts: Counts) -> None:
    """A norm over both: rows of float32 and of float64 are summed by each bucket's own launch."""
    options = {"learning_rate": RATE} | ({norm: 0.5} if norm else {})
    found = trained(options, counts, dtypes=("float32", "float64"))
    assert found[1:] == [(0, launches)] * 5


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("norm", ["clipnorm", "global_clipnorm"])
def test_blocks_that_have_several_tensors_make_the_same_of_each(
    norm: str, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stepped() -> list[Any]:
        variables = [cupy.asarray(make(size, size)) for size in (5, 0, 1030, 3)]
        options: dict[str, Any] = {norm: 0.5, "weight_decay": 0.1}
        optimizer = RMSprop(**options)
        optimizer.exclude_from_weight_decay(var_list=variables[:2])
        for _ in range(2):
            optimizer.apply([cupy.asarray(make(v.size, 1)) for v in variables], variables)
        return [variable.get() for variable in variables]

    wanted = stepped()
    monkeypatch.setattr(source, "MOST", blocks)
    for mine, other in zip(stepped(), wanted, strict=True):
        assert_same_bits(mine, other, norm)


def test_a_rule_of_very_many_numbers_has_them_copied(counts: Counts) -> None:
    """A launch with hundreds of arguments costs the host more than a copy, and some GPUs take 4,096 bytes of them."""
    names = [f"number_{i}" for i in range(90)]

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        total = p - h.learning_rate * g
        for name in names:
            total = total + getattr(h, name)
        return {p: total}

    rule = Rule("many", equations, hypers={name: Hyper(0.001 * i) for i, name in enumerate(names)})
    host, ours, gradient = make(), cupy.asarray(make()), cupy.asarray(make(seed=1))
    optimizer, twin, found = Optimizer(rule), Optimizer(rule), []
    optimizer.build([ours])
    for rate in (0.1, 0.1, 0.2, 0.2):
        optimizer.learning_rate = twin.learning_rate = rate
        optimizer.apply([gradient])
        found.append(counts.taken())
        twin.apply([make(seed=1)], [host])
    assert_same_bits(ours.get(), host, "variable")
    assert found[1:] == [(0, 1), (1, 2), (0, 1)]


def test_sums_over_a_tensor_and_over_all_in_one_kernel(counts: Counts) -> None:
    """Each block sums all rows, then those of its tensors."""

    def equations(p: Expr, g: Expr, s: Names, h: Names, on: Names) -> dict[Expr, Expr]:
        return {p: p - h.learning_rate * g * max_abs(g) / sum_of(abs(g), over="all")}

    rule = Rule("both", equations)
    host = [make(1030, 1), make(3, 2)]
    ours = [cupy.asarray(array) for array in host]
    optimizer, twin = Optimizer(rule), Optimizer(rule)
    gradients = [cupy.asarray(make(1030, 5)), cupy.asarray(make(3, 6))]
    for _ in range(3):
        counts.taken()
        optimizer.apply(gradients, ours)
        found = counts.taken()
        twin.apply([gradient.get() for gradient in gradients], host)
    assert found == (0, 3)
    for mine, other in zip(ours, host, strict=True):
        np.testing.assert_allclose(mine.get(), other, rtol=3e-6, atol=1e-6)


# What is said of it.


@pytest.mark.parametrize("name", CASES)
def test_explain_tells_the_launches_of_a_step(name: str, counts: Counts) -> None:
    options, window = CASES[name]
    text = RMSprop(**options).explain("launches")
    number = re.match(r"rmsprop\S*, float32: (\d) launch(?:es)? in a step", text)
    assert number is not None
    assert int(number[1]) == max(window)
    assert re.findall(r"^\d\. (\w+)$", text, re.MULTILINE) == (
        ["step_0"] if max(window) == 1 else ["step_0", "uniforms_1", "step_1"]
    )
    assert all(line in text for line in ("\ncopied to the GPU\n", "\nin a graph: ", "tick"))


def test_explain_says_what_each_launch_is_for_and_takes() -> None:
    text = RMSprop(global_clipnorm=1.0).explain("launches")
    assert "r0 = sum_of_squares(g) over all\n   blocks     one a row, of 256 threads\n" in text
    assert "numbers of step_1 from r0\n   blocks     one, of 256 threads\n" in text
    assert "numbers    h.rho, k0, h.learning_rate, h.epsilon, by value in float32" in text
    per_tensor = RMSprop(clipnorm=1.0).explain("launches", "float64")
    assert "blocks     one a tensor, at most 1024" in per_tensor
    assert "by value in float64" in per_tensor


# What arguments shape.


def test_code_is_kept_for_the_types_of_its_arguments() -> None:
    """A kernel's text does not name them."""
    made = []

    def make(kernel: source.KernelSource, compiler: str, arch: tuple[int, int]) -> compilers.Code:
        made.append(kernel.types)
        return compilers.Code(".visible .entry scaled(\n{\n}", "scaled")

    text = f"def scaled(place, h_x):\n    pass  # {uuid.uuid4()}\n"
    for dtype in ("float32", "float64", "float32"):
        kernel = source.KernelSource("scaled", text, ("place",), 32, numbers=("h.x",), dtype=dtype)
        compilers.kept("ptx", kernel, "numba-cuda-mlir", (9, 0), make)
    assert made == [("int64", "float32"), ("int64", "float64")]
