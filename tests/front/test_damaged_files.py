"""Files that are damaged, or made to do harm: an error that names the file and the place, and nothing has changed.

MUTATED_FILES=1000 tries as many.
"""

import json
import os
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resumed import built, stepped

from rmsprop_jit import FileError, Optimizer, files, tensor_file
from rmsprop_jit.codegen import Expr, Rule, Slot, mean_of, normal, sqrt, square
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.files import load

MUTATED = int(os.environ.get("MUTATED_FILES", "200"))
Header = dict[str, Any]


def saved(path: Path, **options: Any) -> bytes:
    stepped(0.1, centered=True, use_ema=True, gradient_accumulation_steps=2).save(path, variables=True, **options)
    return path.read_bytes()


def split(content: bytes) -> tuple[Header, bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: Header | str, data: bytes) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))).encode()
    return len(text).to_bytes(8, "little") + text + data


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    made = bytearray(content)
    for at in rng.integers(len(made), size=int(rng.integers(1, 4))):
        made[at] ^= 1 << int(rng.integers(8))
    return bytes(made)


def overwritten(content: bytes, rng: np.random.Generator) -> bytes:
    at, length = int(rng.integers(len(content))), int(rng.integers(1, 40))
    return content[:at] + rng.bytes(length) + content[at + length :]


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content)))]


def lengthened(content: bytes, rng: np.random.Generator) -> bytes:
    return content + bytes(int(rng.integers(1, 100)))


def without_a_part(content: bytes, rng: np.random.Generator) -> bytes:
    begin, end = sorted(int(at) for at in rng.integers(len(content), size=2))
    return content[:begin] + content[end + 1 :]


def with_another_length(content: bytes, rng: np.random.Generator) -> bytes:
    lengths = [0, 1, 2, 2**16, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1, len(content) - 8, len(content)]
    return lengths[int(rng.integers(len(lengths)))].to_bytes(8, "little") + content[8:]


def changed(change: Callable[[Header, str, str, np.random.Generator], Any]) -> Any:
    """The same file with two rows of its header, of arrays that are not the same, changed."""

    def mutate(content: bytes, rng: np.random.Generator) -> bytes:
        header, data = split(content)
        names = [name for name in header if name != "__metadata__"]
        one, other = (str(name) for name in rng.choice(names, size=2, replace=False))
        change(header, one, other, rng)
        return joined(header, data)

    mutate.__name__ = change.__name__
    return mutate


@changed
def swapped_names(header: Header, one: str, other: str, rng: np.random.Generator) -> None:
    header[one], header[other] = header[other], header[one]


@changed
def other_name(header: Header, one: str, other: str, rng: np.random.Generator) -> None:
    header[one + "x"] = header.pop(one)


@changed
def other_dtype(header: Header, one: str, other: str, rng: np.random.Generator) -> None:
    dtypes = {*tensor_file.DTYPES, "BF16", "F8_E4M3", "O", "", "<f4"} - {header[one]["dtype"]}
    header[one]["dtype"] = str(rng.choice(sorted(dtypes)))


@changed
def other_shape(header: Header, one: str, other: str, rng: np.random.Generator) -> None:
    shapes: list[Any] = [
        [2**62],
        [2**63],
        [2**40, 2**40],
        [0, 2**62, 2**62],
        [-1],
        [1] * 100,
        [1.0],
        [True],
        None,
        "3",
        {},
    ]
    header[one]["shape"] = shapes[int(rng.integers(len(shapes)))]


@changed
def other_place(header: Header, one: str, other: str, rng: np.random.Generator) -> None:
    begin, end = header[one]["data_offsets"]
    places: list[Any] = [
        [begin + 1, end + 1],
        [end, begin],
        [0, 2**63],
        [-4, 0],
        [begin],
        None,
        [begin, end, end],
        ["0", "4"],
    ]
    header[one]["data_offsets"] = places[int(rng.integers(len(places)))]


@changed
def other_row(header: Header, one: str, other: str, rng: np.random.Generator) -> None:
    rows: list[Any] = [None, [], {}, 3, "F32", {**header[one], "more": 1}, {"dtype": "F32"}]
    header[one] = rows[int(rng.integers(len(rows)))]


@changed
def other_text(header: Header, one: str, other: str, rng: np.random.Generator) -> None:
    texts = header["__metadata__"]
    name = str(rng.choice(sorted(texts)))
    values: list[Any] = [None, 3, "", "0" * 32, {}, "[" * 100_000]
    texts[name] = values[int(rng.integers(len(values)))]


@changed
def without_a_text(header: Header, one: str, other: str, rng: np.random.Generator) -> None:
    header["__metadata__"].pop(str(rng.choice(sorted(header["__metadata__"]))))


@changed
def other_texts(header: Header, one: str, other: str, rng: np.random.Generator) -> None:
    header["__metadata__"] = [None, [], 3, "text", {}][int(rng.integers(5))]


WAYS: list[Callable[[bytes, np.random.Generator], bytes]] = [
    flipped,
    flipped,
    overwritten,
    cut,
    lengthened,
    without_a_part,
    with_another_length,
    swapped_names,
    other_name,
    other_dtype,
    other_shape,
    other_place,
    other_row,
    other_text,
    without_a_text,
    other_texts,
]


def bits(optimizer: Optimizer) -> Any:
    return {name: array.tobytes() for name, array in optimizer.state_dict(variables=True).items()}


def test_damaged_files_are_refused_by_place_and_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state"
    good = saved(path)
    theirs = built(0.1, centered=True, use_ema=True, gradient_accumulation_steps=2)
    assert_refused(theirs, path, good, range(MUTATED))


def drawn(p: Expr, g: Expr, s: Names, h: Names) -> dict[Expr, Expr]:
    rows = 0.9 * s.rows + 0.1 * mean_of(square(g), over=-1)
    mean = 0.9 * s.mean + 0.1 * g / (sqrt(rows) + 1)
    return {s.rows: rows, s.mean: mean, p: p - h.learning_rate * (mean + 0.1 * normal())}


DRAWN = Rule("drawn", drawn, slots={"rows": Slot(0.0, over=-1), "mean": 0.0})


@pytest.mark.parametrize("storage", ["bfloat16", "int8"])
def test_damaged_files_of_numbers_over_axes_light_slots_and_seeds(storage: str, tmp_path: Path) -> None:
    """As any others."""
    pytest.importorskip("ml_dtypes")
    path, given = tmp_path / "state", {"kernel": np.ones((2, 3), np.float32), "bias": np.ones(3, np.float32)}
    optimizers = [Optimizer(DRAWN, 0.1, storage={".*:mean": storage}, seed=seed) for seed in (1, 1)]
    for optimizer in optimizers:
        optimizer.build({name: array.copy() for name, array in given.items()})
    optimizers[0].apply(given)
    optimizers[0].save(path, variables=True)
    assert_refused(optimizers[1], path, path.read_bytes(), range(MUTATED, MUTATED + MUTATED // 5))


def assert_refused(theirs: Optimizer, path: Path, good: bytes, seeds: range) -> None:
    """Each of so many damaged files, and then the whole one is loaded."""
    before = bits(theirs)
    for seed in seeds:
        rng = np.random.default_rng([seed, 9])
        way = WAYS[seed % len(WAYS)]
        bad = way(good, rng)
        if bad == good:  # two flips of one bit
            continue
        path.write_bytes(bad)
        tracemalloc.start()
        try:
            with pytest.raises(FileError, match=r"Received: ") as caught:
                theirs.load(path)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert str(caught.value).startswith(f"{path}: "), f"seed {seed}, {way.__name__}"
        assert len(str(caught.value)) < 1000
        assert most < 20 * len(bad) + 200_000, f"seed {seed}, {way.__name__}: {most} bytes for a file of {len(bad)}"
        assert bits(theirs) == before, f"seed {seed}, {way.__name__}"
    path.write_bytes(good)
    theirs.load(path)
    assert bits(theirs) != before


def test_every_single_bit_counts(tmp_path: Path) -> None:
    """But for none: what a reader might pass over, such as spaces, is damage, too."""
    path = tmp_path / "state"
    files.save(path, {"a": np.arange(2, dtype="f4"), "e": np.zeros((0, 3)), "options": np.array("{}")}, 1)
    good = path.read_bytes()
    for at in range(len(good)):
        for bit in range(8):
            path.write_bytes(good[:at] + bytes([good[at] ^ (1 << bit)]) + good[at + 1 :])
            with pytest.raises(FileError, match="Received"):
                load(path)


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    header, data = split(saved(path))
    text = json.dumps(header)
    path.write_bytes(joined(text[:-1] + ', "iteration": ' + json.dumps(header["iteration"]) + "}", data))
    with pytest.raises(FileError, match="'iteration' comes twice"):
        load(path)


def test_gaps_and_overlaps_are_refused(tmp_path: Path) -> None:
    row = {"dtype": "U8", "shape": [2]}
    for places, size in (([[0, 2], [1, 3]], 3), ([[0, 2], [3, 5]], 5), ([[0, 2], [0, 2]], 2), ([[1, 3], [3, 5]], 5)):
        header = {name: {**row, "data_offsets": place} for name, place in zip("ab", places, strict=True)}
        (tmp_path / "state").write_bytes(joined(header, bytes(size)))
        with pytest.raises(FileError, match="does not begin where the one before it ends"):
            load(tmp_path / "state")


def test_a_truth_that_is_neither_is_refused(tmp_path: Path) -> None:
    """Whoever writes a file can write its checksums, too."""
    path = tmp_path / "state"
    files.save(path, {"window": np.frombuffer(b"\2", bool), "options": np.array("{}")}, 1)
    with pytest.raises(FileError, match="'window' must hold truths"):
        load(path)


def test_files_of_the_right_checksums_are_checked_like_any_state(tmp_path: Path) -> None:
    theirs = stepped(0.1)
    state: dict[str, Any] = theirs.state_dict()
    before = bits(theirs)
    for change in (
        {"window": np.zeros(7, bool)},
        {"kernel_velocity": np.zeros(9)},
        {"options": np.array("[" * 100_000)},
    ):
        files.save(tmp_path / "state", {**state, "iteration": np.array(7), **change}, 1)
        with pytest.raises(ValueError, match="Received"):
            theirs.load(tmp_path / "state")
        assert bits(theirs) == before


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="it is no file"):
            load(path)


def test_a_file_of_a_later_version_says_so(tmp_path: Path) -> None:
    header, data = split(saved(tmp_path / "state"))
    header["__metadata__"]["file_version"] = "2"
    (tmp_path / "state").write_bytes(joined(header, data))
    with pytest.raises(FileError, match=r"another version.*a newer rmsprop_jit.*file_version='2'"):
        load(tmp_path / "state")


# the format, by its own words and by its package alone


ARRAYS: dict[str, Any] = {
    **{f"a {code}": np.arange(6).reshape(2, 3).astype(code) for code in tensor_file.DTYPES.values()},
    "big endian": np.arange(3, dtype=">f4"),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "number": np.array(3.0),
    "empty": np.zeros((0, 4), "f4"),
    "ä\n": np.ones(1),
}


def test_the_package_reads_what_is_written_here(tmp_path: Path) -> None:
    judge = pytest.importorskip("safetensors.numpy")
    files.save(tmp_path / "state", {**ARRAYS, "options": np.array("{}")}, 1)
    theirs = judge.load_file(tmp_path / "state")
    assert theirs.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert theirs[name].shape == array.shape
        assert theirs[name].dtype == array.dtype.newbyteorder("<")
        np.testing.assert_array_equal(theirs[name], array)


def test_what_is_written_is_what_the_format_says(tmp_path: Path) -> None:
    files.save(tmp_path / "state", {**ARRAYS, "options": np.array("{}")}, 1)
    header, data = split((tmp_path / "state").read_bytes())
    assert header.keys() == {*ARRAYS, "__metadata__"}
    for name, array in ARRAYS.items():
        row = header[name]
        begin, end = row["data_offsets"]
        found = np.frombuffer(data[begin:end], tensor_file.DTYPES[row["dtype"]]).reshape(row["shape"])
        assert found.dtype == array.dtype.newbyteorder("<")
        np.testing.assert_array_equal(found, array, strict=array.dtype.isnative)


def test_what_the_package_writes_is_read_here(tmp_path: Path) -> None:
    judge = pytest.importorskip("safetensors.numpy")
    arrays = {name: np.ascontiguousarray(array) for name, array in ARRAYS.items() if name != "big endian"}
    judge.save_file(arrays, tmp_path / "state", {"a": "text"})
    with tensor_file.opened(str(tmp_path / "state")) as file:
        assert file.header.texts == {"a": "text"}
        for name, array in arrays.items():
            read = file.read(name)
            assert read.shape == array.shape or name == "number"
            np.testing.assert_array_equal(read.reshape(array.shape), array)


def test_what_the_package_refuses_is_refused_here(tmp_path: Path) -> None:
    """And more: it does not notice flipped bits."""
    judge = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "state"
    good, missed = saved(path), 0
    for seed in range(MUTATED):
        bad = WAYS[seed % len(WAYS)](good, np.random.default_rng([seed, 10]))
        path.write_bytes(bad)
        try:
            judge.load(bad)
        except Exception:  # of many kinds
            with pytest.raises(FileError):
                load(path)
        else:
            missed += bad != good
    assert missed > MUTATED // 10


def test_checksums_are_those_of_zip(tmp_path: Path) -> None:
    header, data = split(saved(tmp_path / "state"))
    checksums = json.loads(header["__metadata__"]["checksums"])
    for name, checksum in checksums.items():
        begin, end = header[name]["data_offsets"]
        assert f"{zlib.crc32(data[begin:end]):08x}" == checksum
