"""What a code means has that code, whatever chance says: a slot that nothing moves stays what it is."""

import numpy as np
import pytest
from compare import Array

from rmsprop_jit.codegen import blocks
from rmsprop_jit.codegen.codes import decoded
from rmsprop_jit.codegen.dtypes import BLOCK, CODES, STORAGES, Storage
from rmsprop_jit.codegen.expr import Call, Const, Expr, Select
from rmsprop_jit.codegen.walk import walk

SCALES = np.concatenate([np.random.default_rng(0).uniform(1, 4, 60), [1, 127**2, 255**2, 1e-30, 1e30]])
CODED = [STORAGES[name] for name in CODES]


def evaluated(e: Expr, given: dict[Expr, Array]) -> Array:
    """An expression of float32 and words, by what its operations mean."""
    known = dict(given)
    for node in walk(e):
        if node in known:
            continue
        if isinstance(node, Const):
            known[node] = np.asarray(node.value, np.float32)
        elif isinstance(node, Select):
            known[node] = np.where(*(known[child] for child in node.children))
        else:
            assert isinstance(node, Call)
            kind = np.uint32 if node.fn.row.of_words else np.float32
            known[node] = node.fn(*(kind(c.value) if isinstance(c, Const) else known[c] for c in node.children))
    return known[e]


@pytest.mark.parametrize("random", [0, 1, 2, 3, 0xFFFE, 0xFFFF])
@pytest.mark.parametrize("row", CODED, ids=lambda row: str(row.name))
def test_what_a_code_means_has_that_code(row: Storage, random: int) -> None:
    codes = np.arange(0 if row.is_unsigned else -row.most, row.most + 1)
    for scale in SCALES.astype(np.float32):
        block = np.zeros((len(codes), BLOCK), row.name)
        block[:, 0] = codes
        meant = decoded(block, np.full(len(codes), scale, np.float32))[:, 0]
        words = np.full((2, len(codes)), [[random], [scale.view(np.uint32)]], np.uint32)
        given: dict[Expr, Array] = dict(
            zip((blocks.VALUE, blocks.RANDOM, blocks.LARGEST), (meant, *words), strict=True)
        )
        found = evaluated(blocks.code(row.most, not row.is_unsigned), given)
        np.testing.assert_array_equal(found.view(np.int32), codes, str(scale))
