"""Compiled code from the store is looked at before it is loaded: bad object files would end the process."""

import dataclasses
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from rmsprop_jit.codegen import store
from rmsprop_jit.codegen.backends import object_file
from rmsprop_jit.codegen.backends.cpu import jit, llvm
from rmsprop_jit.codegen.backends.cuda import compilers
from rmsprop_jit.codegen.backends.cuda.frame import TICK

SOURCE = "def step(table):\n    table[0] = table[0] * {}\n"
PTX = ".visible .entry tick(\n)\n{\n\tret;\n}\n"
ARCH = (9, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="ELF")
def test_every_cut_and_every_other_symbol_of_an_object_file_is_noticed() -> None:
    made = jit.code(SOURCE.format(4)).machine_code
    llvm.check(made)
    for end in range(len(made.object_file)):
        with pytest.raises(ValueError, match="object file"):
            llvm.check(made._replace(object_file=made.object_file[:end]))
    other = jit.code(SOURCE.format(5)).machine_code
    with pytest.raises(ValueError, match="no function"):
        llvm.check(made._replace(symbol=other.symbol, ir=other.ir))


@pytest.mark.skipif(sys.platform != "linux", reason="ELF")
def test_a_program_is_no_object_file() -> None:
    made = jit.code(SOURCE.format(4)).machine_code
    program = bytearray(made.object_file)
    program[16] = 2
    with pytest.raises(ValueError, match="program"):
        llvm.check(made._replace(object_file=bytes(program)))


def test_object_files_of_macos_and_windows_are_looked_at() -> None:
    for triple, start in (
        ("arm64-apple-darwin", struct.pack("<II", 0xFEEDFACF, 0x0100000C)),
        ("x86_64-pc-windows-msvc", struct.pack("<H", 0x8664)),
    ):
        object_file.check(start + b"code\0_step_a\0", "step_a", triple)
        with pytest.raises(ValueError, match="unknown format"):
            object_file.check(start + b"code\0_step_a\0", "step_a", "x86_64-unknown-linux-gnu")
        for wrong in (start + b"code\0_step_b\0", start + b"code\0_step_a", b"x" + start + b"_step_a\0"):
            with pytest.raises(ValueError, match="object file"):
                object_file.check(wrong, "step_a", triple)


def cubin(symbol: str) -> bytes:
    """An ELF file with one function that says it is NVIDIA's."""
    ir = f"define void @{symbol}() {{\n  ret void\n}}"
    made = bytearray(llvm.from_ir(ir, symbol).object_file)
    struct.pack_into("<H", made, 18, object_file.CUDA)
    return bytes(made)


WRONG_CODE: dict[str, dict[str, Any]] = {
    "another-kernel": {"ptx": PTX.replace("tick", "tock")},
    "another-symbol": {"symbol": "tock"},
    "cut-ptx": {"ptx": PTX[:-3]},
    "empty-ptx": {"ptx": ""},
    "cut-cubin": {"cubin": cubin("tick")[:-1]},
    "no-cubin": {"cubin": b""},
    "cubin-of-another-kernel": {"cubin": cubin("tock")},
}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[compilers.Code, list[compilers.Code]]:
    """An empty store, and whatever code is in the list, compiled by turns."""
    monkeypatch.setenv(store.VARIABLE, str(tmp_path))
    return compilers.Code(PTX, "tick", cubin("tick")), []


def machine_code(turns: list[compilers.Code]) -> compilers.Code:
    return compilers.kept("cubin", TICK, "numba-cuda", ARCH, lambda *which: turns.pop())


@pytest.mark.parametrize("wrong", WRONG_CODE.values(), ids=WRONG_CODE)
def test_kept_code_for_gpus_is_looked_at(
    made: tuple[compilers.Code, list[compilers.Code]], wrong: dict[str, Any]
) -> None:
    right, turns = made
    turns += [right, dataclasses.replace(right, **wrong)]
    machine_code(turns)
    with pytest.warns(UserWarning, match="damaged file"):
        assert machine_code(turns) == right
    assert not turns
    assert machine_code(turns) == right


def test_kept_code_for_gpus_is_of_its_source(made: tuple[compilers.Code, list[compilers.Code]]) -> None:
    right, turns = made
    turns += [right, right]
    machine_code(turns)
    ((key, _, parts),) = store.entries()
    assert parts is not None
    store.write(key, {**parts, "source": b"another"})
    with pytest.warns(UserWarning, match="another source"):
        machine_code(turns)
    assert not turns
