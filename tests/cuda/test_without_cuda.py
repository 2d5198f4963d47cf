"""Without CUDA packages NumPy work goes on as before, and whoever asks for a GPU is told what to install."""

import importlib
import importlib.util
import os
import subprocess
import sys

import pytest

CUDA_PACKAGES = ("cupy", "cupyx", "numba_cuda", "numba_cuda_mlir", "cuda", "nvidia")

SCRIPT = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None  # as if it were not installed
import numpy, rmsprop_jit
from rmsprop_jit import BackendError

class OnGpu:
    __cuda_array_interface__ = {{"shape": (3,), "typestr": "<f4", "data": (4096, False), "version": 3}}
    def __dlpack_device__(self):
        return 2, 0

def told(work):
    try:
        work()
    except BackendError as problem:
        print(type(problem).__name__, problem)

weights = numpy.ones(3, "float32")
optimizer = rmsprop_jit.RMSprop(clipnorm=1.0)
optimizer.apply([weights * 2], [weights])
assert (weights < 1).all()
loaded = {{name.split(".")[0] for name, module in sys.modules.items() if module is not None}}
assert not loaded & set({blocked!r}), loaded
assert not [name for name in sys.modules if name.endswith(("arrays.cupy", "backends.cuda"))]
told(lambda: rmsprop_jit.RMSprop().build([OnGpu()]))
told(lambda: rmsprop_jit.RMSprop().explain("ptx"))
told(lambda: rmsprop_jit.RMSprop(compiler="numba-cuda").explain("sass"))
print(rmsprop_jit.RMSprop().explain("cuda"))
"""


def run(script: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_numpy_works_and_cuda_names_the_extras() -> None:
    lines = run(SCRIPT.format(blocked=CUDA_PACKAGES))
    problems = [line for line in lines if line.startswith("BackendError")]
    assert len(problems) == 3
    for problem in problems:
        for driver in ("12", "13"):
            assert f"cupy-cuda{driver}x" in problem
        assert "Received: " in problem
    assert "CuPy" in problems[0]
    assert "a CUDA compiler is not installed" in problems[1]
    assert "numba-cuda is not installed" in problems[2]
    for driver in ("12", "13"):
        assert f"pip install 'numba-cuda-mlir[cu{driver}]" in problems[1]
        assert f"pip install 'numba-cuda[cu{driver}]' cupy-cuda{driver}x" in problems[2]
    assert "numba-cuda[" not in problems[1]
    assert any("def step_0(" in line for line in lines)


def test_numpy_work_imports_no_cuda_package() -> None:
    run(
        "import sys, numpy, rmsprop_jit; weights = numpy.ones(3, 'float32')\n"
        "rmsprop_jit.RMSprop().apply([weights * 2], [weights])\n"
        "assert not {name.split('.')[0] for name in sys.modules} & {'cupy', 'cuda', 'numba_cuda_mlir'}"
    )


USED = {
    "cupy": ["ndarray", "empty", "asarray", "from_dlpack"],
    "cupy.cuda": [
        "Device",
        "Event",
        "Stream",
        "alloc_pinned_memory",
        "get_current_stream",
        "MemoryPool",
        "using_allocator",
    ],
    "cupy.cuda.function": ["Module"],
    "cupy.cuda.runtime": ["pointerGetAttributes", "eventRecord", "streamWaitEvent"],
}
METHODS = {
    "cupy.ndarray": ["get", "set", "view", "reshape", "astype", "data", "device", "flags", "nbytes", "strides"],
    "cupy.cuda.MemoryPointer": ["ptr", "copy_from_host_async"],
    "cupy.cuda.Stream": ["is_capturing", "synchronize", "begin_capture", "end_capture"],
    "cupy.cuda.Event": ["record", "done"],
    "cupy.cuda.Device": ["id", "compute_capability", "synchronize", "__enter__", "__exit__"],
    "cupy.cuda.function.Module": ["load", "get_function"],
    "cupy.cuda.PinnedMemoryPointer": ["ptr"],
}


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")
@pytest.mark.filterwarnings("ignore")
def test_cupy_has_what_is_used_of_it() -> None:
    for module, names in USED.items():
        found = importlib.import_module(module)
        assert not [name for name in names if not hasattr(found, name)], module
    for path, names in METHODS.items():
        module, _, kind = path.rpartition(".")
        found = getattr(importlib.import_module(module), kind)
        assert not [name for name in names if not hasattr(found, name)], path
