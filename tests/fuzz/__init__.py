"""A fuzzer: random rules, random calls, spoilt caches and spoilt states, each case a seed.

Nothing here is taken from the compiler but what is tried: a random rule is an abstract tree (`trees`, `grammar`), from
which both the equations of the language (`equations`) and a calculation in NumPy (`settling`, `ranges`, `meaning`) are
made. The tests run some hundred seeds; `python tests/fuzz --help` runs any number.
"""
