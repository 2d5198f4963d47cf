"""Strips: pointers to arrays that are known not to overlap. Importing this module imports Numba."""

# Numba reads signatures from the functions' return values, which its type hints do not describe.
# mypy: ignore-errors

from __future__ import annotations

import operator

from llvmlite import ir
from numba import float32, float64, int64, types
from numba.extending import intrinsic, lower_builtin, models, register_model

from ...dtypes import READ, storage
from ..llvm_bits import INT8, INT16, INT32, byte_of, upper_half, with_zeros

ARRAYS, BESIDE = "rmsprop_jit", "beside"
"""Domains: the arrays of a program, and in functions that passes share what is on the stack and what is not."""


class Strip(types.CPointer):
    """A pointer to elements of one of several arrays: what is stored to one of them changes no other.

    Without it LLVM compares all addresses before each loop, up to 128 pairs; a rule of more arrays would not vectorise.

    dtype: what is loaded, and stored. `kept`: the storage of the elements. `domain`: which arrays these are.
    """

    def __init__(self, dtype, kept, place, arrays, domain=ARRAYS):
        self.kept, self.place, self.arrays, self.domain = kept, place, arrays, domain
        super().__init__(dtype)
        self.name = f"Strip({dtype}, {kept}, {place}, {arrays}, {domain})"

    @property
    def key(self):
        """What tells such types apart."""
        return self.dtype, self.kept, self.place, self.arrays, self.domain

    def mark(self, module, access):
        """Say of a load or store which array it touches, and which ones not."""
        domain = module.add_metadata([ir.MetaDataString(module, self.domain)])
        scopes = [module.add_metadata([ir.MetaDataString(module, str(i)), domain]) for i in range(self.arrays)]
        access.set_metadata("alias.scope", module.add_metadata([scopes[self.place]]))
        if self.arrays > 1:
            access.set_metadata("noalias", module.add_metadata(scopes[: self.place] + scopes[self.place + 1 :]))


register_model(Strip)(models.PointerModel)


def _widened(builder, half):
    """A float32 of a float16, by integers: LLVM would call a function where the processor has no instruction for it.

    Numbers below 2^-14 count units of 2^-24; inf and nan are those of the largest exponent.
    """
    bits = builder.zext(half, INT32)
    size, sign = builder.and_(bits, INT32(0x7FFF)), builder.shl(builder.and_(bits, INT32(0x8000)), INT32(16))
    moved = builder.shl(size, INT32(13))
    usual = builder.add(moved, INT32((127 - 15) << 23))
    counted = builder.fmul(builder.sitofp(size, ir.FloatType()), ir.Constant(ir.FloatType(), 2.0**-24))
    small = builder.icmp_unsigned("<", size, INT32(0x0400))
    found = builder.select(small, builder.bitcast(counted, INT32), usual)
    strange = builder.icmp_unsigned(">=", size, INT32(0x7C00))
    found = builder.select(strange, builder.or_(moved, INT32(0x7F800000)), found)
    return builder.bitcast(builder.or_(found, sign), ir.FloatType())


CODED = {
    "byte": (INT8, lambda builder, code: builder.sitofp(builder.sext(code, INT32), ir.FloatType()), byte_of),
    "bfloat16": (INT16, with_zeros, upper_half),
    "float16": (INT16, _widened, None),
    "uint8": (INT8, lambda builder, code: builder.sitofp(builder.zext(code, INT32), ir.FloatType()), None),
    "int8": (INT8, lambda builder, code: builder.sitofp(builder.sext(code, INT32), ir.FloatType()), None),
}
"""Of storages that are no type by themselves: an element in memory, what is loaded of it, and what is stored (of those
that are only loaded nothing is; codes are stored by `put_code`)."""


def _element(builder, strip, args):
    """Where an element is."""
    pointer = args[0]
    if strip.kept in CODED:
        pointer = builder.bitcast(pointer, CODED[strip.kept][0].as_pointer())
    return builder.gep(pointer, [args[1]])


@lower_builtin(operator.getitem, Strip, types.Integer)
def _load(_context, builder, signature, args):
    strip = signature.args[0]
    value = builder.load(_element(builder, strip, args))
    strip.mark(builder.module, value)
    return CODED[strip.kept][1](builder, value) if strip.kept in CODED else value


@lower_builtin(operator.setitem, Strip, types.Integer, types.Any)
def _store(_context, builder, signature, args):
    strip = signature.args[0]
    value = CODED[strip.kept][2](builder, args[2]) if strip.kept in CODED else args[2]
    strip.mark(builder.module, builder.store(value, _element(builder, strip, args)))


@intrinsic
def put_code(_context, strip, place, word):
    """Store the lowest bits of a word as a code."""

    def generate(_context, builder, signature, args):
        strip = signature.args[0]
        code = builder.trunc(args[2], CODED[strip.kept][0])
        strip.mark(builder.module, builder.store(code, _element(builder, strip, args)))
        return ir.Constant(ir.IntType(64), 0)

    return int64(strip, place, word), generate


def _strip_of(kept, element):
    """An intrinsic that reads an integer as the address of elements of one of `arrays` arrays (literals)."""

    @intrinsic
    def strip(_context, address, place, arrays):
        if not (isinstance(place, types.IntegerLiteral) and isinstance(arrays, types.IntegerLiteral)):
            return None

        def generate(context, builder, _signature, args):
            return builder.inttoptr(args[0], context.get_value_type(element).as_pointer())

        return Strip(element, kept, place.literal_value, arrays.literal_value)(address, place, arrays), generate

    strip.prefer_literal = True
    return strip


def _apart(kept, element):
    """An intrinsic that reads an integer as the address of elements that are not on the stack (see `beside`)."""

    @intrinsic
    def apart(_context, address):
        def generate(context, builder, _signature, args):
            return builder.inttoptr(args[0], context.get_value_type(element).as_pointer())

        return Strip(element, kept, 1, 2, BESIDE)(address), generate

    return apart


def beside(kept):
    """The type of a pointer to numbers on the stack."""
    return Strip(ELEMENTS[kept], kept, 0, 2, BESIDE)


ELEMENTS = {"float32": float32, "float64": float64}

STRIPS = {"put_code": put_code} | {f"strip_{name}": _strip_of(name, ELEMENTS[storage(name).read]) for name in READ}
STRIPS |= {f"apart_{name}": _apart(name, ELEMENTS[storage(name).read]) for name in READ}
"""By the names under which generated code finds them."""
