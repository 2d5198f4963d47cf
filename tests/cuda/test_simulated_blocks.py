"""The simulated GPU's blocks: what threads of one do in turns, and what a kernel with a barrier too few looks like."""

import numpy as np
import pytest
from simulated_gpu import launchable

THREADS = 16

TURNED = """
def turned(out):
    thread = int32(cuda.threadIdx.x)
    lanes = cuda.shared.array(16, float64)
    lanes[thread] = float64(thread)
    {written}
    other = lanes[(thread + 1) % 16]
    {read}
    lanes[thread] = other * float64(2.0)
    cuda.syncthreads()
    store_float64(out + int64(cuda.blockIdx.x * 16 + thread) * 8, lanes[thread])
"""
"""Each thread takes its neighbour's number."""

BARRIER = "cuda.syncthreads()"


def turned(written: str, read: str, blocks: int = 2) -> list[bool]:
    """Whether each block's numbers are right."""
    out = np.zeros((blocks, THREADS))
    launchable(TURNED.format(written=written, read=read), "turned")(blocks, THREADS, out.ctypes.data)
    wanted = (np.arange(THREADS) + 1.0) % THREADS * 2.0
    return [bool(np.array_equal(one, wanted)) for one in out]


def test_threads_go_on_where_all_have_come() -> None:
    assert turned(BARRIER, BARRIER) == [True, True]


@pytest.mark.parametrize(("written", "read"), [("pass", BARRIER), (BARRIER, "pass"), ("pass", "pass")])
def test_a_barrier_that_lacks_is_seen_in_one_of_two_blocks(written: str, read: str) -> None:
    assert not all(turned(written, read))


LARGEST = """
def largest(out, last):
    thread = int32(cuda.threadIdx.x)
    if thread < last:
        store_float64(out + int64(thread) * 8, float64(most_of_group(uint32(thread))))
    {end}
"""


@pytest.mark.parametrize("last", [8, 16])
@pytest.mark.parametrize("end", ["pass", BARRIER])
def test_groups_wait_each_for_itself(last: int, end: str) -> None:
    out = np.zeros(THREADS)
    launchable(LARGEST.format(end=end), "largest")(1, THREADS, out.ctypes.data, last)
    assert out.tolist() == [7.0] * 8 + [15.0 if last == 16 else 0.0] * 8


def test_part_of_a_group_does_not_wait() -> None:
    out = np.zeros(THREADS)
    with pytest.raises(AssertionError, match="threads of a group do not wait together"):
        launchable(LARGEST.format(end="pass"), "largest")(1, THREADS, out.ctypes.data, 5)


def test_nobody_waits_for_threads_that_are_at_their_end() -> None:
    source = "def halves():\n    if cuda.threadIdx.x < 4:\n        cuda.syncthreads()\n"
    with pytest.raises(AssertionError, match="threads wait for others, which are at their end"):
        launchable(source, "halves")(1, THREADS)


def test_nothing_waits_in_a_function() -> None:
    source = "@device\ndef meet():\n    cuda.syncthreads()\n\n\ndef met():\n    meet()\n"
    with pytest.raises(AssertionError, match=r"functions of a kernel wait: \['meet'\]"):
        launchable(source, "met")


def test_what_nobody_has_written_is_no_number() -> None:
    out = np.zeros(1)
    source = "def read(out):\n    store_float64(out, cuda.shared.array(16, float64)[cuda.threadIdx.x])\n"
    launchable(source, "read")(1, 1, out.ctypes.data)
    assert np.isnan(out[0])
