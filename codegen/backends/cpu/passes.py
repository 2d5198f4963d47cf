"""From Python to optimized LLVM IR, by Numba: a target of our own, which has what generated text needs and no more.

`numba.cfunc` also makes a wrapper and machine code that nobody would call, looks for closures, `with`, prange and
rewrites of array expressions, and first learns all of Numba's arrays, lists, strings and SciPy's BLAS. Without them the
machine code is the same, a function takes a third less time, and the first one in a process half of it (measured).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba.core import codegen, compiler, config, cpu, typed_passes, typing, untyped_passes
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager
from numba.core.descriptors import TargetDescriptor
from numba.core.target_extension import CPU, dispatcher_registry, jit_registry, target_override, target_registry
from numba.core.typing import mathdecl
from numba.cpython import builtins, mathimpl, numbers, rangeobj  # noqa: F401

from ...memo import derived
from . import abreast, calls, llvm

NAME = "rmsprop_jit"
"""Of the target, among Numba's."""

PASSES = (
    untyped_passes.TranslateByteCode,
    untyped_passes.FixupArgs,
    untyped_passes.IRProcessing,
    untyped_passes.ReconstructSSA,
    typed_passes.NopythonTypeInference,
    typed_passes.PreLowerStripPhis,
    typed_passes.IRLegalization,
    typed_passes.NativeLowering,
    typed_passes.NoPythonBackend,
)
"""Of Numba's own, in its order."""


class Step(CPU):  # type: ignore[misc]
    """The processor, for functions of one table."""


class _Types(typing.Context):  # type: ignore[misc]
    def load_additional_registries(self) -> None:
        """What there is beside operators and ranges."""
        self.install_registry(mathdecl.registry)


class _Machine(codegen.JITCPUCodegen):  # type: ignore[misc]
    def _customize_tm_features(self) -> str:
        """What vectors are made for; what somebody told Numba himself counts more."""
        told: str = super()._customize_tm_features()
        return told if config.CPU_FEATURES else llvm.widened(told)


class _Code(cpu.CPUContext):  # type: ignore[misc]
    def init(self) -> None:
        """A context of Numba's, whose code is for the vectors of this package."""
        super().init()
        self._internal_codegen = _Machine(NAME)

    def load_additional_registries(self) -> None:
        """How code is made of that."""
        self.install_registry(mathimpl.registry)

    def post_lowering(self, mod: Any, library: Any) -> None:
        """What LLVM is told of loops. Nothing is counted here: there is none of Numba's memory management to link."""
        abreast.tell(mod)


class _Descriptor(TargetDescriptor):  # type: ignore[misc]
    options = cpu.CPUTargetOptions

    @derived
    def typing_context(self) -> Any:
        """What types things have."""
        return _Types()

    @derived
    def target_context(self) -> Any:
        """What code they are."""
        return _Code(self.typing_context, NAME)


class _Dispatcher:
    targetdescr = _Descriptor(NAME)


target_registry[NAME] = Step
dispatcher_registry[Step] = _Dispatcher
jit_registry[Step] = numba.jit  # asked for, and never used, where Numba looks for functions written in Python


class _Compiler(compiler.CompilerBase):  # type: ignore[misc]
    def define_pipelines(self) -> list[Any]:
        """What Numba asks a compiler for."""
        manager = PassManager("step")
        for one in PASSES:
            manager.add_pass(one, one.__name__)
        manager.finalize()
        return [manager]


@global_compiler_lock  # type: ignore[untyped-decorator]
def optimized(step: Callable[..., Any], is_part: bool = False) -> tuple[str, str]:
    """The IR of a step, or of a function that is one of several of it, and what Numba calls the function there."""
    target = _Dispatcher.targetdescr
    flags = compiler.Flags()
    target.options.parse_as_flags(flags, {"nopython": True, "error_model": "numpy", "_nrt": False})
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.no_compile = True
    with target_override(NAME):
        made = compiler.compile_extra(
            target.typing_context,
            target.target_context,
            step,
            args=tuple(calls.arguments_of(step)),
            return_type=numba.void,
            flags=flags,
            locals={},
            pipeline_class=_Compiler,
        )
        library = made.library
        if not is_part:
            library.finalize()  # that is when loops become vectors
        else:  # it would look for what is linked later, and make machine code that nobody runs
            for one in library._linking_libraries:
                library._final_module.link_in(one._get_module_for_linking(), preserve=True)
            library._optimize_final_module()
    return made.library.get_llvm_str(), made.fndesc.llvm_func_name
