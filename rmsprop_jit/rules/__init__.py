"""What is computed.

around    what surrounds any rule in a step: unscaling, accumulation, clipping, decay, averages
rmsprop   RMSprop; further rules stand beside it, one file a family
"""
