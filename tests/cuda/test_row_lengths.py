"""How long the rows of a GPU's tables are: a matter of size alone, so that sums have the same bits anywhere."""

from collections.abc import Sequence

import numpy as np
import pytest
from compare import cast, ordinary
from gpu import assert_as_on_host, assert_close, blocks_of
from run_rule import copied, defaults, make_tensors, run

from rmsprop_jit.buckets import program_of
from rmsprop_jit.codegen.backends.cuda import frame, tables
from rmsprop_jit.codegen.rows import length_for
from rmsprop_jit.rules.around import step_of
from rmsprop_jit.rules.rmsprop import RMSPROP

pytestmark = pytest.mark.gpu


def table(sizes: Sequence[int]) -> tables.Table:
    return tables.Table(program_of(RMSPROP, frozenset({"global_clipnorm"}), "float32"), sizes, "cuda:0", {})


@pytest.mark.parametrize(
    ("sizes", "rows"),
    [
        ([], 0),
        ([0, 0], 0),
        ([1], 1),
        ([1024], 1),
        ([1025], 2),
        ([100_000], 98),
        ([1_000_000], 977),
        ([1000] * 1000, 1000),
        ([2**22 - 1], 4096),
        ([2**22], 2048),
        ([2**23], 2048),
        ([2**24], 2048),
        ([2**25], 2048),
        ([10**8], 6104),
        ([2**25 - 2000, *[1] * 2000], 4048),
        ([2**25, 3, 0, 20_000], 2048 + 1 + 2),
    ],
    ids=str,
)
def test_a_launch_has_enough_blocks_for_a_large_gpu_where_it_has_the_elements(sizes: list[int], rows: int) -> None:
    assert table(sizes).rows == rows


def test_no_launch_between_the_bounds_has_fewer_rows_than_it_should_or_more_than_twice_as_many() -> None:
    for total in np.unique(np.geomspace(1, 1e10, 2000).astype(np.int64)).tolist():
        length = length_for(total, tables.BLOCKS, tables.SHORTEST, tables.LONGEST)
        rows = -(-total // length)
        assert length.bit_count() == 1
        assert tables.SHORTEST <= length <= tables.LONGEST
        assert rows >= tables.BLOCKS or length == tables.SHORTEST
        assert rows <= 2 * tables.BLOCKS or length == tables.LONGEST


@pytest.mark.parametrize(("flags", "rows"), [((), 8192), (("momentum",), 8192), (("clipnorm",), 2048)], ids=str)
def test_rows_without_results_are_shorter(flags: tuple[str, ...], rows: int) -> None:
    made = tables.Table(program_of(RMSPROP, frozenset(flags), "float32"), [2**24], "cuda:0", {})
    assert made.rows == rows


def test_rows_are_the_same_for_any_number_of_threads() -> None:
    for sizes in ([300_000], [5, 2**22]):
        found = []
        for threads in (32, frame.THREADS):
            with blocks_of(threads):
                found.append(table(sizes).rows)
        assert len(set(found)) == 1


@pytest.mark.parametrize("blocks", [1, 4, 2048])
@pytest.mark.parametrize("flags", [(), ("global_clipnorm", "centered", "momentum")], ids="+".join)
def test_rows_of_every_length_give_what_the_reference_gives(
    flags: tuple[str, ...], blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With as many threads as a real block has: the loop of several vectors turns only in long rows."""
    monkeypatch.setattr(tables, "BLOCKS", blocks)
    assert table([17_000]).rows == {1: 2, 4: 5, 2048: 17}[blocks]
    rule, program = step_of(RMSPROP), program_of(RMSPROP, frozenset(flags), "float32")
    ours = make_tensors(rule, [0, 3, 1025, 16_000], "float32", cast(ordinary(4), "float32"))
    wanted, hypers = copied(ours), defaults(rule, global_clipnorm=3.0, momentum=0.9, step=2.0)
    with blocks_of(frame.THREADS):
        run("cuda", program, ours, hypers)
    run("reference", program, wanted, hypers)
    for mine, other in zip(ours, wanted, strict=True):
        for name in program.written:
            if program.reductions():
                assert_close(mine[name], other[name], 2e-6, 2e-6, name)
            else:
                assert_as_on_host(mine[name], other[name], name)


def test_rows_are_as_long_as_an_experiment_says_and_only_there() -> None:
    usual = table([17_000]).rows
    with tables.rows_of(4096):
        assert (table([17_000]).rows, table([10**8]).rows) == (5, -(-(10**8) // 4096))
    assert table([17_000]).rows == usual == 17
