"""Which CUDA compilers there are. By itself, so that asking for their names loads nothing of a GPU's backend."""

COMPILERS = {"numba-cuda-mlir": "numba_cuda_mlir", "numba-cuda": "numba_cuda"}
"""First choice first: by the names that users know, the module of `cuda`, which is called like the compiler's own."""
