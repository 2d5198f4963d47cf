"""What is computed.

around    what surrounds any rule in a step: unscaling, accumulation, clipping, decay, averages
rmsprop   RMSprop; further rules stand beside it, one file a family
row       a bundled rule: its equations and a row, from which the optimizer class follows
table     all of them, by name
"""
