"""Strips: pointers to arrays that are known not to overlap. Importing this module imports Numba."""

# Numba reads signatures from the functions' return values, which its type hints do not describe.
# mypy: ignore-errors

from __future__ import annotations

import operator

from llvmlite import ir
from numba import float32, float64, types
from numba.extending import intrinsic, lower_builtin, models, register_model


class Strip(types.CPointer):
    """A pointer to elements of one of several arrays: what is stored to one of them changes no other.

    Without it LLVM compares all addresses before each loop, up to 128 pairs; a rule of more arrays would not vectorise.
    """

    def __init__(self, dtype, place, arrays):
        self.place, self.arrays = place, arrays
        super().__init__(dtype)
        self.name = f"Strip({dtype}, {place}, {arrays})"

    @property
    def key(self):
        """What tells such types apart."""
        return self.dtype, self.place, self.arrays

    def mark(self, module, access):
        """Say of a load or store which array it touches, and which ones not."""
        domain = module.add_metadata([ir.MetaDataString(module, "rmsprop_jit")])
        scopes = [module.add_metadata([ir.MetaDataString(module, str(i)), domain]) for i in range(self.arrays)]
        access.set_metadata("alias.scope", module.add_metadata([scopes[self.place]]))
        if self.arrays > 1:
            access.set_metadata("noalias", module.add_metadata(scopes[: self.place] + scopes[self.place + 1 :]))


register_model(Strip)(models.PointerModel)


@lower_builtin(operator.getitem, Strip, types.Integer)
def _load(_context, builder, signature, args):
    value = builder.load(builder.gep(args[0], [args[1]]))
    signature.args[0].mark(builder.module, value)
    return value


@lower_builtin(operator.setitem, Strip, types.Integer, types.Any)
def _store(_context, builder, signature, args):
    signature.args[0].mark(builder.module, builder.store(args[2], builder.gep(args[0], [args[1]])))


def _strip_of(element):
    """An intrinsic that reads an integer as the address of elements of one of `arrays` arrays (literals)."""

    @intrinsic
    def strip(_context, address, place, arrays):
        if not (isinstance(place, types.IntegerLiteral) and isinstance(arrays, types.IntegerLiteral)):
            return None

        def generate(context, builder, _signature, args):
            return builder.inttoptr(args[0], context.get_value_type(element).as_pointer())

        return Strip(element, place.literal_value, arrays.literal_value)(address, place, arrays), generate

    strip.prefer_literal = True
    return strip


STRIPS = {f"strip_{element}": _strip_of(element) for element in (float32, float64)}
"""By the names under which generated code finds them."""
