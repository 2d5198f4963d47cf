"""What both CUDA compilers make of bundled rules, as test_ptx.py reads it for RMSprop's options; see every_rule.py."""

import json
import re
from collections.abc import Iterator
from typing import Any

from every_rule import some_rules
from test_ptx import F64_ARITHMETIC, SUPPORT, VECTORS, in_another_process
from test_ptx import compiler as compiler

COUNT, TOGETHER = 2, 4
"""How many rules are compiled by default, and how many in a process."""


def everything(compiler: str) -> Iterator[dict[str, Any]]:
    chosen = [str(one) for one in some_rules(compiler, COUNT)]
    for first in range(0, len(chosen), TOGETHER):
        some = chosen[first : first + TOGETHER]
        found: list[dict[str, Any]] = json.loads(in_another_process(str(SUPPORT / "cuda_rules.py"), compiler, *some))
        assert {one["what"].split()[0] for one in found} == {*some}
        yield from found


def test_rules_are_moved_in_16_bytes_without_float64_spills_or_calls(compiler: str) -> None:
    for one in everything(compiler):
        ptx, what = one["ptx"], one["what"]
        assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in one["usage"], what
        assert not re.search(r"\b(?:ld|st)\.local|\.local\s|__local_depot|^\s*call", ptx, re.MULTILINE), what
        if one["pass"]:
            moved = one["pass"]
            assert re.search(rf"ld\.global\.{VECTORS[moved['loads']]}", ptx), what
            for dtype, vectors in VECTORS.items():
                assert bool(re.search(rf"st\.global\.{vectors}", ptx)) == (dtype == moved["stores"]), what
            assert bool(F64_ARITHMETIC.search(ptx)) == one["pass"]["wide"], what
