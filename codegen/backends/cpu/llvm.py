"""From LLVM IR to machine code in memory, by llvmlite alone: kept code is loaded without Numba.

Each piece of code is a library of its own, which goes when the last one who uses it lets it go.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ... import locks
from ...errors import BackendError
from .. import object_file

# Numba's own functions also take where to put a result and an exception; ours have neither.
ENTRY = """
define void @{symbol}({arguments}) {{
  %result = alloca ptr
  %exception = alloca ptr
  %status = call i32 @{inner}(ptr %result, ptr %exception, {arguments})
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

MOVED = re.compile(r"(?:load|store) <(?:vscale x )?(\d+) x (float|double)>.*!alias\.scope")
TYPES = {"float": 32, "double": 64}
"""Packed loads and stores of arrays in IR (only they have scopes), and the bits of what they move."""

LOCK = locks.new()
"""Held by whoever compiles or loads: LLVM's contexts are not thread safe."""

_NAMES = itertools.count()


class MachineCode(NamedTuple):
    """A compiled function: the IR it came from, its object file, and the symbol it is loaded under."""

    ir: str
    object_file: bytes
    symbol: str


class Code:
    """A compiled function in this process's memory, for as long as this object lives.

    address: of the function; `function(result, *arguments)` makes it callable.
    """

    def __init__(self, machine_code: MachineCode) -> None:
        self.machine_code = machine_code
        with LOCK:
            self._library = _linked(machine_code)
        self.address = int(self._library[machine_code.symbol])

    def keep(self) -> Code:
        """Let the code stay for good: helper threads run it until the process ends."""
        self._library.detach()
        return self


def _linked(made: MachineCode) -> Any:
    """The code as a library of LLVM's. Raises BackendError for an object that cannot be linked here."""
    builder = _binding().JITLibraryBuilder().add_object_img(made.object_file).add_current_process()
    try:
        library = builder.export_symbol(made.symbol).link(_jit(), f"{made.symbol}.{next(_NAMES)}")
    except RuntimeError as problem:
        raise BackendError(f"compiled code cannot be loaded. Received: {made.symbol}: {problem}.") from problem
    if not library[made.symbol]:
        raise BackendError(f"compiled code lacks its function. Received: {made.symbol} at address 0.")
    return library


@functools.cache
def _binding() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


def _new_target_machine() -> Any:
    llvm = _binding()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=host_features(), opt=3, reloc="default", codemodel="jitdefault"
    )


def host_features() -> str:
    """The features of this processor that code is made for, as LLVM is told them."""
    return widened(_binding().get_host_cpu_features().flatten())


def widened(features: str) -> str:
    """Features with vectors of 512 bits, where they are no slower than the halves that LLVM prefers of all AVX-512.

    The first of these processors lowered their clock for them; VBMI2 came with the ones that do not. Of a step all that
    is neither a division nor a root then takes half the time.
    """
    return f"{features},-prefer-256-bit" if "+avx512vbmi2" in features.split(",") else features


@functools.cache
def _target_machine() -> Any:
    return _new_target_machine()


@functools.cache
def _jit() -> Any:
    return _binding().create_lljit_compiler(_new_target_machine())


def host_text() -> str:
    """The processor that code is made for: its LLVM name and features. Code for another one must not be loaded."""
    llvm = _binding()
    return f"{llvm.get_process_triple()} {llvm.get_host_cpu_name()} {host_features()}"


def entry_of(symbol: str, native_name: str, forms: Iterable[str]) -> str:
    """A function that calls what Numba named `native_name`, with arguments of these types of LLVM."""
    arguments = ", ".join(f"{form} %x{i}" for i, form in enumerate(forms))
    return ENTRY.format(symbol=symbol, inner=native_name, arguments=arguments)


def from_numba(
    ir: str, native_name: str, symbol: str, forms: Iterable[str], parts: Iterable[tuple[str, str]] = ()
) -> MachineCode:
    """Machine code of the one function that Numba named `native_name`, without its wrappers, as `symbol`.

    forms: the types of its arguments, in LLVM's text.
    parts: modules of functions that it calls, each with an entry (see `entry_of`).
    """
    llvm = _binding()
    with LOCK:
        module = llvm.parse_assembly(ir + entry_of(symbol, native_name, forms))
        for part in parts:
            module.link_in(llvm.parse_assembly("".join(part)))
        for value in (*module.functions, *module.global_variables):
            if value.name != symbol and not value.is_declaration:
                value.linkage = "internal"
        passes = llvm.create_new_module_pass_manager()
        passes.add_always_inliner_pass()
        passes.add_global_dead_code_eliminate_pass()
        passes.add_strip_dead_prototype_pass()
        return _emitted(module, passes, symbol)


def from_ir(ir: str, symbol: str) -> MachineCode:
    """Machine code of a module of fixed code: variables to registers, and little else, since milliseconds count."""
    llvm = _binding()
    with LOCK:
        passes = llvm.create_new_module_pass_manager()
        passes.add_sroa_pass()
        passes.add_simplify_cfg_pass()
        return _emitted(llvm.parse_assembly(ir), passes, symbol)


def from_loops(ir: str, symbol: str) -> MachineCode:
    """Machine code of a module of fixed code that is a loop over numbers: vectorised, in a tenth of a second."""
    llvm = _binding()
    with LOCK:
        module, machine = llvm.parse_assembly(ir), _target_machine()
        module.triple, module.data_layout = llvm.get_process_triple(), str(machine.target_data)
        options = llvm.create_pipeline_tuning_options(speed_level=3)
        options.loop_vectorization = True
        builder = llvm.create_pass_builder(machine, options)
        return _emitted(module, builder.getModulePassManager(), symbol, builder)


def _emitted(module: Any, passes: Any, symbol: str, builder: Any = None) -> MachineCode:
    llvm = _binding()
    passes.run(module, builder or llvm.create_pass_builder(_target_machine(), llvm.create_pipeline_tuning_options()))
    text = str(module)
    return MachineCode(text, _target_machine().emit_object(llvm.parse_assembly(text)), symbol)


def check(code: MachineCode) -> None:
    """Raises ValueError unless the code can be for this machine, whole, and has its symbol.

    For code that was kept: loading it otherwise would end the process.
    """
    if f"@{code.symbol}(" not in code.ir:
        raise ValueError(f"its IR has no function {code.symbol}")
    object_file.check(code.object_file, code.symbol, _binding().get_process_triple())


def is_complete(code: MachineCode) -> bool:
    """Whether this process has all functions that the code calls; loading it otherwise would end the process."""
    llvm = _binding()
    called = {match for match in CALLED.findall(code.ir) if not match.startswith("llvm.")}
    called |= object_file.needed(code.object_file)
    return all(llvm.address_of_symbol(name) is not None for name in called)


def assembly(ir: str) -> str:
    """The machine code of a module of IR, as text."""
    with LOCK:
        return str(_target_machine().emit_assembly(_binding().parse_assembly(ir)))


def vector_bits(ir: str) -> int:
    """The width of the widest packed arithmetic in the machine code of some IR; 0 if there is none.

    Its packed loads and stores of arrays count, too, as wide as a register is.
    """
    lines = assembly(ir).splitlines()
    moved = max([int(lanes) * TYPES[kind] for lanes, kind in MOVED.findall(ir)], default=0)
    return max(_widest([line for line in lines if PACKED.search(line)]), min(moved, _widest(lines)))


def _widest(lines: Sequence[str]) -> int:
    """Bits of the widest vector register that is named."""
    return max([bits for name, bits in REGISTERS.items() if any(re.search(name, line) for line in lines)], default=0)
