"""Wrong programs, as users of NumPy and torch write them: each a RuleError with the place, the line and the remedy."""

import functools
import itertools
import math
import pickle
import random
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from rmsprop_jit import codegen
from rmsprop_jit.codegen import Hyper, OptionError, Rule, RuleError, Slot


class Wrong(NamedTuple):
    """A wrong program.

    text:   what stands in the equations; `# !` is in the line that is at fault, in none if it is what they return.
    remedy: what the message says to write instead, a regular expression.
    """

    text: str
    remedy: str


NO_TRUTH = r"where\(condition, a, b\) instead of `if`.*& \| ~ instead of `and`, `or`, `not`"
NO_VALUE = r"use the functions of rmsprop_jit\.codegen"
NO_ELEMENTS = r"Leave it out: a rule says what happens to one element"
RETURN = r"Return \{p: new_value\}"

WRONG = {
    # Truth values.
    "if": Wrong("if g > 0:  # !\n    g = -g\nreturn {p: p - g}", NO_TRUTH),
    "if_of_a_flag": Wrong("if on.nesterov:  # !\n    g = -g\nreturn {p: p - g}", NO_TRUTH),
    "if_of_a_number": Wrong("rate = 0.1 if h.rho else 0.2  # !\nreturn {p: p - rate * g}", NO_TRUTH),
    "and": Wrong("return {p: where(g > 0 and p > 0, p, g)}  # !", NO_TRUTH),
    "or": Wrong("return {p: p - (g or p)}  # !", NO_TRUTH),
    "not": Wrong("return {p: where(not on.nesterov, p, g)}  # !", NO_TRUTH),
    "chained": Wrong("return {p: where(0 < g < 1, p, g)}  # !", NO_TRUTH),
    "assert": Wrong("assert g > 0  # !\nreturn {p: p - g}", NO_TRUTH),
    "while": Wrong("while g > 1:  # !\n    g = g / 2\nreturn {p: p - g}", NO_TRUTH),
    "max": Wrong("return {p: p - max(g, 0)}  # !", r"maximum\(x, y\)"),
    "min": Wrong("return {p: p - min(0, g)}  # !", r"minimum\(x, y\)"),
    "sorted": Wrong("low, high = sorted([p, g])  # !\nreturn {p: low}", r"minimum\(x, y\)"),
    "index": Wrong("return {p: p - [p, g].index(g)}  # !", NO_TRUTH),
    # Functions of NumPy, math and torch.
    "np_sqrt": Wrong("return {p: p - g / np.sqrt(s.velocity)}  # !", r"Write sqrt\(\.\.\.\) of rmsprop_jit\.codegen"),
    "np_where": Wrong("return {p: np.where(g > 0, p, g)}  # !", r"Write where\(\.\.\.\)"),
    "np_clip": Wrong("g = np.clip(g, -1, 1)  # !\nreturn {p: p - g}", r"Write clip\(\.\.\.\)"),
    "np_mean": Wrong("return {p: p - np.mean(g)}  # !", r"Write mean_of\(x\)"),
    "np_norm": Wrong("return {p: p - g / np.linalg.norm(g)}  # !", r"Write sqrt\(sum_of_squares\(x\)\)"),
    "np_zeros_like": Wrong("v = np.zeros_like(p)  # !\nreturn {p: p - v}", r"Write 0\.0"),
    "np_float32": Wrong("return {p: p - np.float32(h.rho) * g}  # !", r"Use the expression itself|" + NO_VALUE),
    "np_isnan": Wrong("return {p: where(np.isnan(g), p, p - g)}  # !", r"Write x != x"),
    "np_errstate": Wrong(
        "with np.errstate(all='ignore'):\n    r = np.divide(g, p)  # !\nreturn {p: r}", r"Write x / y"
    ),
    "np_add_out": Wrong("np.subtract(p, g, out=p)  # !\nreturn {p: p}", r"Write x - y"),
    "np_power": Wrong("return {p: p - np.power(g, 3)}  # !", r"Write x \*\* y"),
    "math_sqrt": Wrong("return {p: p - math.sqrt(g)}  # !", NO_VALUE),
    "math_exp": Wrong("return {p: p - g * math.exp(-h.step)}  # !", NO_VALUE),
    "math_pow": Wrong("return {p: p - g * math.pow(h.rho, h.step)}  # !", NO_VALUE),
    "math_isnan": Wrong("return {p: where(math.isnan(g), p, g)}  # !", NO_VALUE),
    "torch_sqrt": Wrong("return {p: p - g / torch.sqrt(s.velocity)}  # !", r"torch\.sqrt.*Write sqrt\(\.\.\.\)"),
    "torch_where": Wrong("return {p: torch.where(g > 0, p, g)}  # !", r"torch\.where.*Write where\(\.\.\.\)"),
    "torch_lerp": Wrong("m = torch.lerp(s.velocity, g, 0.1)  # !\nreturn {p: p - m}", r"Write lerp\(a, b, t\)"),
    "torch_norm": Wrong("return {p: p - g / torch.norm(g)}  # !", r"Write sqrt\(sum_of_squares\(x\)\)"),
    "another_library": Wrong("return {p: p - other.sqrt(g)}  # !", r"functions of rmsprop_jit\.codegen"),
    # Methods and attributes of arrays and tensors.
    "sum": Wrong("return {p: p - g.sum()}  # !", r"Write sum_of\(x\)"),
    "mean": Wrong("return {p: p - g.mean(axis=0)}  # !", r"Write mean_of\(x\)"),
    "norm": Wrong("return {p: p - g / g.norm()}  # !", r"Write sqrt\(sum_of_squares\(x\)\)"),
    "sqrt": Wrong("return {p: p - g / s.velocity.sqrt()}  # !", r"Write sqrt\(\.\.\.\)"),
    "T": Wrong("return {p: p - g.T}  # !", NO_ELEMENTS),
    "shape": Wrong("return {p: p - g / g.shape[0]}  # !", NO_ELEMENTS),
    "dtype": Wrong("return {p: p - g.astype(p.dtype)}  # !", r"Use the expression itself|Leave it out"),
    "reshape": Wrong("return {p: p - g.reshape(-1)}  # !", NO_ELEMENTS),
    "numel": Wrong("return {p: p - g / g.numel()}  # !", r"Write size\(\)"),
    "grad": Wrong("return {p: p - p.grad}  # !", r"Write g"),
    "data": Wrong("return {p: p.data - g}  # !", r"Use the expression itself"),
    "add_": Wrong("p.add_(g, alpha=-0.1)  # !\nreturn {p: p}", r"Write x \+ y"),
    "mul_": Wrong("s.velocity.mul_(0.9).add_(g)  # !\nreturn {p: p - s.velocity}", r"Write x \* y"),
    "addcmul_": Wrong("s.velocity.addcmul_(g, g)  # !\nreturn {p: p}", r"Write x \+ value \* a \* b"),
    "addcdiv_": Wrong("p.addcdiv_(g, s.velocity)  # !\nreturn {p: p}", r"Write x \+ value \* a / b"),
    "copy_": Wrong("p.copy_(p - g)  # !\nreturn {p: p}", r"Return \{p: value\}"),
    "zero_": Wrong("g.zero_()  # !\nreturn {p: p}", r"0\.0"),
    "clamp": Wrong("return {p: p - g.clamp(-1, 1)}  # !", r"Write clip\(x, low, high\)"),
    "item": Wrong("return {p: p - g.item()}  # !", r"Use the expression itself"),
    "to": Wrong("return {p: p - g.to('cpu')}  # !", r"Leave it out"),
    # Python's own.
    "float": Wrong("return {p: p - float(g)}  # !", NO_VALUE),
    "int": Wrong("return {p: p - int(s.velocity)}  # !", NO_VALUE),
    "len": Wrong("return {p: p - sum_of(g) / len(g)}  # !", NO_ELEMENTS),
    "range": Wrong("for i in range(h.step):  # !\n    g = g * 2\nreturn {p: p - g}", NO_VALUE),
    "for": Wrong("for x in g:  # !\n    p = p - x\nreturn {p: p}", NO_ELEMENTS),
    "comprehension": Wrong("return {p: [x - y for x, y in zip(p, g)]}  # !", NO_ELEMENTS),
    "sum_of_python": Wrong("return {p: p - sum(g)}  # !", NO_ELEMENTS),
    "round": Wrong("return {p: p - round(g)}  # !", r"no rounding to whole numbers"),
    "format": Wrong("print(f'{g:.3f}')  # !\nreturn {p: p - g}", r"Print the expression without one"),
    "percent_format": Wrong("print('%.3f' % g)  # !\nreturn {p: p - g}", NO_VALUE),
    "in": Wrong("return {p: p - (1 if 0 in g else 0)}  # !", NO_ELEMENTS),
    "item_0": Wrong("return {p: p - g[0]}  # !", NO_ELEMENTS),
    "mask": Wrong("g[g > 1] = 1  # !\nreturn {p: p - g}", NO_ELEMENTS),
    "slice": Wrong("p[:] = p - g  # !\nreturn {p: p}", NO_ELEMENTS),
    "pow_of_three": Wrong("return {p: p - pow(g, 2, 3)}  # !", r"x \*\* y"),
    "call": Wrong("return {p: p - s.velocity(g)}  # !", r"operator|functions of rmsprop_jit\.codegen"),
    "delete": Wrong("del s.velocity  # !\nreturn {p: p - g}", r"Return \{s\.velocity: value"),
    # Operators.
    "matmul": Wrong("return {p: g @ p}  # !", r"Write sum_of\(x \* y\)"),
    "floordiv": Wrong("return {p: g // p}  # !", r"Write x / y"),
    "mod": Wrong("return {p: g % 2}  # !", r"Use hyperparameters"),
    "xor": Wrong("return {p: g ^ 2}  # !", r"Write x \*\* y"),
    "shift": Wrong("return {p: g << 2}  # !", r"Write x \* 2\.0\*\*n"),
    "and_of_numbers": Wrong("return {p: g & 1}  # !", r"a comparison to turn a number into a condition"),
    "precedence": Wrong("return {p: where(g > 0 & p > 0, p, g)}  # !", r"a comparison to turn a number"),
    "invert_a_number": Wrong("return {p: where(~h.rho, p, g)}  # !", r"a comparison to turn a number"),
    "minus_a_flag": Wrong("return {p: p - g * (1 - on.nesterov)}  # !", r"Use where\(condition, a, b\)"),
    "flag_as_number": Wrong("return {p: p - on.nesterov * g}  # !", r"Use where\(condition, a, b\)"),
    "mask_as_number": Wrong("return {p: p - (g > 0) * g}  # !", r"Use where\(condition, a, b\)"),
    "number_as_flag": Wrong("return {p: where(h.rho, p, g)}  # !", r"Write `where\(\(h\.rho\) != 0, a, b\)`"),
    "flag_equals_true": Wrong("return {p: where(on.nesterov == True, p, g)}  # !", r"condition"),
    "equals_none": Wrong("return {p: where(g == None, p, p - g)}  # !", r"an expression or a number is needed"),
    # Functions of the language.
    "where_of_one": Wrong("return {p: p - where(g > 0)}  # !", r"where\(condition, a, b\)"),
    "where_of_float": Wrong("return {p: where(1.0, p, g)}  # !", r"Write `where"),
    "where_of_a_list": Wrong("return {p: where([g > 0], p, g)}  # !", r"an expression or a number is needed"),
    "where_by_words": Wrong("return {p: where(g > 0, x=p, y=g)}  # !", r"where\(condition, a, b\)"),
    "maximum_of_one": Wrong("return {p: p - maximum(g)}  # !", r"maximum\(x, y\)"),
    "maximum_of_three": Wrong("return {p: maximum(p, g, 0.0)}  # !", r"maximum\(x, y\)"),
    "clip_by_words": Wrong("return {p: clip(g, min=0, max=1)}  # !", r"clip\(x, low, high\)"),
    "axis": Wrong("return {p: p - sum_of(g, axis=0)}  # !", r"has no argument 'axis'.*Leave it out"),
    "over": Wrong("return {p: p - sum_of(g, over='tensors')}  # !", r"is 'tensor' or 'all'"),
    "twice_reduced": Wrong("return {p: p - sum_of(sum_of(g))}  # !", r"Reduce an expression of the parameter"),
    "reduced_number": Wrong("return {p: p - sum_of(h.rho)}  # !", r"Reduce an expression of the parameter"),
    "size_of": Wrong("return {p: p - sum_of(g) / size(g)}  # !", r"size\(\)"),
    "new_of_p": Wrong("return {s.velocity: new(p), p: p - g}  # !", r"new\(s\.velocity\)"),
    "new_by_name": Wrong("return {p: p - new('velocity')}  # !", r"new\(s\.velocity\)"),
    # What may stand in an equation.
    "array": Wrong("return {p: p - np.ones(3) * g}  # !", r"Arrays enter a rule as slots"),
    "random_array": Wrong("return {p: p - np.random.normal(size=3)}  # !", r"Arrays enter a rule as slots"),
    "random_number": Wrong("return {p: p - g * random.random()}", r"another value each time.*hyperparameter"),
    "counter": Wrong("return {p: p - g / next(counter)}", r"another value each time.*h\.step"),
    "text": Wrong("return {p: p - 'g'}  # !", r"an expression or a number is needed"),
    "number_in_text": Wrong("return {p: p - '0.1' * g}  # !", r"an expression or a number is needed"),
    "complex": Wrong("return {p: p - 1j * g}  # !", r"an expression or a number is needed"),
    "none": Wrong("return {p: p - None}  # !", r"an expression or a number is needed"),
    "list": Wrong("return {p: [p - g]}", r"an expression or a number is needed"),
    # Names.
    "unknown_slot": Wrong("return {s.momentum: g, p: p - g}  # !", r"Declared: velocity.*declare it"),
    "unknown_number": Wrong("return {p: p - h.lr * g}  # !", r"Declared: learning_rate, step, rho.*declare it"),
    "unknown_flag": Wrong("return {p: where(on.centered, p, g)}  # !", r"Declared: nesterov.*declare it"),
    "slot_by_item": Wrong("return {p: p - s['velocity']}  # !", r"Write s\.velocity"),
    "number_by_item": Wrong("return {p: p - h['rho'] * g}  # !", r"Write h\.rho"),
    "names_in_a_loop": Wrong("for m in s:  # !\n    p = p - m\nreturn {p: p}", r"Write s\.velocity"),
    "slots_counted": Wrong("return {p: p - g / len(s)}  # !", r"s\.velocity"),
    "slot_assigned": Wrong("s.velocity = g  # !\nreturn {p: p - s.velocity}", r"Return \{s\.velocity: value"),
    "slot_in_place": Wrong("s.velocity += g  # !\nreturn {p: p - s.velocity}", r"Return \{s\.velocity: value"),
    "number_assigned": Wrong("h.rho = 0.5  # !\nreturn {p: p - h.rho * g}", r"a name of its own"),
    "undefined": Wrong("return {p: p - lr * g}  # !", r"name 'lr' is not defined"),
    # What is returned.
    "in_place": Wrong("p -= g\nreturn {p: p}", r"targets are p and s\.<name>.*name of its own"),
    "in_place_and_nothing": Wrong("p -= g", RETURN),
    "no_return": Wrong("new_p = p - g", RETURN),
    "expression": Wrong("return p - g", RETURN),
    "pair": Wrong("return p - g, s.velocity", r"must return \{target: value\}"),
    "list_of_values": Wrong("return [p - g]", r"must return \{target: value\}"),
    "two_dicts": Wrong("return {p: p - g}, {s.velocity: g}", r"must return \{target: value\}"),
    "set": Wrong("return {p - g}", r"must return \{target: value\}"),
    "names_of_targets": Wrong("return {'p': p - g}", r"targets are p and s\.<name>"),
    "all_slots": Wrong("return {s: g, p: p - g}", r"targets are p and s\.<name>"),
    "without_p": Wrong("return {s.velocity: g}", r"never stores the parameter. Return \{\.\.\., p: new_value\}"),
    "p_twice": Wrong("return {p: p - g, p: p + g}", r"stores `p` twice. Keep one"),
    "slot_twice": Wrong("return {s.velocity: g, p: p - g, s.velocity: p}", r"stores `s\.velocity` twice. Keep one"),
    "gradient": Wrong("return {g: 2 * g, p: p - g}", r"targets are p and s\.<name>"),
    "number": Wrong("return {h.rho: 0.5, p: p - g}", r"targets are p and s\.<name>"),
    "condition": Wrong("return {p: g == p}", r"Use where\(condition, 1\.0, 0\.0\)"),
    "nothing_for_p": Wrong("return {p: None}", r"an expression or a number is needed"),
    "two_for_p": Wrong("return {p: (p - g, g)}", r"an expression or a number is needed"),
    "elements_for_all": Wrong("return {s.product: g, p: p - g}", r"over='tensor' and store sum_of\(x\)"),
    "norm_for_all": Wrong("return {s.product: sum_of(g), p: p - g}", r"over='tensor' and store sum_of\(x\)"),
    "circle": Wrong("return {s.velocity: new(s.velocity) + g, p: p - g}", r"Use the old value, s\.velocity"),
}


def dispatching(name: str) -> Callable[..., Any]:
    """A function of a library as torch's are: it asks its first argument before it does anything."""

    def function(x: Any, *others: Any) -> Any:
        return type(x).__torch_function__(function, (type(x),), (x, *others), {})

    function.__name__, function.__module__ = name, "torch"
    return function


def foreign(x: Any) -> Any:
    raise TypeError(f"sqrt requires an array, got {type(x).__name__}")


NAMES: dict[str, Any] = {name: getattr(codegen, name) for name in codegen.__all__} | {
    "np": np,
    "math": math,
    "random": random,
    "torch": SimpleNamespace(**{name: dispatching(name) for name in ("sqrt", "where", "lerp", "norm")}),
    "other": SimpleNamespace(sqrt=foreign),
    "counter": itertools.count(1),
}


def written(name: str, text: str, folder: Path) -> tuple[Callable[..., Any], int]:
    """The equations of a text in a file of their own, and the line that is at fault."""
    lines = ["def equations(p, g, s, h, on):", *("    " + line for line in text.splitlines())]
    path = folder / f"{name}.py"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    names = {**NAMES}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    return names["equations"], next((i for i, line in enumerate(lines, 1) if "# !" in line), 1)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_is_answered_with_the_place_and_the_remedy(name: str, tmp_path: Path) -> None:
    equations, line = written(name, WRONG[name].text, tmp_path)
    slots: dict[str, Any] = {"velocity": 0.0, "product": Slot(1.0, over="all")}
    with pytest.raises(RuleError) as caught:
        Rule("trial", equations, slots=slots, hypers={"rho": 0.9}, flags={"nesterov": False})
    message = str(caught.value)
    assert re.search(WRONG[name].remedy, message), message
    assert "'trial'" in message
    assert f"{name}.py:{line}" in message, message


def sgd(p: Any, g: Any, h: Any) -> dict[Any, Any]:
    return {p: p - h.learning_rate * g}


DECLARED: dict[str, tuple[dict[str, Any], str]] = {
    "a list of slots": (
        {"slots": ["m"]},
        r"rule 'trial': slots are a dict.*Received: slots=\['m'\]\. Write slots={'nam",
    ),
    "the name of a slot": ({"slots": "m"}, r"rule 'trial': slots are a dict.*Write slots="),
    "a number for hypers": ({"hypers": 0.1}, r"rule 'trial': hypers are a dict.*Write hypers={'name': 0\.0}"),
    "a list of flags": ({"flags": ["on"]}, r"rule 'trial': flags are a dict.*Write flags={'name': False}"),
    "a slot of an array": ({"slots": {"m": np.zeros(3)}}, r"a slot starts as a number"),
    "a number of none": (
        {"hypers": {"lr": None}},
        r"a hyperparameter starts as a finite number\. Received: default=None",
    ),
    "a number in text": ({"hypers": {"lr": "0.1"}}, r"Received: default='0\.1'\. Give a number"),
    "a number of an array": ({"hypers": {"lr": np.ones(3)}}, r"arrays enter a rule as slots and inputs"),
    "a number of a truth": ({"hypers": {"fast": True}}, r"Received: default=True\..*choices as flags"),
    "nan": ({"hypers": {"lr": math.nan}}, r"a finite number\. Received: default=nan"),
    "a flag in text": (
        {"flags": {"on": "yes"}},
        r"off or on by default\. Received: default='yes'\. Write False or True",
    ),
    "a flag of a number": ({"flags": {"on": 1}}, r"Received: default=1\."),
    "a flag of none": ({"flags": {"on": None}}, r"Received: default=None\."),
    "a name that is no text": ({"slots": {1: 0.0}}, r"names are identifiers.*Received: 1"),
    "an input of none": ({"inputs": {"hessian": None}}, r"input 'hessian' is an Input\(\)"),
}


@pytest.mark.parametrize(("parts", "message"), DECLARED.values(), ids=DECLARED.keys())
def test_a_wrong_declaration_is_answered_with_what_to_declare(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        Rule("trial", sgd, **parts)


def test_a_number_starts_within_its_own_range() -> None:
    with pytest.raises(RuleError, match=r"starts as a number in \[0, 1\]\. Received: default=2\.0"):
        Hyper(2.0, 0.0, 1.0)


def test_one_input_may_be_given_by_its_name() -> None:
    assert list(Rule("trial", sgd, inputs="hessian").inputs) == ["hessian"]
    number: Any = np.float32(0.5)
    assert Rule("trial", sgd, hypers={"lr": number}).hypers["lr"] == Hyper(0.5)


# The place.


def helper(v: Any) -> Any:
    return v.sqrt()


def calls_a_helper(p: Any, g: Any) -> dict[Any, Any]:
    return {p: p - helper(g)}


def stacked(p: Any, g: Any, s: Any, h: Any, on: Any, inner: Rule) -> Any:
    yield from inner.applied(p, g, (s, h, on, s))


class Callable_:
    """Equations need not be a function."""

    def __call__(self, p: Any, g: Any) -> dict[Any, Any]:
        return {p: p - g.T}


def line_of(text: str) -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(i for i, line in enumerate(lines, 1) if line.strip() == text)


def test_the_place_is_the_innermost_line_in_the_file_of_the_equations() -> None:
    for equations, line in (
        (calls_a_helper, "return v.sqrt()"),
        (functools.partial(calls_a_helper), "return v.sqrt()"),
        (Callable_(), "return {p: p - g.T}"),
    ):
        with pytest.raises(RuleError) as caught:
            Rule("trial", equations)
        place = f"{__file__}:{line_of(line)}: `{line}`"
        assert caught.value.place == place
        assert str(caught.value).endswith(f". In rule 'trial', {place}.")


def test_of_a_rule_in_a_rule_the_inner_one_is_named() -> None:
    inner = Rule("inner", sgd)
    object.__setattr__(inner, "equations", calls_a_helper)
    object.__setattr__(inner, "_taken", (("p", "g"), ()))
    with pytest.raises(RuleError, match=r"In rule 'inner', .*: `return v\.sqrt\(\)`\.$") as caught:
        Rule("outer", functools.partial(stacked, inner=inner))
    assert str(caught.value).count("In rule") == 1


def test_what_another_library_raises_is_the_cause() -> None:
    with pytest.raises(RuleError, match=r"Received: TypeError: sqrt requires an array") as caught:
        Rule("trial", lambda p, g: {p: p - foreign(g)})
    assert isinstance(caught.value.__cause__, TypeError)


def test_equations_without_a_source_are_named_by_their_line(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec("def equations(p, g):\n    return {p: p - g.T}", names)
    with pytest.raises(RuleError, match=r"In rule 'trial', <string>:2\.$"):
        Rule("trial", names["equations"])


def test_errors_with_a_place_can_be_pickled() -> None:
    with pytest.raises(RuleError) as caught:
        Rule("trial", calls_a_helper)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again), again.place) == (type(caught.value), str(caught.value), caught.value.place)


def test_errors_of_other_kinds_are_left_as_they_are() -> None:
    def raises(p: Any) -> Any:
        raise OptionError("of another kind")

    with pytest.raises(OptionError, match=r"^of another kind$"):
        Rule("trial", raises)


def test_there_are_enough_of_them() -> None:
    assert len(WRONG) >= 40
