"""NVIDIA's linker: from PTX to machine code for one architecture, and the assembler's remarks.

It is nvJitLink, which needs no GPU, or the driver's own, which needs a context of one: `cuda.core` decides, some of its
versions by whether nvJitLink is of the same CUDA as the driver. What is asked for here, both can do.
"""

from __future__ import annotations

from ...errors import BackendError


def linked(ptx: str, arch: tuple[int, int], verbose: bool = False) -> tuple[bytes, str]:
    """Machine code and, if `verbose`, the assembler's remarks. Raises BackendError where there is no linker for it."""
    try:
        from cuda.core import Linker, LinkerOptions, ObjectCode

        options = LinkerOptions(arch=f"sm_{arch[0]}{arch[1]}", verbose=verbose or None)
        linker = Linker(ObjectCode.from_ptx(ptx.encode()), options=options)
        made = bytes(linker.link("cubin").code)
        return made, _text(linker.get_info_log() or "")
    except Exception as problem:  # it raises what it likes
        link, driver = _nvjitlink(), _driver()
        extra = f"cuda{driver}" if driver else "cuda12 or cuda13, by the driver"
        raise BackendError(
            f"no machine code was made for sm_{arch[0]}{arch[1]} ({_text(problem)}). "
            f"Received: {f'nvJitLink of CUDA {link}' if link else 'no nvJitLink'}, "
            f"{f'a driver of CUDA {driver}' if driver else 'no driver'}. "
            f"Where the two differ, the driver links, on a GPU only. Install the extra {extra}."
        ) from problem


def _text(said: object) -> str:
    """What a linker says, without the zero byte that ends it."""
    return str(said).replace("\0", "").rstrip()


def _nvjitlink() -> int | None:
    """The CUDA that nvJitLink is of, as 13; None where it cannot be loaded."""
    try:
        from cuda.bindings import nvjitlink

        return int(nvjitlink.version()[0])
    except Exception:  # not installed, or too old to be asked
        return None


def _driver() -> int | None:
    """The newest CUDA that the driver knows, as 13; None without a driver."""
    try:
        from cuda.bindings import driver

        return int(driver.cuDriverGetVersion()[1]) // 1000 or None
    except Exception:  # no driver
        return None
