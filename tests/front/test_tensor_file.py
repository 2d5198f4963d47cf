"""The package of safetensors does what it is given, and what it does not do is done here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from resumed import built, stepped

import rmsprop_jit
from rmsprop_jit import ArrayError, FileError, files, tensor_file

OWN = Path(__file__).parent / "golden" / "own_writer.safetensors"
"""What `save` wrote before it used the package: the same version of files, in another order."""

OPTIONS: dict[str, Any] = {"centered": True, "use_ema": True, "gradient_accumulation_steps": 2}


def written(path: Path, table: dict[str, Any], data: bytes, behind: str = "") -> Path:
    text = json.dumps(table).encode() + behind.encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_files_of_the_own_writer_are_loaded(tmp_path: Path) -> None:
    first, again = built(0.1, **OPTIONS), built(0.1, **OPTIONS)
    first.load(OWN)
    first.save(tmp_path / "state", variables=True)
    again.load(tmp_path / "state")
    ours, theirs = stepped(0.1, **OPTIONS).state_dict(variables=True), again.state_dict(variables=True)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()] == []


def test_a_file_that_is_replaced_while_it_is_opened_is_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package opens it by itself: of two files, one would have the header and the other the arrays."""
    path, given = tmp_path / "state", safetensors.safe_open
    stepped(0.1).save(path)
    later = stepped(0.1)
    later.apply({"kernel": np.ones((2, 3), np.float32), "bias": np.ones(3, np.float32)})
    later.save(tmp_path / "later")

    def slow(*arguments: Any, **options: Any) -> Any:
        if (tmp_path / "later").exists():
            os.replace(tmp_path / "later", path)
        return given(*arguments, **options)

    monkeypatch.setattr(tensor_file, "safe_open", slow)
    theirs = built(0.1)
    theirs.load(path)
    assert theirs.iterations == 2


def test_a_file_that_becomes_shorter_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    """Where memory maps it, reading would end the process."""
    path = tmp_path / "state"
    files.save(path, {"a": np.ones(100_000), "options": np.array("{}")}, 1)
    with tensor_file.opened(str(path)) as file:
        os.truncate(path, 5000)
        with pytest.raises(FileError, match=r"array 'a' cannot be read. Received: .*fill whole buffer"):
            file.read("a")


@pytest.mark.parametrize("dtype", ["F8_E5M2", "F8_E4M3", "C64"])
def test_dtypes_that_a_state_does_not_have_are_refused_by_name(tmp_path: Path, dtype: str) -> None:
    size = {"F8_E5M2": 1, "F8_E4M3": 1, "C64": 8}[dtype]
    path = written(tmp_path / "a", {"x": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}}, bytes(size))
    with pytest.raises(FileError, match=f"array 'x' .* must have one of the dtypes BOOL.*Received: {dtype}"):
        files.load(path)


@pytest.mark.parametrize("dtype", [np.complex64, np.longdouble, np.dtype("M8[s]"), object])
def test_an_array_that_could_not_be_loaded_is_not_saved(tmp_path: Path, dtype: Any) -> None:
    state = {"a": np.zeros(2), "x": np.zeros(2, dtype), "options": np.array("{}")}
    with pytest.raises(ArrayError, match=r"a file holds arrays of bool.*Received: 'x': "):
        files.save(tmp_path / "a", state, 1)
    assert os.listdir(tmp_path) == []


def test_a_header_has_no_more_than_was_written(tmp_path: Path) -> None:
    """The package passes over it."""
    row = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}
    for table, behind, message in (
        ({"a": {**row, "more": 1}}, "", "array 'a' in its header must have dtype, shape and data_offsets"),
        ({"a": row}, "\n", "nothing but spaces behind it"),
    ):
        path = written(tmp_path / "a", table, b"12", behind)
        with safetensors.safe_open(path, "numpy") as file:
            assert file.keys() == ["a"]
        with pytest.raises(FileError, match=message):
            files.load(path)


@pytest.mark.parametrize("shape", [[0, 2**62, 2**62], [1] * 99 + [2]])
def test_shapes_that_numpy_cannot_have_are_refused(tmp_path: Path, shape: list[int]) -> None:
    size = 0 if shape[0] == 0 else 2
    path = written(tmp_path / "a", {"x": {"dtype": "U8", "shape": shape, "data_offsets": [0, size]}}, bytes(size))
    with tensor_file.opened(str(path)) as file, pytest.raises(FileError, match="array 'x' cannot be read"):
        file.read("x")


def test_what_the_package_says_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a", {"\x1b[2J": {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]}}, b"123")
    with pytest.raises(FileError, match="does not begin where the one before it ends") as caught:
        files.load(path)
    assert "invalid offset for tensor `\\x1b[2J`" in str(caught.value)
    assert "\x1b" not in str(caught.value)


LOADING = """
import resource, sys
import numpy as np
from rmsprop_jit import RMSprop

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

optimizer = RMSprop(0.1)
optimizer.build([np.zeros(1_000_000, np.float32) for _ in range(5)])
optimizer.state_dict()  # room for one copy was taken, and given back
if sys.argv[2] == "save":
    optimizer.save(sys.argv[1])
else:
    before = peak()
    optimizer.load(sys.argv[1])
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="asks for the most memory that was in use")
def test_loading_has_room_for_one_copy_of_the_state(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(rmsprop_jit.__file__).parents[1])}
    for way in ("save", "load"):
        command = [sys.executable, "-c", LOADING, str(tmp_path / "a"), way]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 10e6, "20 MB of state were in memory once, and are so again"


REFUSING = """
import json, resource, sys
from rmsprop_jit import FileError, files

def refused(content):
    open(sys.argv[1], "wb").write(content)
    try:
        files.load(sys.argv[1])
    except FileError:
        return
    raise AssertionError(content[:100])

def joined(table):
    text = json.dumps(table).encode()
    return len(text).to_bytes(8, "little") + text + bytes(8)

refused(b"")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for length in (2, 99_999_999, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1):
    refused(length.to_bytes(8, "little") + b"{}      ")
for shape in ([2**28], [2**40], [2**61], [2**62], [2**63], [2**40, 2**40], [0, 2**62], [2**62, 0, 2**62]):
    for place in ([0, 8], [0, 2**31], [0, 2**63], [0, 0]):
        refused(joined({"x": {"dtype": "F32", "shape": shape, "data_offsets": place}}))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts kilobytes")
def test_what_a_file_claims_takes_no_memory(tmp_path: Path) -> None:
    """Neither Python's, nor the package's, of which tracemalloc knows nothing."""
    environment = {**os.environ, "PYTHONPATH": str(Path(rmsprop_jit.__file__).parents[1])}
    command = [sys.executable, "-c", REFUSING, str(tmp_path / "a")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 10_000


@pytest.mark.skipif(sys.platform == "win32", reason="there it is left")
def test_what_a_killed_save_leaves_is_swept_with_all_that_is_in_it(tmp_path: Path) -> None:
    """As the package has it: its own temporary files, of which this package knows no names."""
    path = tmp_path / "state"
    stepped(0.1).save(path)
    script = (
        "import os, signal, sys, numpy as np\n"
        "from rmsprop_jit import files, tensor_file\n"
        "def write(path, *_):\n"
        "    open(os.path.join(os.path.dirname(path), '.tmpXYZ'), 'wb').write(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "tensor_file.write = write\n"
        "files.save(sys.argv[1], {'a': np.ones(3), 'options': np.array('{}')}, 1)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(rmsprop_jit.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", script, str(path)], env=environment, timeout=60).returncode == -9
    (left,) = {*os.listdir(tmp_path)} - {"state"}
    assert ".tmpXYZ" in os.listdir(tmp_path / left)
    stepped(0.1).save(path)
    assert sorted(os.listdir(tmp_path)) == ["state"]
