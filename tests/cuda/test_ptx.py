"""What both CUDA compilers make of the kernels, for some architectures, without a GPU or a driver: the PTX is read."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cuda_code import ARCHS, MIXED, OPTION_SETS, USUAL, Entry, cases
from once import once_a_run

from rmsprop_jit.codegen.backends.cuda_compilers import COMPILERS

ROOT = Path(__file__).parents[2]
SUPPORT = ROOT / "tests" / "support"
INSTALLED = [name for name in COMPILERS if importlib.util.find_spec(name.replace("-", "_")) is not None]
VECTORS = {"float32": r"v4\.[fb]32", "float64": r"v2\.[fb]64"}
"""16 bytes of each type, by a regular expression: before sm_100 PTX names the type, from then on only its bits."""
F64_ARITHMETIC = re.compile(r"^\s*(?:add|sub|mul|div|fma|mad|sqrt|rsqrt|rcp|min|max|neg|abs|cvt)\S*\.f64", re.MULTILINE)


def in_another_process(*arguments: str, **environment: Any) -> str:
    """A run of this Python without the simulator; returns its standard output."""
    settings = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"}
    paths = os.pathsep.join([str(ROOT), str(SUPPORT), settings.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**settings, "PYTHONPATH": paths, **environment},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=list(COMPILERS))
def compiler(request: pytest.FixtureRequest) -> str:
    if request.param not in INSTALLED:
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


@pytest.fixture
def written(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All that a compiler makes of the kernels, in one process for all tests."""
    text = once_a_run(
        tmp_path_factory, f"ptx-{compiler}", lambda: in_another_process(str(SUPPORT / "cuda_code.py"), compiler)
    )
    return dict(json.loads(text))


@pytest.fixture
def entries(written: dict[str, Any]) -> list[Entry]:
    """The kernels of options."""
    return list(written["kernels"])


@pytest.fixture
def others(written: dict[str, Any]) -> dict[str, str]:
    """The PTX of those in `cuda_programs.py`."""
    return dict(written["others"])


def steps(entries: list[Entry], dtype: str = "float32") -> list[Entry]:
    found = [one for one in entries if one["kernel"].startswith("step_") and one["dtype"] == dtype]
    assert found
    return found


def named(one: Entry) -> str:
    return f"{'+'.join(one['flags']) or 'plain'}, {one['kernel']}, {one['arch']}"


def test_every_option_set_compiles_for_every_architecture(entries: list[Entry]) -> None:
    done = {(tuple(one["flags"]), tuple(one["arch"])) for one in entries}
    assert done == {(flags, arch) for flags, _, _, arch in cases()}
    assert {flags for flags, arch in done if arch == USUAL} == set(OPTION_SETS)
    assert {arch for _, arch in done} == set(ARCHS)
    for one in entries:
        major, minor = one["arch"]
        assert f".target sm_{major}{minor}" in one["ptx"], named(one)
        assert f".visible .entry {one['symbol']}(" in one["ptx"], named(one)
        for dtype, kind in {"int64": ".u64", "float32": ".f32", "float64": ".f64"}.items():
            assert one["ptx"].count(f".param {kind}") == one["types"].count(dtype), named(one)
        assert one["cubin"] > 1000, named(one)


def test_float32_steps_do_no_arithmetic_in_float64(entries: list[Entry]) -> None:
    for one in steps(entries):
        assert not F64_ARITHMETIC.findall(one["ptx"]), named(one)
        assert ".f64" not in one["ptx"], named(one)


def test_the_pattern_for_float64_arithmetic_finds_it(entries: list[Entry]) -> None:
    others = [one for one in entries if one["kernel"].startswith(("fold_", "uniforms_1"))]
    assert {one["kernel"] for one in others} == {"fold_0", "uniforms_1"}
    assert all(F64_ARITHMETIC.search(one["ptx"]) for one in others)
    assert all(F64_ARITHMETIC.search(one["ptx"]) for one in steps(entries, "float64") if one["stores"])


def test_nothing_is_spilled_or_kept_in_local_memory(entries: list[Entry]) -> None:
    for one in entries:
        assert not re.search(r"\b(?:ld|st)\.local|\.local\s|__local_depot", one["ptx"]), named(one)
        assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in one["usage"], named(one)


def test_nothing_is_called(entries: list[Entry]) -> None:
    for one in entries:
        assert not re.search(r"^\s*call", one["ptx"], re.MULTILINE), named(one)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_wide_path_loads_and_stores_16_bytes(entries: list[Entry], dtype: str) -> None:
    for one in steps(entries, dtype):
        assert re.search(rf"ld\.global\.{VECTORS[dtype]}", one["ptx"]), named(one)
        assert bool(re.search(rf"st\.global\.{VECTORS[dtype]}", one["ptx"])) == one["stores"], named(one)


@pytest.mark.parametrize(("dtype", "gradient"), MIXED)
def test_gradients_of_another_type_come_in_vectors_too(entries: list[Entry], dtype: str, gradient: str) -> None:
    shapes = {"float32": "v4.f32", "float64": "v2.f64"}
    casts = {"float32": "cvt.rn.f32.f64", "float64": "cvt.f64.f32"}
    for one in steps(entries, f"{dtype} from {gradient}"):
        assert f"ld.global.{shapes[gradient]}" in one["ptx"], named(one)
        assert casts[dtype] in one["ptx"], named(one)
        if one["stores"]:
            assert f"ld.global.{shapes[dtype]}" in one["ptx"], named(one)
            assert f"st.global.{shapes[dtype]}" in one["ptx"], named(one)
            assert f"st.global.{shapes[gradient]}" not in one["ptx"], named(one)


def test_memory_is_reached_as_global_memory(entries: list[Entry]) -> None:
    for one in entries:
        generic = re.findall(r"^\s*(?:ld|st)\.(?:u64|f32|f64|b32|b64|u32)\s.*", one["ptx"], re.MULTILINE)
        assert not generic, f"{named(one)}: {generic}"


def test_indices_in_a_row_are_of_32_bits(entries: list[Entry]) -> None:
    for one in steps(entries):
        assert re.search(r"mul\.wide\.[su]32", one["ptx"]), named(one)


def test_several_loads_are_in_flight(entries: list[Entry], compiler: str) -> None:
    """Before the first result is used, a step has started several loads; a pure reduction in its unrolled loop.

    For sm_100 numba-cuda does not unroll it.
    """
    for one in steps(entries):
        wide = [match.start() for match in re.finditer(rf"ld\.global\.{VECTORS['float32']}", one["ptx"])]
        if one["stores"]:
            first_store = re.search(rf"st\.global\.{VECTORS['float32']}", one["ptx"])
            assert first_store is not None, named(one)
            assert sum(at < first_store.start() for at in wide) >= 2, named(one)
        elif (compiler, one["arch"]) != ("numba-cuda", [10, 0]):
            assert len(wide) >= 4, named(one)


def has_disassembler() -> bool:
    return importlib.util.find_spec("nvidia") is not None and (
        shutil.which("nvdisasm") is not None or any(Path(sys.prefix).rglob("nvidia/*/bin/nvdisasm"))
    )


def explained(form: str, compiler: str) -> str:
    line = f"import rmsprop_jit; print(rmsprop_jit.RMSprop(centered=True, compiler={compiler!r}).explain({form!r}))"
    return in_another_process("-c", line)


def test_explain_shows_ptx_without_a_gpu(compiler: str) -> None:
    text = explained("ptx", compiler)
    assert text.startswith(f"// rmsprop+centered, float32; {compiler}, sm_90")
    assert text.count(".visible .entry") == 1


def test_explain_shows_the_compilers_mlir(compiler: str) -> None:
    if compiler == "numba-cuda-mlir":
        assert "gpu.func" in explained("mlir-cuda", compiler)
    else:
        with pytest.raises(AssertionError, match=r"OptionError: only numba-cuda-mlir.*Received: compiler='numba-cuda'"):
            explained("mlir-cuda", compiler)


def test_explain_shows_machine_code_or_says_what_is_missing(compiler: str) -> None:
    if not has_disassembler():
        with pytest.raises(AssertionError, match="BackendError: form 'sass' needs NVIDIA's nvdisasm"):
            explained("sass", compiler)
        return
    text = explained("sass", compiler)
    assert re.search(r"LDG\.E\.128", text)
    assert re.search(r"STG\.E\.128", text)
    assert not re.search(r"\b(?:DADD|DMUL|DFMA)\b", text.split("step_0", 1)[1])


def test_functions_are_arithmetic_in_float64_and_nothing_is_called(others: dict[str, str]) -> None:
    ptx = others["functions"]
    assert not re.search(r"^\s*call|\.local\s", ptx, re.MULTILINE)
    assert {"cvt.f64.f32", "cvt.rn.f32.f64"} <= set(re.findall(r"cvt[\w.]+", ptx))
    assert re.search(r"(?:shl|shf|bfi)[\w.]*\.(?:b64|b32|l\.wrap)", ptx)
    assert not re.search(r"(?:ex2|lg2|tanh)\.", ptx)


def test_words_have_32_bits_and_nothing_is_called(others: dict[str, str]) -> None:
    ptx = others["operations"] + others["philox"]
    assert not re.search(r"^\s*call|\.local\s|\.f64", ptx, re.MULTILINE)
    assert len(re.findall(r"xor\.b32", ptx)) >= 40  # two a round, two words each
    assert "xor.b64" not in ptx
    wide = re.findall(r"mul\.(?:lo|hi|wide)\.[su]64[^;]*, (-?\d+);", ptx)
    assert all(int(factor) > -(2**30) for factor in wide), "a constant of a word, made wider, is negative"


def test_what_is_no_number_differs_from_itself(others: dict[str, str]) -> None:
    """By a comparison that is true for nan, which a largest value needs, and `!=`."""
    ptx = others["largest"]
    assert len(re.findall(r"setp\.(?:nan|neu)\.f(?:32|64)|max\.NaN", ptx)) >= 3  # a thread's, a block's, all blocks'
    assert re.search(r"setp\.(?:neu|eq)\.f32", ptx)
    assert "setp.ne.f" not in ptx


def test_each_choice_of_two_numbers_sees_what_is_no_number(others: dict[str, str]) -> None:
    """Where both compilers' `!=` would not."""
    for name in ("max_of", "min_of", "maximum", "minimum"):
        ptx = others[name]
        assert re.search(r"setp\.(?:nan|neu|num)\.f(?:32|64)|(?:max|min)\.NaN", ptx), name
        assert "setp.ne.f" not in ptx, name


def test_no_product_is_contracted(entries: list[Entry]) -> None:
    """So that numbers are those of processors; sums of squares, which have another order anyway, may be."""
    for one in entries:
        if one["kernel"].startswith("step_") and one["stores"]:
            found = re.findall(r"\b(?:fma|mad|mul)\.[\w.]*f(?:32|64)", one["ptx"])
            assert set(found) <= {"mul.rn.f32", "mul.rn.f64"}, named(one)


def test_bfloat16_is_moved_in_vectors_and_rounded_without_float64(others: dict[str, str]) -> None:
    ptx = others["bfloat16"]
    assert not re.search(r"^\s*call|\.local\s|\.f64", ptx, re.MULTILINE)
    for what, arrays in (("ld", 4), ("st", 3)):  # eight elements of each array, in one or two accesses
        wide = re.findall(rf"{what}\.global\.v(\d)\.[bu](\d+)", ptx)
        assert sum(int(lanes) * int(bits) for lanes, bits in wide) == arrays * 8 * 16
        assert all(int(lanes) * int(bits) >= 64 for lanes, bits in wide)


def test_gradients_in_float16_are_moved_in_vectors(others: dict[str, str]) -> None:
    ptx = others["halves"]
    assert not re.search(r"^\s*call|\.local\s|\.f64", ptx, re.MULTILINE)
    wide = re.findall(r"ld\.global\.v(\d)\.[buf](\d+)", ptx)
    assert sum(int(lanes) * int(bits) for lanes, bits in wide) == 8 * (16 + 32 + 32)  # eight elements of each array
    assert len(re.findall(r"cvt\.f32\.f16", ptx)) >= 8


def test_errors_and_copies_are_moved_in_vectors_without_float64(others: dict[str, str]) -> None:
    for name, loaded, stored in (("errors", 16 + 16 + 32 + 8, 16 + 32 + 8), ("copies", 32 + 32 + 32, 32 + 32 + 16)):
        ptx = others[name]
        assert not re.search(r"^\s*call|\.local\s|\.f64", ptx, re.MULTILINE)
        for what, bits in (("ld", loaded), ("st", stored)):  # of eight elements, at least 4 bytes an access
            wide = re.findall(rf"{what}\.global\.v(\d)\.[busf](\d+)", ptx)
            widths = [int(lanes) * int(width) for lanes, width in wide]
            assert sum(widths) == 8 * bits
            assert min(widths) >= 32
