"""Where kernels for GPUs run in tests: on the GPU that is there with `--gpu`, in a simulator without."""

from __future__ import annotations

import gc
import importlib.util
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SIMULATOR = "NUMBA_ENABLE_CUDASIM"
MARKERS = (
    "gpu(real=False): runs on a GPU with --gpu, once for each CUDA compiler; without it in the simulator, "
    "unless it needs a real GPU",
)
QUIET = ("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
"""Warnings of the CUDA compilers' own, which are imported with the first kernel."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gpu")
    group.addoption("--gpu", action="store_true", help="run what is marked `gpu`, and nothing else, on the GPU at hand")
    group.addoption(
        "--gpu-seconds", type=float, default=None, metavar="N", help="with --gpu: skip what is reached after N seconds"
    )


def pytest_configure(config: pytest.Config) -> None:
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    if not config.getoption("gpu"):
        simulate()
        return
    os.environ.pop(SIMULATOR, None)
    import gpu

    if why := gpu.missing():
        raise pytest.UsageError(
            f"no GPU can be used ({why}). Received: --gpu. Run it where a GPU, its driver and the extra cuda13 (or "
            "cuda12) are; or leave the option out, and the same tests run in the simulator."
        )
    for line in QUIET:
        config.addinivalue_line("filterwarnings", line)
    limit = config.getoption("gpu_seconds")
    config.stash[UNTIL] = float("inf") if limit is None else time.monotonic() + limit


UNTIL = pytest.StashKey[float]()


def simulate() -> None:
    """Let kernels run in the simulator. Numba's, which needs no driver, is there for whoever imports its CUDA."""
    os.environ[SIMULATOR] = "1"
    import simulated_gpu

    from rmsprop_jit.codegen.backends.cuda import device

    device.use_driver(simulated_gpu.Driver())


def pytest_collection() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: looking through it for garbage took a sixth of all time."""
    gc.freeze()
    gc.set_threshold(YOUNG)
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()


YOUNG = 5000
"""So many new objects are looked through at once: compiling one program makes hundreds of thousands."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `--gpu` a file without a test for GPUs is not even imported: it may need what only the simulator has."""
    if not config.getoption("gpu") or collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    return True if "mark.gpu" not in collection_path.read_text(encoding="utf-8") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("gpu"):
        left_out = [item for item in items if item.get_closest_marker("gpu") is None]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.get_closest_marker("gpu") is not None]
        return
    for item in items:
        marker = item.get_closest_marker("gpu")
        if marker is not None and marker.kwargs.get("real"):
            item.add_marker(pytest.mark.skip(reason="it needs a real GPU: python -m pytest --gpu"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.config.getoption("gpu") and metafunc.definition.get_closest_marker("gpu") is not None:
        from rmsprop_jit.codegen.backends.cuda_compilers import COMPILERS

        metafunc.parametrize("gpu_compiler", list(COMPILERS), indirect=True, scope="session")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if time.monotonic() > item.config.stash.get(UNTIL, float("inf")):
        pytest.skip("it was not reached in time")


@pytest.fixture(scope="session", autouse=True)
def gpu_compiler(request: pytest.FixtureRequest) -> Iterator[None]:
    """With `--gpu`, the compiler of kernels of tests that name none; in the simulator there is none."""
    name: str | None = getattr(request, "param", None)
    if name is None:
        yield
        return
    if importlib.util.find_spec(name.replace("-", "_")) is None:
        pytest.skip(f"{name} is not installed")
    import gpu

    with gpu.compiled_by(name):
        yield
