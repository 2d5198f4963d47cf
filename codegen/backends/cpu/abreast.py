"""Loops of which several vectors are worked on at once: where operations wait for each other, others fill the time.

A processor looks some hundred operations ahead. Of a loop that is one long chain of them it has then begun one turn and
a half, and its units stand idle for much of the time: a step of SGLD takes a quarter less where eight are written as
one (measured). Loops that wait for divisions, or for memory, become no faster, and need their registers for themselves;
so it is said of each. Importing this module imports Numba.
"""

# Numba reads signatures from the functions' return values, which its type hints do not describe.
# mypy: ignore-errors

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

MARK = "rmsprop_jit.abreast"
HINT = "llvm.loop.interleave.count"


@intrinsic
def abreast(_context, count):
    """Said last in a loop: `count` (a literal) vectors of it are worked on at once. What it computes is the same."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    width = count.literal_value

    def generate(context, builder, _signature, _args):
        nothing = builder.module.declare_intrinsic("llvm.donothing", fnty=ir.FunctionType(ir.VoidType(), []))
        builder.call(nothing, []).set_metadata(MARK, builder.module.add_metadata([ir.IntType(32)(width)]))
        return context.get_dummy_value()

    return types.void(count), generate


abreast.prefer_literal = True


def tell(module: ir.Module) -> None:
    """Tell LLVM of all loops of a module in which it is said, by the jump that leads back to their beginning."""
    for function in module.functions:
        for block in function.blocks:
            for one in block.instructions:
                if MARK in getattr(one, "metadata", {}):
                    block.terminator.set_metadata("llvm.loop", _hint(module, one.metadata.pop(MARK).operands[0]))


def _hint(module: ir.Module, count: ir.Constant) -> ir.values.MDValue:
    """What LLVM knows a loop by: a node that is its own first part."""
    hint = module.add_metadata([HINT, count])
    node = ir.values.MDValue(module, [hint], str(len(module.metadata)))
    node.operands = (node, hint)
    return node
