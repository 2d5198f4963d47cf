"""The store of compiled code: found by content, whole or not at all, shared by processes, never in the way."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from rmsprop_jit.codegen import store
from rmsprop_jit.codegen.backends import generated, native

ROOT = Path(__file__).parents[2]
STEP = """
import warnings, sys
import numpy as np, rmsprop_jit
warnings.simplefilter("always")
v = np.ones(100, np.float32)
rmsprop_jit.RMSprop(0.1, centered=True).apply([np.ones(100, np.float32)], [v])
assert v[0] < 1, v[0]
print("numba" in sys.modules)
"""
SOURCE = "def step(table):\n    table[0] = table[0] + {}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty store."""
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "store"))
    return tmp_path / "store"


def step(folder, **environment):
    """One step in a new process; returns its output and warnings."""
    return subprocess.run(
        [sys.executable, "-c", STEP],
        cwd=ROOT,
        env={**os.environ, store.VARIABLE: str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def test_parts_come_back(folder):
    store.write("key", {"a": b"1" * 1000, "b": b""})
    assert store.read("key") == {"a": b"1" * 1000, "b": b""}
    assert store.read("other") is None
    assert [(key, parts) for key, _, parts in store.entries()] == [("key", {"a": b"1" * 1000, "b": b""})]
    assert store.clear() == 1
    assert store.read("key") is None


@pytest.mark.parametrize("spoil", ["cut", "flip", "empty", "foreign", "grown"])
def test_a_damaged_file_is_dropped_with_one_warning(folder, spoil):
    store.write("key", {"a": bytes(range(256))})
    path = folder / "key.step"
    content = bytearray(path.read_bytes())
    if spoil == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes(
        {"cut": content[:-5], "empty": b"", "foreign": b"hello", "grown": content + b"!"}.get(spoil, content)
    )
    with pytest.warns(UserWarning, match="damaged file") as caught:
        assert store.read("key") is None
    assert len(caught) == 1
    assert not path.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.read("key") is None


def test_a_second_process_does_not_need_numba(folder):
    assert step(folder).stdout.strip() == "True"
    assert step(folder).stdout.strip() == "False"


def test_truncated_files_are_compiled_anew_by_the_next_process(folder):
    step(folder)
    for path in folder.glob("*.step"):
        path.write_bytes(path.read_bytes()[:100])
    assert step(folder).stderr.count("damaged file") >= 1
    again = step(folder)
    assert again.stderr == ""
    assert again.stdout.strip() == "False"


def test_eight_processes_fill_one_store_at_once(folder):
    environment = {**os.environ, store.VARIABLE: str(folder)}
    children = [
        subprocess.Popen([sys.executable, "-c", STEP], cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=-3)
        for _ in range(8)
    ]
    for child in children:
        assert child.communicate(timeout=300)[1] == b""
        assert child.returncode == 0
    assert all(parts is not None for _, _, parts in store.entries())
    assert not list(folder.glob(".new-*"))
    assert step(folder).stdout.strip() == "False"


def test_work_goes_on_where_nothing_can_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert step(blocked / "store").stderr == ""
    assert step("off").stderr == ""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_no_obstacle(folder):
    folder.mkdir()
    folder.chmod(0o500)
    assert step(folder).stderr == ""


def test_the_key_holds_all_that_shapes_the_code(monkeypatch):
    source = SOURCE.format(1)
    first = generated.key_of(source)
    for change in ("numba 99", "llvmlite 99", "another processor", "another compiler file"):
        generated.key_of.cache_clear()
        monkeypatch.setattr(generated, "circumstances", lambda change=change: change)
        assert generated.key_of(source) != first
    monkeypatch.undo()
    generated.key_of.cache_clear()
    assert generated.key_of(source) == first
    assert generated.key_of(SOURCE.format(2)) != first
    text = generated.circumstances()
    assert "numba" in text
    assert "llvmlite" in text
    assert native.host_text() in text


def test_code_that_calls_what_this_process_lacks_is_not_loaded():
    code = generated.code(SOURCE.format(3))
    assert native.is_complete(code)
    lacking = native.MachineCode(code.ir + "\ndeclare void @surely_not_here(ptr)\n", code.object_file, code.symbol)
    assert not native.is_complete(lacking)


def test_shapes_counts_and_numbers_never_compile_again(folder):
    import numpy as np

    import rmsprop_jit

    def use(shapes, **options):
        arrays = [np.ones(shape, np.float32) for shape in shapes]
        rmsprop_jit.RMSprop(**options).apply([a.copy() for a in arrays], arrays)

    use([(3,)], learning_rate=0.1, rho=0.9, clipvalue=1.0)
    before = generated.code.cache_info().misses
    use([(4, 5), (1,), ()], learning_rate=0.2, rho=0.5, clipvalue=3.0)
    use([(7,)] * 50, learning_rate=rmsprop_jit.CosineDecay(0.1, 10), epsilon=1e-3, clipvalue=2.0)
    assert generated.code.cache_info().misses == before
