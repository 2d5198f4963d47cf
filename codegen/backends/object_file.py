"""Whether bytes are an object file that this process may load, and what it defines and needs.

LLVM ends the process over a bad object file, and llvmlite has no way to ask first. So 64-bit ELF (Linux, and NVIDIA's
machine code) is read here as far as loading depends on it: header, sections, symbols. Of Mach-O and COFF (macOS,
Windows) only the machine and the name of the function are looked at.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

ORDER = "<" if sys.byteorder == "little" else ">"
ELF_HEADER = struct.Struct(ORDER + "16sHHIQQQIHHHHHH")
ELF_SECTION = struct.Struct(ORDER + "IIQQQQIIQQ")
ELF_SYMBOL = struct.Struct(ORDER + "IBBHQQ")
ELF_START = b"\x7fELF\x02" + (b"\x01" if sys.byteorder == "little" else b"\x02") + b"\x01"

RELOCATABLE = 1
SYMBOLS, STRINGS, EMPTY = 2, 3, 8
LOCAL, FUNCTION = 0, 2
"""Types of file and section, binding and type of symbols, as ELF numbers them."""

LINKER_MADE = {"_GLOBAL_OFFSET_TABLE_", ".TOC."}
"""What an object file names without needing it from elsewhere: whoever loads it makes these."""

CUDA = 190
"""The machine of NVIDIA's code in ELF."""

ELF_MACHINES = {"x86_64": 62, "aarch64": 183, "arm64": 183, "powerpc64le": 21, "riscv64": 243, "s390x": 22}
OTHER_STARTS = {
    "x86_64": (struct.pack("<II", 0xFEEDFACF, 0x01000007), struct.pack("<H", 0x8664)),
    "aarch64": (struct.pack("<II", 0xFEEDFACF, 0x0100000C), struct.pack("<H", 0xAA64)),
    "arm64": (struct.pack("<II", 0xFEEDFACF, 0x0100000C), struct.pack("<H", 0xAA64)),
}
"""By the first word of LLVM's triple: ELF's number of the machine; the first bytes of Mach-O and of COFF."""


class Section(NamedTuple):
    """A section of an ELF file, as its table tells."""

    type: int
    offset: int
    size: int
    link: int


class Symbols(NamedTuple):
    """The functions that an object file defines, and the names that it needs from elsewhere."""

    functions: set[str]
    needed: set[str]


def check(content: bytes, symbol: str, triple: str) -> None:
    """Raises ValueError unless this is an object file for the machine of LLVM's `triple` with the function `symbol`."""
    machine, _, system = triple.partition("-")
    has_others = any(name in system for name in ("darwin", "macos", "windows"))
    if has_others and content.startswith(OTHER_STARTS.get(machine, ())):
        found = re.search(rb"\b_?" + symbol.encode() + rb"\0", content) is not None
    else:
        found = symbol in elf_symbols(content, ELF_MACHINES.get(machine)).functions
    if not found:
        raise ValueError(f"its object file has no function {symbol}")


def needed(content: bytes) -> set[str]:
    """What an object file that passed `check` needs from elsewhere; unknown, so empty, unless it is ELF."""
    return elf_symbols(content, None).needed if content.startswith(ELF_START) else set()


def elf_symbols(content: bytes, machine: int | None) -> Symbols:
    """The symbols of a 64-bit ELF file. Raises ValueError unless it is whole and for `machine` (None: any)."""
    if not content.startswith(ELF_START):
        raise ValueError("its object file has an unknown format")
    try:
        header = ELF_HEADER.unpack_from(content)
        if machine not in (None, header[2]):
            raise ValueError(f"its object file is for another machine ({header[2]}, not {machine})")
        if machine != CUDA and header[1] != RELOCATABLE:
            raise ValueError("its object file is a program or a library")
        sections = list(_sections(content, header))
        found = Symbols(set(), set())
        for section in sections:
            if section.type == SYMBOLS:
                _read_symbols(content, section, sections, header[1] == RELOCATABLE, found)
    except struct.error as problem:
        raise ValueError("its object file is cut off") from problem
    return found


def _sections(content: bytes, header: tuple[int, ...]) -> Iterator[Section]:
    start, (entry, count, names) = header[6], header[11:14]
    if entry != ELF_SECTION.size or not 0 < count or names >= count:
        raise ValueError("its object file has no table of sections")
    if max(start + count * entry, header[5] + header[9] * header[10]) > len(content):
        raise ValueError("its object file is cut off")
    for i in range(count):
        _, kind, _, _, offset, size, link, *_ = ELF_SECTION.unpack_from(content, start + i * entry)
        if link >= count or (kind != EMPTY and offset + size > len(content)):
            raise ValueError("its object file is cut off")
        yield Section(kind, offset, size, link)


def _read_symbols(content: bytes, table: Section, sections: list[Section], has_offsets: bool, found: Symbols) -> None:
    """Add the symbols of one table. `has_offsets`: values count from the start of their section."""
    names = sections[table.link]
    if table.size % ELF_SYMBOL.size or names.type != STRINGS:
        raise ValueError("its object file has an odd table of symbols")
    texts = content[names.offset : names.offset + names.size]
    for name, info, _, where, value, size in ELF_SYMBOL.iter_unpack(content[table.offset :][: table.size]):
        text = texts[name : texts.index(b"\0", name)].decode() if name else ""
        if not where and info >> 4 != LOCAL and text and text not in LINKER_MADE:
            found.needed.add(text)
        elif info & 15 == FUNCTION and 0 < where < len(sections) and size:
            if has_offsets and value + size > sections[where].size:
                raise ValueError(f"its object file has less of the function {text} than it says")
            found.functions.add(text)
