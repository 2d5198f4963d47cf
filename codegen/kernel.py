"""Kernel: one pass of a program; see `program.py` for what its parts are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .axes import Over
from .kinds import Space
from .memo import derived
from .pieces import Coded, Detour, Draw, Gather, Generator, Given, Let, Load, Reduce, Store


@dataclass(frozen=True)
class Kernel:
    """One pass over the elements of every tensor, or over the tensors alone (`puts`), or none (`gathers`).

    blocks: how those stores are done that are made block by block.
    space: it goes over what has one number each there: over axes it computes in float64, and over less than elements.
    """

    name: str
    givens: tuple[Given, ...]
    head: tuple[Let, ...]
    loads: tuple[Load, ...]
    body: tuple[Let, ...]
    stores: tuple[Store, ...]
    reductions: tuple[Reduce, ...]
    puts: tuple[Store, ...] = ()
    gathers: tuple[Gather, ...] = ()
    generators: tuple[Generator, ...] = ()
    detours: tuple[Detour, ...] = ()
    blocks: tuple[Coded, ...] = ()
    space: Over = Space.ELEMENT

    @property
    def writes(self) -> bool:
        """Whether it changes what is kept: all else is scratch."""
        return bool(self.numbered or (self.stores and not self.detours))

    @property
    def is_coarse(self) -> bool:
        """Whether it goes over axes."""
        return self.space is not Space.ELEMENT

    @property
    def numbered(self) -> tuple[Store | Gather, ...]:
        """What is put or gathered."""
        return (*self.puts, *self.gathers)

    @derived
    def draws(self) -> tuple[Draw, ...]:
        """The random bits that the loop uses."""
        return tuple(draw for made in self.generators for draw in made.draws)

    @derived
    def uniforms(self) -> tuple[str, ...]:
        """Names from outside the loop that the loop uses, in order of use."""
        lets = [*(let for made in self.generators for let in made.lets), *self.body]
        inside = {load.name for load in self.loads} | {draw.name for draw in self.draws} | {let.name for let in lets}
        inside |= {name for made in self.generators for name in (made.counted, made.stream)}
        used = [arg for let in lets for arg in let.args]
        used += [store.value for store in self.stores] + [reduce.value for reduce in self.reductions]
        return tuple(dict.fromkeys(arg for arg in used if isinstance(arg, str) and arg not in inside))

    @derived
    def outside(self) -> tuple[str, ...]:
        """Names from outside the kernel that loop and head use, in order of use."""
        places = {let.name: i for i, let in enumerate(self.head)}
        used: dict[str, None] = {}
        done = 0
        for name in (*self.uniforms, *(put.value for put in self.numbered if isinstance(put.value, str))):
            end = places.get(name, -1) + 1
            args = [arg for let in self.head[done:end] for arg in let.args] if end else [name]
            used |= dict.fromkeys(arg for arg in args if isinstance(arg, str) and arg not in places)
            done = max(done, end)
        return tuple(used)

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arrays that are loaded or stored, each once, in order of use."""
        scales = [one.scale for one in self.blocks]
        return tuple(dict.fromkeys([*(x.array for x in self.loads), *(x.array for x in self.stores), *scales]))

    @derived
    def numbers(self) -> tuple[str, ...]:
        """The arrays of one number that are read, put or gathered, each once."""
        return tuple(dict.fromkeys([*(x.array for x in self.givens if x.array), *(x.array for x in self.numbered)]))

    def counts(self) -> str:
        """Its name, and how much it loads and stores."""
        puts = f", {len(self.puts)} puts" if self.puts else ""
        puts += f", {len(self.gathers)} gathers" if self.gathers else ""
        return f"{self.name}: {len(self.loads)} loads, {len(self.stores)} stores{puts}"

    def lines(self, storages: dict[str, str], compute: str) -> Iterator[str]:
        """The text of the kernel; a cast is shown where one is made."""
        yield f"kernel {self.counts()}" + (f", over {self.space!r} in float64" if self.is_coarse else "")
        compute = "float64" if self.is_coarse else compute
        yield from (f"  given   {given}" for given in self.givens)
        yield from (f"  head    {let}" for let in self.head)
        for load in self.loads:
            kept = storages[load.array]
            yield f"  load    {load.name} <- {load.array}" + (f": {kept} as {compute}" if kept != compute else "")
        for made in self.generators:
            yield from (f"  draw    {draw.name} <- {made.bits} random bits for {draw.what}" for draw in made.draws)
        yield from (f"  let     {let}" for let in self.body)
        for store in self.stores:
            kept = storages[store.array]
            yield f"  store   {store.array} <- {store.value}" + (f" as {kept}" if kept != compute else "")
        for one in self.blocks:
            yield from one.lines()
        yield from (f"  reduce  {reduce}" for reduce in self.reductions)
        yield from (f"  outside {detour}" for detour in self.detours)
        yield from (f"  put     {put}" for put in self.puts)
        yield from (f"  gather  {gather}" for gather in self.gathers)
