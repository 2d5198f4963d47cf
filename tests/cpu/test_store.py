"""The store of compiled code: found by content, whole or not at all, shared by processes, never in the way."""

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rmsprop_jit.codegen import private, store
from rmsprop_jit.codegen.backends.cpu import jit, llvm
from rmsprop_jit.codegen.errors import BackendError

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
Parts = dict[str, bytes]
"""What an entry of the store holds."""

has_modes = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has no modes of files")
SOURCE = "def step(table):\n    table[0] = table[0] + {}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty store; what the test itself writes there is its user's alone."""
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "store"))
    before = os.umask(0o077)
    yield tmp_path / "store"
    os.umask(before)


def step(folder: Path | str, umask: int = -1, **environment: Any) -> subprocess.CompletedProcess[str]:
    """One step in a new process; returns its output and warnings."""
    return subprocess.run(
        [sys.executable, "-c", STEP],
        cwd=ROOT,
        env={**os.environ, store.VARIABLE: str(folder), **environment},
        umask=umask,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def test_parts_come_back(folder: Path) -> None:
    store.write("key", {"a": b"1" * 1000, "b": b""})
    assert store.read("key") == {"a": b"1" * 1000, "b": b""}
    assert store.read("other") is None
    assert [(key, parts) for key, _, parts in store.entries()] == [("key", {"a": b"1" * 1000, "b": b""})]
    assert store.clear() == 1
    assert store.read("key") is None


@pytest.mark.parametrize("spoil", ["cut", "flip", "empty", "foreign", "grown"])
def test_a_damaged_file_is_dropped_with_one_warning(folder: Path, spoil: str) -> None:
    store.write("key", {"a": bytes(range(256))})
    path = folder / "key.step"
    content = bytearray(path.read_bytes())
    if spoil == "flip":
        content[len(content) // 2] ^= 1
    spoiled = {"cut": content[:-5], "empty": bytearray(), "foreign": bytearray(b"hello"), "grown": content + b"!"}
    path.write_bytes(spoiled.get(spoil, content))
    with pytest.warns(UserWarning, match="damaged file") as caught:
        assert store.read("key") is None
    assert len(caught) == 1
    assert not path.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.read("key") is None


def packed(table: Any, body: bytes = b"") -> bytes:
    """An entry's file with any table and body, and the right hash."""
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return store.MAGIC + hashlib.sha256(text + b"\n" + body).digest() + text + b"\n" + body


PART = zlib.compress(b"1")
RUBBISH = {
    "no-json": packed(b"{"),
    "no-table": packed([1, 2]),
    "no-sizes": packed({"key": "key"}),
    "deep": packed(b"[" * 200_000),
    "not-text": packed(b"\xff\xfe\x80"),
    "text-as-size": packed({"key": "key", "sizes": {"a": "9"}}, PART),
    "negative-size": packed({"key": "key", "sizes": {"a": -1, "b": len(PART) + 1}}, PART),
    "too-large-size": packed({"key": "key", "sizes": {"a": len(PART) + 1}}, PART),
    "not-compressed": packed({"key": "key", "sizes": {"a": 9}}, b"123456789"),
    "cut-part": packed({"key": "key", "sizes": {"a": len(PART) - 1}}, PART[:-1]),
    "two-in-one": packed({"key": "key", "sizes": {"a": 2 * len(PART)}}, PART * 2),
    "another-key": packed({"key": "other", "sizes": {"a": len(PART)}}, PART),
    "no-key": packed({"sizes": {"a": len(PART)}}, PART),
}


@pytest.mark.parametrize("rubbish", RUBBISH.values(), ids=RUBBISH)
def test_rubbish_with_the_right_hash_is_dropped_with_one_warning(folder: Path, rubbish: bytes) -> None:
    folder.mkdir()
    (folder / "key.step").write_bytes(rubbish)
    assert [parts for _, _, parts in store.entries()] == [None]
    with pytest.warns(UserWarning, match="damaged file") as caught:
        assert store.read("key") is None
    assert len(caught) == 1
    assert not (folder / "key.step").exists()


def test_a_part_does_not_fill_the_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LIMIT", 1000)
    store.write("key", {"a": bytes(1001)})
    with pytest.warns(UserWarning, match="cut off"):
        assert store.read("key") is None


def test_an_entry_of_another_source_or_use_is_dropped(folder: Path) -> None:
    def check(parts: Parts) -> None:
        parts["object"]

    for wanted in (("another", None), ("source", check)):
        store.write("key", {"source": b"source"})
        assert store.read("key", "source") == {"source": b"source"}
        with pytest.warns(UserWarning, match="another source|no part 'object'"):
            assert store.read("key", *wanted) is None
        assert not store.contains("key")


def test_a_warning_that_is_an_error_does_not_come_again(folder: Path) -> None:
    folder.mkdir()
    (folder / "key.step").write_bytes(b"hello")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="damaged file"):
            store.read("key")
        assert store.read("key") is None


@pytest.mark.parametrize("version", [1, 3])
def test_an_entry_of_another_version_is_silently_replaced(folder: Path, version: int) -> None:
    folder.mkdir()
    (folder / "key.step").write_bytes(b"rmsprop_jit %d\n" % version + bytes(100))
    assert store.read("key") is None
    store.write("key", {"a": b"1"})
    assert store.read("key") == {"a": b"1"}


def test_a_second_process_does_not_need_numba(folder: Path) -> None:
    assert step(folder).stdout.strip() == "True"
    assert step(folder).stdout.strip() == "False"


def test_truncated_files_are_compiled_anew_by_the_next_process(folder: Path) -> None:
    step(folder)
    for path in folder.glob("*.step"):
        path.write_bytes(path.read_bytes()[:100])
    assert step(folder).stderr.count("damaged file") >= 1
    again = step(folder)
    assert again.stderr == ""
    assert again.stdout.strip() == "False"


def for_another_machine(ir: str) -> bytes:
    """An object file of the same function for AArch64, or for x86-64 where this is AArch64."""
    from llvmlite import binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    triple = "x86_64-linux-gnu" if binding.get_process_triple().startswith("a") else "aarch64-linux-gnu"
    bare = re.sub(r"^(target|attributes) .*$| #\d+", "", ir, flags=re.MULTILINE)
    machine = binding.Target.from_triple(triple).create_target_machine()
    made: bytes = machine.emit_object(binding.parse_assembly(bare))
    return made


def without(parts: Parts, name: str) -> Parts:
    return {key: part for key, part in parts.items() if key != name}


SPOILT: dict[str, Callable[[Parts, Parts], Parts]] = {
    "another-entry": lambda parts, other: {**other, "source": parts["source"]},
    "another-object": lambda parts, other: {**parts, "object": other["object"]},
    "another-source": lambda parts, other: {**parts, "source": other["source"]},
    "another-machine": lambda parts, _: {**parts, "object": for_another_machine(parts["ir"].decode())},
    "cut-object": lambda parts, _: {**parts, "object": parts["object"][:-1]},
    "half-object": lambda parts, _: {**parts, "object": parts["object"][: len(parts["object"]) // 2]},
    "garbage-object": lambda parts, _: {**parts, "object": b"hello"},
    "empty-object": lambda parts, _: {**parts, "object": b""},
    "no-object": lambda parts, _: without(parts, "object"),
    "no-ir": lambda parts, _: without(parts, "ir"),
    "no-source": lambda parts, _: without(parts, "source"),
    "ir-not-text": lambda parts, _: {**parts, "ir": b"\xff"},
    "nothing": lambda parts, other: {},
}


def entry_of_a_rule() -> tuple[str, Parts]:
    """Key and parts of the one entry that a step keeps beside the code that all rules share."""
    entries = store.entries()
    ((key, parts),) = [
        (key, parts) for key, _, parts in entries if parts is None or b"def step(table" in parts["source"]
    ]
    assert parts is not None
    return key, parts


def kept_parts(source: str) -> Parts:
    """What the store keeps of a source."""
    made = jit.code(source).machine_code
    return {"source": source.encode(), "ir": made.ir.encode(), "object": made.object_file}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_an_entry_that_cannot_be_loaded_is_compiled_anew(folder: Path, spoil: Callable[[Parts, Parts], Parts]) -> None:
    source = SOURCE.format(4)
    right, key = kept_parts(source), jit.key_of(source)
    store.write(key, spoil(right, kept_parts(SOURCE.format(5))))
    with pytest.warns(UserWarning, match="damaged file") as caught:
        made = jit.fetched(source).machine_code
    assert len(caught) == 1
    kept = store.read(key, source)
    assert kept is not None
    assert kept["object"] == made.object_file
    assert jit.fetched(source).machine_code == made
    llvm.check(made)


@pytest.mark.parametrize("spoil", ["name", "another-object", "another-machine", "half-object"])
def test_the_next_process_survives_what_would_end_it(folder: Path, spoil: str) -> None:
    step(folder)
    key, parts = entry_of_a_rule()
    if spoil == "name":
        store.write("other", kept_parts(SOURCE.format(5)))
        shutil.copyfile(folder / "other.step", folder / f"{key}.step")
    else:
        store.write(key, SPOILT[spoil](parts, kept_parts(SOURCE.format(5))))
    assert step(folder).stderr.count("damaged file") == 1
    assert step(folder).stderr == ""


class Refusing:
    """Code that cannot be loaded the first time."""

    def __init__(self, later: list[type[llvm.Code]]) -> None:
        self.later = later
        self.calls = 0

    def __call__(self, machine_code: llvm.MachineCode) -> llvm.Code:
        self.calls += 1
        if self.calls == 1:
            raise BackendError("no address")
        return self.later[0](machine_code)


def test_code_without_an_address_is_refused_and_made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SOURCE.format(6)
    right = jit.code(source).machine_code
    with pytest.raises(BackendError, match="step_other"):
        llvm.Code(right._replace(symbol="step_other"))
    store.write(jit.key_of(source), kept_parts(source))
    monkeypatch.setattr(jit, "check", lambda machine_code: None)
    monkeypatch.setattr(jit, "Code", Refusing([llvm.Code]))
    with pytest.warns(UserWarning, match="damaged file"):
        assert jit.fetched(source).address


def test_eight_processes_fill_one_store_at_once(folder: Path) -> None:
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


def test_work_goes_on_where_nothing_can_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert step(blocked / "store").stderr == ""
    assert step("off").stderr == ""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_no_obstacle(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o500)
    assert step(folder).stderr == ""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@has_modes
@pytest.mark.parametrize("umask", [0, 0o022])
def test_what_is_made_is_for_the_user_alone(tmp_path: Path, umask: int) -> None:
    tmp_path.chmod(0o755)
    folder = tmp_path / "a" / "b" / "store"
    assert step(folder, umask=umask).stderr == ""
    assert [mode(path) for path in (tmp_path, folder.parent.parent, folder.parent, folder)] == [0o755, *[0o700] * 3]
    assert {mode(path) for path in folder.iterdir()} == {0o600}


@has_modes
def test_a_folder_that_others_can_only_read_is_used(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    assert step(folder).stderr == ""
    assert step(folder).stdout.strip() == "False"


Give = Callable[[Path], None]

OTHERS: dict[str, Give] = {
    "all-write": lambda path: path.chmod(path.stat().st_mode | 0o002),
    "group-writes": lambda path: path.chmod(path.stat().st_mode | 0o020),
    "another-owner": lambda path: os.chown(path, os.geteuid() + 1234, -1),
}


@pytest.fixture(params=OTHERS)
def give(request: pytest.FixtureRequest) -> Give:
    """Let others write a file or folder."""
    if not hasattr(os, "geteuid") or (request.param == "another-owner" and os.geteuid() != 0):
        pytest.skip("needs modes, and root for another's files")
    return OTHERS[request.param]


def use_thrice() -> tuple[list[Parts | None], list[str]]:
    """Read, write, read again; returns what was read and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first = store.read("key")
        store.write("key", {"a": b"2"})
        return [first, store.read("key")], [str(one.message) for one in caught]


@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_folder_of_others_is_not_used_and_one_warning_says_so(
    folder: Path, give: Give, monkeypatch: pytest.MonkeyPatch, through_a_link: bool
) -> None:
    store.write("key", {"a": b"1"})
    content = (folder / "key.step").read_bytes()
    give(folder)
    if through_a_link:
        folder.with_name("link").symlink_to(folder)
        monkeypatch.setenv(store.VARIABLE, str(folder.with_name("link")))
    read, told = use_thrice()
    assert read == [None, None]
    assert len(told) == 1
    assert all(word in told[0] for word in (os.environ[store.VARIABLE], "Remove it", store.VARIABLE))
    assert not store.contains("key")
    assert list(store.entries()) == []
    assert store.clear() == 0
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("key.step", content)]


def test_a_step_needs_no_store_that_others_can_write(folder: Path, give: Give) -> None:
    folder.mkdir()
    give(folder)
    assert step(folder).stderr.count("compile without the cache") == 1
    assert list(folder.iterdir()) == []


def test_an_entry_of_others_is_neither_read_nor_replaced(folder: Path, give: Give) -> None:
    store.write("key", {"a": b"1"})
    content = (folder / "key.step").read_bytes()
    give(folder / "key.step")
    read, told = use_thrice()
    assert read == [None, None]
    assert len(told) == 1
    assert str(folder / "key.step") in told[0]
    assert (folder / "key.step").read_bytes() == content
    store.write("another", {"a": b"3"})
    assert store.read("another") == {"a": b"3"}
    assert [(key, parts) for key, _, parts in store.entries()] == [("another", {"a": b"3"}), ("key", None)]
    assert store.clear() == 2


@has_modes
@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_what_is_no_file_is_not_read(folder: Path, kind: str) -> None:
    step(folder)
    path = folder / f"{entry_of_a_rule()[0]}.step"
    path.rename(folder / "elsewhere")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("elsewhere")
    else:
        path.mkdir()
    assert step(folder).stderr.count("damaged file") == 1
    assert (folder / "elsewhere").exists()
    if kind != "folder":  # which is not removed
        assert step(folder).stderr == ""


@has_modes
def test_files_are_those_of_the_folder_that_was_judged(folder: Path) -> None:
    store.write("key", {"a": b"1"})
    content = (folder / "key.step").read_bytes()
    with private.Folder(folder) as place:
        folder.rename(folder.with_name("before"))
        folder.mkdir()
        (folder / "key.step").write_bytes(b"of others")
        assert place.read("key.step", 1000) == content
        place.write("new.step", b"new")
        with pytest.raises(ValueError, match="too large"):
            place.read("new.step", 2)
    assert (folder.with_name("before") / "new.step").exists()
    assert not (folder / "new.step").exists()


def test_systems_without_owners_and_open_folders_have_a_store_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "geteuid", raising=False)
    monkeypatch.setattr(private, "HAS_HANDLES", False)
    store.write("key", {"a": b"1"})
    folder.chmod(0o777)
    assert store.read("key") == {"a": b"1"}
    assert [key for key, _, _ in store.entries()] == ["key"]
    assert store.clear() == 1
    (folder / "file").write_bytes(b"")
    monkeypatch.setenv(store.VARIABLE, str(folder / "file"))
    assert list(store.entries()) == []


def test_the_key_holds_all_that_shapes_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    source = SOURCE.format(1)
    first = jit.key_of(source)
    for change in ("numba 99", "llvmlite 99", "another processor", "another compiler file"):
        monkeypatch.setattr(jit, "circumstances", lambda change=change: change)
        assert jit.key_of(source) != first
    monkeypatch.undo()
    assert jit.key_of(source) == first
    assert jit.key_of(SOURCE.format(2)) != first
    text = jit.circumstances()
    assert "numba" in text
    assert "llvmlite" in text
    assert llvm.host_text() in text


def test_code_that_calls_what_this_process_lacks_is_not_loaded() -> None:
    code = jit.code(SOURCE.format(3)).machine_code
    assert llvm.is_complete(code)
    lacking = llvm.MachineCode(code.ir + "\ndeclare void @surely_not_here(ptr)\n", code.object_file, code.symbol)
    assert not llvm.is_complete(lacking)


def test_shapes_counts_and_numbers_never_compile_again(folder: Path) -> None:
    import numpy as np

    import rmsprop_jit

    def use(shapes: list[tuple[int, ...]], **options: Any) -> None:
        arrays = [np.ones(shape, np.float32) for shape in shapes]
        rmsprop_jit.RMSprop(**options).apply([a.copy() for a in arrays], arrays)

    use([(3,)] * 4, learning_rate=0.1, rho=0.9, clipvalue=1.0)  # so many that the reader of gradients is there too
    before = [key for key, _, _ in store.entries()]
    assert before
    use([(4, 5), (1,), ()], learning_rate=0.2, rho=0.5, clipvalue=3.0)
    use([(7,)] * 50, learning_rate=rmsprop_jit.CosineDecay(0.1, 10), epsilon=1e-3, clipvalue=2.0)
    assert [key for key, _, _ in store.entries()] == before
