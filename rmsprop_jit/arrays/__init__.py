"""Arrays: where they live, what may be updated in place, and whether two of them overlap.

homes    which library an array is of: asked here and nowhere else; one line for each kind of arrays
numpy    the home of NumPy's arrays
cupy     the home of CuPy's arrays, and of other libraries' on a GPU
memory   which arrays share memory
checks   what can be updated, and what fits: every message about a bad array
"""
