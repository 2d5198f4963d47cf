"""Arrays: where they live, what may be updated in place, and whether two of them overlap.

homes    which library an array is of: asked here and nowhere else; one line for each kind of arrays
numpy    the home of NumPy's arrays
torch    the home of torch's tensors in host memory; tensors: many of them looked at at once
exchanged  the home of other libraries' arrays in host memory
cupy     the home of CuPy's arrays, and of other libraries' on a GPU
memory   which arrays share memory, and in which order their elements lie
checks   what can be updated, and what fits: every message about a bad array
"""
