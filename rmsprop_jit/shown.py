"""What an optimizer shows of its programs: one stage of one of them, or which there are and what chooses."""

from __future__ import annotations

import dis
import inspect
import itertools
import linecache
from collections.abc import Callable, Collection, Iterator
from typing import Any

from . import codegen
from .buckets import Light, Part, explain_step, needed_slots, program_of
from .by_name import largest
from .calls import Calls
from .codegen import Rule
from .errors import OptionError
from .flags import FIRST, Flags, variable_flags
from .nearest import meant
from .options import Options
from .rules.around import step_of
from .rules.decays import decays_of
from .storages import usual_light

FORMS = (*codegen.FORMS, "programs")
"""What can be shown: the compiler's forms, and the programs that the step and the shape choose from."""

ANNOTATED = ("rule", "kernel", "summary")
"""Forms that say which of several programs they show."""

SHOWN_GROUPS = 5
"""How many groups of one structure are named."""


def explained(calls: Calls, dtype: str | None, form: str, on: Collection[str], off: Collection[str]) -> str:
    """A form of the program of these calls, with the flags `on`, without `off`, that step, shape or name decide.

    Raises OptionError for another form, and for flags that are not decided so.
    """
    rule, options, flags = calls.state.rule, calls.options, widest_flags(calls)
    dtype = dtype or next((member.dtype for member in calls.state.variables), "float32")
    if form not in FORMS:
        raise OptionError(f"`form` must be one of {', '.join(FORMS)}. Received: form={form!r}.")
    who = decided(rule)
    _check(rule, who, on, off)
    chosen = (flags - frozenset(off)) | frozenset(on)
    part, light = calls.settings.part(step_of), _light(calls, flags, dtype)
    if form == "programs":
        return "\n".join([*_programs(rule, flags, dtype, who, part, light), *_groups(calls)])
    lines = [explain_step(rule, chosen, dtype, form, options.backend, part, light)]
    if form == "summary":
        lines += _not_stored(rule, options, chosen, dtype)
    if form in ANNOTATED:
        lines += _groups(calls)
        lines += [f"{name} is {_switch(name in chosen)} here: it is on in {what}" for name, what in who.items()]
        lines += ["(form `programs` lists all programs; on= and off=, or --on and --off, choose one)"] if who else []
    return "\n".join(lines)


def _light(calls: Calls, flags: Flags, dtype: str) -> Light:
    """What the slots of the first variable that has lighter ones are kept in, or of any, before there is one."""
    members = calls.state.variables
    if members and members[0].dtype == dtype:
        return next((one.light for one in members if one.light and one.dtype == dtype), ())
    return () if members else usual_light(calls.state.rule, calls.options.storage, flags, dtype)


def widest_flags(calls: Calls) -> Flags:
    """The flags of the variable that does most in an update, of the first one's shape, if there are any."""
    members, rule = calls.state.variables, calls.state.rule
    flags = calls.flags | {name for name, flag in rule.flags.items() if flag.when is not None}
    if members:
        flags |= variable_flags(rule, members[0].array.shape, members[0].path)
    excluded = decays_of(rule) & calls.flags and len(calls.state.decaying()) < len(members)
    return flags | {"weight_decay_exclusions"} if excluded else flags


def decided(rule: Rule) -> dict[str, str]:
    """The flags of a rule that are no options, each with what decides it."""
    by_step = rule.decided_by_step
    found = {FIRST: "a variable's first update"} if FIRST in by_step else {}
    for name, flag in rule.flags.items():
        if flag.when is not None and name in by_step:
            found[name] = f"steps where {_words(flag.when)}"
        elif flag.of is not None:
            found[name] = f"variables where {_words(flag.of)}"
        elif flag.named is not None:
            found[name] = f"variables in whose name there is {' or '.join(map(repr, flag.named)) or 'nothing'}"
    return found


def _check(rule: Rule, who: Collection[str], on: Collection[str], off: Collection[str]) -> None:
    for name in (*on, *off):
        if name not in who:
            raise OptionError(
                f"rule {rule.name!r} has no flag {name!r} that the step, the shape or the name decides; such are: "
                f"{', '.join(who) or 'none'}. Received: on={[*on]}, off={[*off]}.{meant(name, who)}"
            )
        if name in on and name in off:
            raise OptionError(f"a flag is on or off. Received: on={[*on]}, off={[*off]}. Leave one {name!r} out.")


def _groups(calls: Calls) -> Iterator[str]:
    """What groups have one a variable, and a line for each structure that groups ask for beside the optimizer's own."""
    settings = calls.settings
    if settings.names:
        yield f"one a variable, since groups have their own: {', '.join(sorted(settings.names))}"
    for flags, titles in settings.structures().items():
        switches = [f"with {name}" for name in sorted(flags - settings.flags)]
        switches += [f"without {name}" for name in sorted(settings.flags - flags)]
        more = f" and {len(titles) - SHOWN_GROUPS} more" if len(titles) > SHOWN_GROUPS else ""
        yield f"{', '.join(titles[:SHOWN_GROUPS])}{more}: another kernel, {', '.join(switches)}"


def _programs(rule: Rule, flags: Flags, dtype: str, who: dict[str, str], part: Part, light: Light) -> Iterator[str]:
    """A line for each program that differs from the others, then what decides."""
    found: dict[str, list[str]] = {}
    for states in itertools.product((True, False), repeat=len(who)):
        on = {name for name, state in zip(who, states, strict=True) if state}
        program = program_of(rule, (flags - who.keys()) | on, dtype, part=part, light=light)
        _, *body = str(program).splitlines()
        case = ", ".join(f"{name} {_switch(name in on)}" for name in who)
        found.setdefault("\n".join(body), [program.traffic_line()]).append(case)
    for line, *cases in found.values():
        yield line
        yield from (f"  {case}" for case in cases if case)
    yield from (f"{name}: on in {what}" for name, what in who.items())
    how = "(on= and off=, or --on and --off, choose one of them for another form)"
    yield how if who else "(one for all steps and shapes)"


def _not_stored(rule: Rule, options: Options, flags: Flags, dtype: str) -> Iterator[str]:
    """A line for each slot of the rule that exists with other options, and why it does not with these."""
    kept = needed_slots(rule, flags, dtype)
    switches = [name for name, flag in rule.flags.items() if flag.when is None]
    for slot in (name for name in rule.slots if name not in kept):
        for count in (1, 2):
            changes = [change for change in itertools.combinations(switches, count)]
            found = [change for change in changes if slot in needed_slots(rule, flags ^ frozenset(change), dtype)]
            if found:
                why = " and ".join(_setting(rule, options, flags, name) for name in found[0])
                yield f"  {slot}: not stored, since {why}"
                break


def _setting(rule: Rule, options: Options, flags: Flags, name: str) -> str:
    """What decides a flag, with its value."""
    flag = rule.flags[name]
    if flag.follows is not None:
        return f"{flag.follows}={largest(options.hypers[flag.follows], rule.hypers[flag.follows]):g}"
    return f"{name}={name in flags}" if flag.is_option else f"{name} is {_switch(name in flags)}"


def _switch(is_on: bool) -> str:
    return "on" if is_on else "off"


def _words(decide: Callable[[Any], bool]) -> str:
    """What a function returns, as it is written, if it is a lambda or has one `return`; else what it says of itself."""
    text = " ".join(_source(decide).removeprefix("return ").split())
    if text:
        return text[5:-1] if text.startswith("bool(") and text.endswith(")") else text
    name = getattr(decide, "__name__", type(decide).__name__)
    said = (inspect.getdoc(decide) or "").partition("\n")[0].rstrip(".") if inspect.isfunction(decide) else ""
    return f"{name} says so" + (f" ({said})" if said else "")


def _source(decide: Callable[[Any], bool]) -> str:
    """The text of what a function returns; empty where there are several, or no source, as at a prompt."""
    steps = [*dis.get_instructions(decide)] if inspect.isfunction(decide) else []
    wanted = [step for step in steps if step.opname == "RETURN_VALUE"]
    if getattr(decide, "__name__", "") == "<lambda>":
        wanted = steps  # its return has no place of its own in Python 3.11
    elif len(wanted) != 1:
        return ""
    places = [tuple(step.positions) for step in wanted if step.positions is not None]
    known = [[number for number in place if number is not None] for place in places]
    spans = [((place[0], place[2]), (place[1], place[3])) for place in known if len(place) == 4]
    spans = [(begin, end) for begin, end in spans if begin != end]
    if not spans:
        return ""
    (first, begin), (last, end) = min(begin for begin, _ in spans), max(end for _, end in spans)
    lines = [linecache.getline(decide.__code__.co_filename, number).encode() for number in range(first, last + 1)]
    lines[-1] = lines[-1][:end]  # before the first, which may be the same
    lines[0] = lines[0][begin:]
    return b"".join(lines).decode()
