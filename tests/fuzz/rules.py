"""Random rules on every backend, against what NumPy says of their trees, and against the interpreter.

Where a rule has no sums, each of its results is one number, and a backend must give it bit for bit. Elsewhere results
lie between the numbers that NumPy's calculation allows (see `ranges`): sums by any order, and functions of them.
IREE contracts products and sums, and takes denormal numbers for zero: it gets tame rules and room for both. It does not
compile loops that only fill an array with a number in float32: such a rule is counted as "not compiled".
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from run_rule import Tensors, run, run_together

from rmsprop_jit.codegen import Program, RuleError, specialize
from rmsprop_jit.codegen.kinds import Space

from .equations import rule_of
from .grammar import MAKERS, Style, spec
from .meaning import Meaning
from .ranges import Machine, Range
from .trees import Spec, smaller

Array = npt.NDArray[Any]


ANYTHING = Style()
SMALL = (0, 1, 3, 7, 33, 129)


@dataclass(frozen=True)
class Side:
    """A backend with what it may do to numbers, and the rules that suit it."""

    name: str
    machine: Machine
    style: Style = ANYTHING


SIDES = {
    "reference": Side("reference", Machine(), Style(joint=False)),
    "cpu": Side("cpu", Machine()),
    "cuda": Side("cuda", Machine(adds_in_single=True), Style(sizes=SMALL, large=False)),
    "mlir": Side(
        "mlir",
        Machine(contracts=True, flushes=True),
        Style(tame=True, sizes=SMALL[1:], large=False, joint=False),
    ),
}
GUARD = 77.0
ROOM = 16


IREE_LACKS = "failed to legalize operation 'arith.truncf'"


class NotCompiled(Exception):
    """A rule that a compiler of others does not take."""


class Wrong(AssertionError):
    """A result that is not what the rule says."""


def case(seed: int, backend: str) -> Spec:
    """The case of a seed, for a backend."""
    return spec(seed, SIDES[backend].style)


def check(made: Spec, backend: str, seen: Counter[str] | None = None) -> None:
    """Run a case. Raises Wrong, or whatever the package raises."""
    rng = np.random.default_rng([made.seed, 1])
    rule = rule_of(made)
    programs = [specialize(rule, kind.on, kind.dtype, kind.gradient) for kind in made.kinds]
    sides = ["reference", backend] if len({id(program) for program in programs}) == 1 else [backend]
    if len({frozenset(r.what for r in program.reductions(Space.ALL)) for program in programs}) > 1:
        if seen is not None:
            seen["not joint"] += 1
        return
    tensors = [_tensor(made, i, rng) for i in range(len(made.sizes))]
    for call in range(made.calls):
        numbered = replace(made, steps={**made.steps, "step": made.steps["step"] + call})
        tensors = _step(numbered, programs, tensors, sides, seen)[0]
        for tensor, size, kind in zip(tensors, made.sizes, made.kinds, strict=True):
            tensor["gradient"] = _array(made, kind.gradient, size, rng)


def _step(
    made: Spec, programs: Sequence[Program], tensors: Tensors, sides: Sequence[str], seen: Counter[str] | None
) -> list[Tensors]:
    """One step from the same arrays on each side; returns what came out."""
    results = []
    for side in dict.fromkeys(sides):
        ours = [_guarded(tensor, made.seed) for tensor in tensors]
        _run(side, programs, [arrays for arrays, _ in ours], made)
        for i, (arrays, whole) in enumerate(ours):
            for name, room in whole.items():
                _refuse_unless(bool((room == GUARD).all()), f"{side}: beside {name} of tensor {i} was written")
            for name in arrays.keys() - programs[i].written:
                same = arrays[name].tobytes() == tensors[i][name].tobytes()
                _refuse_unless(same, f"{side}: {name} of tensor {i} was written")
        results.append([arrays for arrays, _ in ours])
        _check_stores(made, programs, tensors, results[-1], side, seen)
    return results


def _run(side: str, programs: Sequence[Program], tensors: Tensors, made: Spec) -> None:
    numbers, program = dict(made.steps), programs[0]
    with np.errstate(all="ignore"):
        if side == "mlir":
            from run_iree import run_with_iree

            try:
                run_with_iree(program, tensors, numbers, made.owns)
            except Exception as problem:
                if IREE_LACKS in str(problem):
                    raise NotCompiled from problem
                raise
        elif side == "reference":
            run(side, program, tensors, numbers, made.owns)
        else:
            groups = [list(group) for _, group in itertools.groupby(range(len(programs)), lambda i: id(programs[i]))]
            parts = [(programs[group[0]], [tensors[i] for i in group]) for group in groups]
            run_together(side, parts, {**numbers, **made.owns})


def _check_stores(
    made: Spec, programs: Sequence[Program], before: Tensors, after: Tensors, side: str, seen: Counter[str] | None
) -> None:
    meaning = Meaning(made, before, SIDES[side].machine)
    for i, tensor in enumerate(after):
        for target in made.stores.keys() & programs[i].written:
            allowed = meaning.stored(target, i)
            right = _allowed(tensor[target], allowed)
            if seen is not None:
                seen["exact"] += int((allowed.is_point & ~allowed.wild).sum())
                seen["bounded"] += int((~allowed.is_point & ~allowed.wild).sum())
                seen["unchecked"] += int(allowed.wild.sum())
            if not right.all():
                j = int(np.flatnonzero(~right)[0])
                lo, hi, got = (float(array.ravel()[j]) for array in (allowed.lo, allowed.hi, tensor[target]))
                raise Wrong(
                    f"{side}: {target} of tensor {i} of {tensor[target].size}: {(~right).sum()} wrong; element {j} is "
                    f"{got!r} instead of {lo!r}" + (f" ... {hi!r}" if lo != hi else "")
                )


def _allowed(got: Array, allowed: Range) -> npt.NDArray[np.bool_]:
    within = (allowed.lo <= got) & (got <= allowed.hi)
    same = within & (np.signbit(got) == np.signbit(allowed.lo))
    same |= np.isnan(got) & np.isnan(allowed.lo)
    return np.asarray(allowed.wild | np.where(allowed.is_point, same, within))


def _refuse_unless(holds: bool, what: str) -> None:
    if not holds:
        raise Wrong(what)


def _array(made: Spec, dtype: str, size: int, rng: np.random.Generator) -> Array:
    with np.errstate(all="ignore"):
        return MAKERS[made.values](rng, size).astype(dtype)


def _tensor(made: Spec, i: int, rng: np.random.Generator) -> dict[str, Array]:
    """Arrays of one tensor; half of the slots are where they start, half hold anything."""
    size, (dtype, gradient, _) = made.sizes[i], made.kinds[i]
    arrays = {"parameter": _array(made, dtype, size, rng), "gradient": _array(made, gradient, size, rng)}
    for name, initial in made.slots.items():
        arrays[name] = np.full(size, initial, dtype) if rng.random() < 0.5 else _array(made, dtype, size, rng)
    return arrays


def _guarded(tensor: Mapping[str, Array], seed: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Copies at odd addresses, and what is right before and behind each of them."""
    arrays, beside = {}, {}
    for i, (name, array) in enumerate(tensor.items()):
        start = 1 + (seed + i) % 5
        whole = np.full(array.size + ROOM, GUARD, array.dtype)
        arrays[name] = whole[start : start + array.size]
        arrays[name][...] = array
        beside[f"{name}, before"], beside[f"{name}, behind"] = whole[:start], whole[start + array.size :]
    return arrays, beside


def failure(made: Spec, backend: str, seen: Counter[str] | None = None) -> Exception | None:
    """What goes wrong in a case, if anything does."""
    try:
        check(made, backend, seen)
    except NotCompiled:
        if seen is not None:
            seen["not compiled"] += 1
    except Exception as problem:  # whatever it is, it is what was looked for
        return problem
    return None


def shrunk(made: Spec, fails: Callable[[Spec], Exception | None], tries: int = 300) -> Spec:
    """A simpler case that fails in the same way."""
    kind = type(fails(made))
    while tries > 0:
        for candidate in smaller(made):
            tries -= 1
            problem = fails(candidate)
            if type(problem) is kind and not isinstance(problem, RuleError):
                made = candidate
                break
            if tries <= 0:
                break
        else:
            break
    return made


def report(made: Spec, backend: str) -> str:
    """A failing case in its simplest form, and what goes wrong there."""
    simple = shrunk(made, lambda one: failure(one, backend))
    return f"{failure(simple, backend)!r}\n{simple}"
