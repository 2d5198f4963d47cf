"""Spoilt entries of the store of compiled code: each is dropped and made anew, and never run as it is.

They are used in a process of their own, a batch at a time, so that a crash is seen as the failure of its batch. Each
case has a folder with one spoilt entry. A process fetches and runs its code: it must drop the entry with a warning, or
leave what others can write alone, with another, and get the right number. So must a second process, to which nothing is
left to tell but of what is still there. The sources are tiny, and compile faster than a step.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rmsprop_jit.codegen import store
from rmsprop_jit.codegen.backends.cpu import jit

ROOT = Path(__file__).parents[2]
SOURCE = "def step(table):\n    table[0] = table[0] * {0} + {0}\n"
KINDS = 3
"""So many sources, whose entries are spoilt."""

BATCH_CODE = """
import sys; sys.path[:0] = sys.argv[5:]
from pathlib import Path; from fuzz import entries
first, end, again = map(int, sys.argv[2:5])
entries.batch(Path(sys.argv[1]), range(first, end), bool(again))
"""
"""What a process of its own runs."""

Spoiler = Callable[[Path, np.random.Generator, Path], None]
"""Spoils an entry's file; `other` is the entry of another source."""


def flipped(path: Path, rng: np.random.Generator, other: Path) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.integers(1, 4)):
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def cut(path: Path, rng: np.random.Generator, other: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(rng.integers(len(content)))])


def grown(path: Path, rng: np.random.Generator, other: Path) -> None:
    path.write_bytes(path.read_bytes() + rng.bytes(int(rng.integers(1, 100))))


def swapped(path: Path, rng: np.random.Generator, other: Path) -> None:
    shutil.copyfile(other, path)


def half_swapped(path: Path, rng: np.random.Generator, other: Path) -> None:
    mine, theirs = path.read_bytes(), other.read_bytes()
    at = int(rng.integers(1, min(len(mine), len(theirs))))
    path.write_bytes(mine[:at] + theirs[at:])


def noise(path: Path, rng: np.random.Generator, other: Path) -> None:
    start = [b"", store.MAGIC, path.read_bytes()[: int(rng.integers(200))]][int(rng.integers(3))]
    path.write_bytes(start + rng.bytes(int(rng.integers(5000))))


def empty(path: Path, rng: np.random.Generator, other: Path) -> None:
    path.write_bytes(b"")


def pipe(path: Path, rng: np.random.Generator, other: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path, rng: np.random.Generator, other: Path) -> None:
    path.unlink()
    path.mkdir()
    if rng.integers(2):
        (path / "file").write_bytes(b"")


def link(path: Path, rng: np.random.Generator, other: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(["elsewhere", "nowhere", path.name, "/dev/zero"][int(rng.integers(4))])


def writable(path: Path, rng: np.random.Generator, other: Path) -> None:
    target = [path, path.parent][int(rng.integers(2))]
    target.chmod(target.stat().st_mode | [0o002, 0o020, 0o022][int(rng.integers(3))])


def owned(path: Path, rng: np.random.Generator, other: Path) -> None:
    os.chown([path, path.parent][int(rng.integers(2))], os.geteuid() + 1234, -1)


def hashed(path: Path, rng: np.random.Generator, other: Path) -> None:
    """Another table, or other parts, under a hash that is right."""
    key = path.name.removesuffix(store.SUFFIX)
    content = path.read_bytes()[len(store.MAGIC) + store.DIGEST_SIZE :]
    text, _, parts = content.partition(b"\n")
    table = json.loads(text)
    odd: list[Any] = [None, -1, 0, 10**9, 10**30, "9", 1.5, [], {}, True]
    way = int(rng.integers(5))
    if way == 0:
        table["sizes"][str(rng.choice([*table["sizes"]]))] = odd[int(rng.integers(len(odd)))]
    elif way == 1:
        table["sizes"].pop(str(rng.choice([*table["sizes"]])))
    elif way == 2:
        table = {"key": key, "sizes": dict(reversed(table["sizes"].items()))}
    elif way == 3:
        table["key"] = odd[int(rng.integers(len(odd)))]
    else:
        parts = parts[: int(rng.integers(len(parts)))]
    body = json.dumps(table).encode() + b"\n" + parts
    path.write_bytes(store.MAGIC + hashlib.sha256(body).digest() + body)


def mixed(path: Path, rng: np.random.Generator, other: Path) -> None:
    """Parts of another entry, or parts that are cut, under a hash that is right."""
    key, another = (one.name.removesuffix(store.SUFFIX) for one in (path, other))
    mine, theirs = _parts(path, key), _parts(other, another)
    name = str(rng.choice([*mine]))
    mine[name] = [theirs[name], mine[name][: int(rng.integers(len(mine[name])))]][int(rng.integers(2))]
    if name == "ir":  # of which only what it needs is read; without it, nothing can be missing
        mine.pop(name)
    os.environ[store.VARIABLE] = str(path.parent)
    store.write(key, mine)


def _parts(path: Path, key: str) -> dict[str, bytes]:
    os.environ[store.VARIABLE] = str(path.parent)
    parts = store.read(key)
    assert parts is not None
    return parts


SPOILERS: list[Spoiler] = [
    flipped,
    cut,
    grown,
    swapped,
    half_swapped,
    noise,
    empty,
    pipe,
    folder,
    link,
    writable,
    owned,
]
SPOILERS += [hashed, mixed, flipped, cut, half_swapped]
IS_OTHERS = {"writable": "compile without the cache", "owned": "compile without the cache"}


def spoiler(seed: int) -> Spoiler:
    """How the entry of a seed is spoilt."""
    able = [one for one in SPOILERS if one is not owned or os.geteuid() == 0]
    return able[seed % len(able)]


def prepare(where: Path, pristine: Path, seed: int) -> None:
    """The folder of a case: one spoilt entry."""
    rng = np.random.default_rng([seed, 3])
    mine, other = rng.choice(KINDS, size=2, replace=False)
    where.mkdir(0o700)
    names = [jit.key_of(SOURCE.format(kind + 1)) + store.SUFFIX for kind in (mine, other)]
    shutil.copyfile(pristine / names[0], where / names[0])
    (where / names[0]).chmod(0o600)
    spoiler(seed)(where / names[0], rng, pristine / names[1])


def fill(pristine: Path) -> None:
    """The entries of all sources, as they should be."""
    os.environ[store.VARIABLE] = str(pristine)
    for kind in range(KINDS):
        jit.fetched(SOURCE.format(kind + 1))


def use(where: Path, seed: int, again: bool) -> None:
    """Fetch and run what the case's folder has the code of. Raises AssertionError.

    again: whether another process has done so before.
    """
    rng = np.random.default_rng([seed, 3])
    source = SOURCE.format(int(rng.choice(KINDS, size=2, replace=False)[0]) + 1)
    factor = float(source.split("* ")[1].split()[0])
    os.environ[store.VARIABLE] = str(where)
    name = spoiler(seed).__name__
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        code = jit.fetched(source)
    told = [str(one.message) for one in caught]
    wanted = 0 if again and name not in ("folder", *IS_OTHERS) else 1
    assert len(told) == wanted, f"{name}: {len(told)} warnings, not {wanted}: {told}"
    assert all(IS_OTHERS.get(name, "damaged file") in one for one in told), f"{name}: {told}"
    table = np.array([2], np.int64)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(code.address)(table.ctypes.data)
    assert table[0] == 3 * factor, f"{name}: {table[0]} instead of {3 * factor}"


def failures(seeds: range, batch: int = 50) -> list[str]:
    """What goes wrong with the entries of some seeds."""
    before = os.environ.get(store.VARIABLE)
    try:
        with tempfile.TemporaryDirectory() as made:
            root = Path(made)
            (root / "pristine").mkdir(0o700)
            fill(root / "pristine")
            for seed in seeds:
                prepare(root / str(seed), root / "pristine", seed)
            parts = [seeds[i : i + batch] for i in range(0, len(seeds), batch)]
            return [line for part in parts for again in (0, 1) for line in _in_a_process(root, part, again)]
    finally:
        os.environ.pop(store.VARIABLE)
        if before is not None:
            os.environ[store.VARIABLE] = before


def _in_a_process(root: Path, seeds: range, again: int) -> list[str]:
    path = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "support")]
    command = [sys.executable, "-c", BATCH_CODE, str(root), str(seeds.start), str(seeds.stop), str(again), *path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    lines = [line for line in done.stdout.splitlines() if line.startswith("seed")]
    if done.returncode:
        at = next(line for line in reversed(["at none", *done.stdout.splitlines()]) if line.startswith("at"))
        lines.append(f"{seeds}: the process ended with {done.returncode} {at}: {done.stderr[-500:]}")
    return lines


def batch(root: Path, seeds: range, again: bool) -> None:
    """What a process of its own does."""
    for seed in seeds:
        print(f"at {seed}", flush=True)
        try:
            use(root / str(seed), seed, again)
        except Exception as problem:  # whatever it is, it is what was looked for
            print(f"seed {seed}, {spoiler(seed).__name__}: {problem!r}", flush=True)
