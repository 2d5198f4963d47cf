"""Kernels for GPUs run in Numba's simulator; it must be asked for before Numba is imported."""

import os

os.environ["NUMBA_ENABLE_CUDASIM"] = "1"

import simulated_gpu

from rmsprop_jit.codegen.backends.cuda import device

device.use_driver(simulated_gpu.Driver())
