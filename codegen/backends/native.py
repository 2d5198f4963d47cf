"""From a Python function on pointers to machine code in memory.

Numba compiles the function to optimised LLVM IR. From there on everything is llvmlite: the IR is stripped to the one
function that is called (no Python wrapper, no environment), turned into an object file, and loaded. An object file can
be kept and loaded later, by another process, without Numba.
"""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SIGNATURE = "void(CPointer(int64))"
"""Every compiled function takes the address of one table of integers."""

# Numba's own functions also take where to put a result and an exception; ours have neither.
ENTRY = """
define void @{symbol}(ptr %table) {{
  %result = alloca ptr
  %exception = alloca ptr
  %status = call i32 @{inner}(ptr %result, ptr %exception, ptr %table)
  ret void
}}
"""

CALLED = re.compile(r"^declare .*?@\"?([\w.$]+)\"?\(", re.MULTILINE)
PACKED = re.compile(
    r"^\s+v?(?:sqrt|div|add|sub|mul|min|max|cmp\w*|blendv)p[sd]\s"
    r"|^\s+f(?:sqrt|div|add|sub|mul|min|max|cm\w+)(?:\.[24][sd])?\s+[vz]"
)
REGISTERS = {"%zmm": 512, "%ymm": 256, "%xmm": 128, r"\b[vz]\d+": 128}
"""Packed arithmetic of x86-64 and AArch64, and the bits of its registers (at least, for SVE)."""

LOCK = threading.RLock()
"""Held by whoever compiles or loads: llvmlite's engine and contexts are not thread safe."""

if hasattr(os, "register_at_fork"):  # no child starts in the middle of another thread's compilation
    os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release)


@dataclass(frozen=True)
class MachineCode:
    """A compiled function: the IR it came from, its object file, and the symbol it is loaded under."""

    ir: str
    object_file: bytes
    symbol: str


@functools.cache
def _binding() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@functools.cache
def _target_machine() -> Any:
    llvm = _binding()
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, reloc="default", codemodel="jitdefault"
    )


@functools.cache
def _engine() -> Any:
    llvm = _binding()
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())


def host_text() -> str:
    """The processor that code is made for: its LLVM name and features. Code for another one must not be loaded."""
    llvm = _binding()
    return f"{llvm.get_process_triple()} {llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"


def compile_function(function: Callable[..., None], symbol: str) -> MachineCode:
    """Compile `function`, a Python function of one pointer to int64, to be loaded as `symbol`."""
    import numba

    with LOCK:
        compiled = numba.cfunc(SIGNATURE, error_model="numpy")(function)
        ir = _stripped(compiled.inspect_llvm(), compiled.native_name.removeprefix("cfunc."), symbol)
        return MachineCode(ir, _target_machine().emit_object(_binding().parse_assembly(ir)), symbol)


def _stripped(ir: str, native_name: str, symbol: str) -> str:
    """The IR with one visible function, `symbol`, that calls what Numba named `native_name`."""
    llvm = _binding()
    module = llvm.parse_assembly(ir + ENTRY.format(symbol=symbol, inner=native_name))
    for value in (*module.functions, *module.global_variables):
        if value.name != symbol and not value.is_declaration:
            value.linkage = "internal"
    builder = llvm.create_pass_builder(_target_machine(), llvm.create_pipeline_tuning_options())
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_strip_dead_prototype_pass()
    passes.run(module, builder)
    return str(module)


def is_complete(code: MachineCode) -> bool:
    """Whether this process has all functions that the code calls; loading it otherwise would end the process."""
    llvm = _binding()
    called = [match for match in CALLED.findall(code.ir) if not match.startswith("llvm.")]
    return all(llvm.address_of_symbol(name) is not None for name in called)


def load(object_file: bytes, symbol: str) -> int:
    """Load an object file into this process, for good; returns the address of `symbol`."""
    llvm = _binding()
    with LOCK:
        engine = _engine()
        engine.add_object_file(llvm.ObjectFileRef.from_data(object_file))
        engine.finalize_object()
        return int(engine.get_function_address(symbol))


def assembly(ir: str) -> str:
    """The machine code of a module of IR, as text."""
    with LOCK:
        return str(_target_machine().emit_assembly(_binding().parse_assembly(ir)))


def vector_bits(assembly_text: str) -> int:
    """The width of the widest packed arithmetic in machine code; 0 if there is none."""
    packed = [line for line in assembly_text.splitlines() if PACKED.search(line)]
    widths = [bits for register, bits in REGISTERS.items() if any(re.search(register, line) for line in packed)]
    return max(widths, default=0)
