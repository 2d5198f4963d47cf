"""What is computed.

around    what surrounds any rule in a step: unscaling, accumulation, clipping, decay, averages
row       a bundled rule: its equations and a row, from which the optimizer class follows
table     all of them: which class stands in which family
by_tensor a rule with numbers one a variable, as groups need it; named: a rule by its name on the command line
parts     what families have in common; dialects: rules as others have them

Families, a file each: rmsprop, sgd, adagrad (sums of squares), adam, moments (others with two averages), signs, norms,
numbers (one a tensor, or for all), differences (of gradients, and other inputs), schedule_free, distances (which find
their rate), cautious (with a combinator around them).
"""
