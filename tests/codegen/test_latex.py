"""Rules as LaTeX: every function has a form, letters are told apart, and what is printed can be typeset."""

import itertools
import re
from collections.abc import Iterator

import pytest
import zoo

from rmsprop_jit import RMSprop, codegen
from rmsprop_jit.codegen import Expr, Hyper, Rule, Slot, explain
from rmsprop_jit.codegen.expr import Call, Reduction, Symbol
from rmsprop_jit.codegen.kinds import Kind, Space
from rmsprop_jit.codegen.latex import FORMS, REDUCED, typeset
from rmsprop_jit.codegen.names import Names
from rmsprop_jit.codegen.ops import Fn, ReduceOp
from rmsprop_jit.codegen.rule import GRADIENT, PARAMETER
from rmsprop_jit.rules.table import TABLE

ZOO = [rule for rule in vars(zoo).values() if isinstance(rule, Rule)]
RULES = [*ZOO, *(TABLE[name][0].rule for name in TABLE)]


def latex_of(value: str, **declared: float) -> str:
    """The right side of the parameter's line where it becomes a value of these words."""
    names = {name: getattr(codegen, name) for name in codegen.functions.__all__}
    rule = Rule("trial", lambda p, g, h: {p: eval(value, {**names, "p": p, "g": g, "h": h})}, hypers=declared)
    (line,) = [line for line in explain(rule, form="latex").splitlines() if "&=" in line]
    return line.removeprefix(r"\theta_{t} &= ")


WRITTEN = {
    "p - g - (g - p)": r"\theta_{t-1} - g_{t} - \left(g_{t} - \theta_{t-1}\right)",
    "(p - g) * -g": r"\left(\theta_{t-1} - g_{t}\right) \, \left(-g_{t}\right)",
    "p * 2 - 3 * g": r"\theta_{t-1} \cdot 2 - 3 \, g_{t}",
    "p / (1 + g)": r"\frac{\theta_{t-1}}{1 + g_{t}}",
    "(p / g) ** 2": r"\left(\frac{\theta_{t-1}}{g_{t}}\right)^{2}",
    "square(p + g) ** (g - 1)": r"\left(\left(\theta_{t-1} + g_{t}\right)^{2}\right)^{g_{t} - 1}",
    "sqrt(abs(g)) * 1e-7": r"\sqrt{\left|g_{t}\right|} \cdot 10^{-7}",
    "g * -2.5e8": r"g_{t} \, \left(-2.5 \cdot 10^{8}\right)",
    "exp(g) + log(p) + tanh(p)": r"e^{g_{t}} + \ln\left(\theta_{t-1}\right) + \tanh\left(\theta_{t-1}\right)",
    "sign(g)": r"\operatorname{sign}\left(g_{t}\right)",
    "clip(g, -1, 1)": r"\min\left(\max\left(g_{t},\, -1\right),\, 1\right)",
    "where((g > 0) & ~(p == g), g, p)": r"\begin{cases} g_{t} & \text{if } g_{t} > 0 \wedge "
    r"\neg \left(\theta_{t-1} = g_{t}\right) \\ \theta_{t-1} & \text{otherwise} \end{cases}",
    "where(g > 0, g, where(g < 0, p, 1))": r"\begin{cases} g_{t} & \text{if } g_{t} > 0 \\ "
    r"\theta_{t-1} & \text{if } g_{t} < 0 \\ 1 & \text{otherwise} \end{cases}",
    "p - sum_of(g * p)": r"\theta_{t-1} - \left(\sum_{\mathrm{tensor}} g_{t} \, \theta_{t-1}\right)",
    "g / sqrt(sum_of_squares(g - p, over='all'))": r"\frac{g_{t}}{\sqrt{\sum_{\mathrm{all}} "
    r"\left(g_{t} - \theta_{t-1}\right)^{2}}}",
    "g * mean_of(g)": r"g_{t} \, \frac{\sum_{\mathrm{tensor}} g_{t}}{n}",
    "g * max_abs(g)": r"g_{t} \, \max_{\mathrm{tensor}} \left|g_{t}\right|",
    "where(all_finite(g), g, p)": r"\begin{cases} g_{t} & \text{if } "
    r"\operatorname{all\_finite}_{\mathrm{tensor}}\left(g_{t}\right) \neq 0 \\ \theta_{t-1} & \text{otherwise} "
    r"\end{cases}",
    "g * size('all')": r"g_{t} \, N",
    "g * (h.step % 3)": r"g_{t} \, t \;\mathrm{mod}\; 3",
    "g * float('inf')": r"g_{t} \, \infty",
}


@pytest.mark.parametrize(("value", "latex"), WRITTEN.items())
def test_an_expression_is_written_as_on_paper(value: str, latex: str) -> None:
    assert latex_of(value) == latex


@pytest.mark.parametrize("fn", Fn, ids=lambda fn: fn.name)
def test_every_operation_has_latex(fn: Fn) -> None:
    count = fn.row.operands
    operands = (PARAMETER > GRADIENT, PARAMETER, GRADIENT) if fn is Fn.WHERE else (PARAMETER, GRADIENT)[:count]
    node = codegen.where(*operands) if fn is Fn.WHERE else Call(fn, operands)
    (line,) = [line for line in typeset({PARAMETER: node}) if "&=" in line]
    assert fn in FORMS or fn in (Fn.MUL, Fn.WHERE) or rf"\operatorname{{{fn.symbol}}}".replace("_", r"\_") in line
    assert r"\theta_{t-1}" in line
    assert ("g_{t}" in line) is (count > 1)


@pytest.mark.parametrize("op", ReduceOp, ids=lambda op: op.name)
def test_every_reduction_has_latex_with_its_space(op: ReduceOp) -> None:
    for space in (Space.TENSOR, Space.ALL):
        (line,) = [line for line in typeset({PARAMETER: Reduction(op, GRADIENT, space, None)}) if "&=" in line]
        assert rf"_{{\mathrm{{{space.value}}}}}" in line
        assert op in REDUCED or rf"\operatorname{{{op.symbol}}}".replace("_", r"\_") in line
        assert "g_{t}" in line


def test_letters_are_those_of_the_literature_and_no_two_are_alike() -> None:
    def equations(p: Expr, g: Expr, s: Names, h: Names, x: Names) -> dict[Expr, Expr]:
        m = s.m * h.beta_1 + s.hessian * h.rho
        v = s.velocity_hat * h.epsilon + s.g * h.theta + x.hessian * h.eta + h.eta_plus
        return {s.m: m + g, s.velocity_hat: v, s.g: s.g + m, s.hessian: s.hessian + m * h.v_2, p: p - s.m - s.g * m}

    rule = Rule(
        "letters",
        equations,
        slots=dict.fromkeys(("m", "velocity_hat", "g", "hessian"), 0.0),
        hypers={**dict.fromkeys(("beta_1", "rho", "epsilon", "theta", "eta", "eta_plus"), 0.5), "v_2": Hyper(1.0)},
        inputs=["hessian"],
    )
    lines = typeset(rule.stores, rule.locals)
    meant = dict(pair.split("=")[::-1] for line in lines if line[0] == "%" for pair in line[2:].rstrip(",").split(", "))
    assert meant["s.m"] == "m"
    assert meant["s.hessian"] == r"\mathrm{hessian}"
    assert meant["x.hessian"] == r"\tilde{\mathrm{hessian}}"
    assert meant["s.velocity_hat"] == r"\hat{\mathrm{velocity}}"
    assert meant["s.g"] == r"\tilde{g}"
    assert meant["h.theta"] == r"\tilde{\theta}"
    assert (meant["h.beta_1"], meant["h.rho"], meant["h.epsilon"]) == (r"\beta_{1}", r"\rho", r"\varepsilon")
    assert (meant["h.eta_plus"], meant["h.v_2"]) == (r"\eta_{\mathrm{plus}}", "v_{2}")
    assert len({*meant.values()}) == len(meant)
    assert any(line.startswith(r"\tilde{m} &= ") for line in lines), "the local variable is not the slot"


def test_a_step_is_old_on_the_right_and_new_on_the_left() -> None:
    lines = RMSprop(momentum=0.9).explain("latex").splitlines()
    assert lines.index(r"\begin{align*}") == 2
    assert lines[3] == r"v_{t} &= \rho \, v_{t-1} + \left(1 - \rho\right) \, g_{t}^{2} \\"
    assert lines[-2:] == [r"\theta_{t} &= \theta_{t-1} - m_{t}", r"\end{align*}"]
    assert lines[0].startswith("% v=s.velocity, g=gradient, ")


def test_what_is_one_number_for_many_has_an_index_too() -> None:
    slots = {"a": Slot(over="tensor"), "b": Slot(1.0, over="all")}
    rule = Rule("few", lambda p, g, s: {s.a: s.a + 1, s.b: s.b * 2, p: p - g * s.a * codegen.new(s.b)}, slots=slots)
    assert explain(rule, form="latex").splitlines()[-2] == r"\theta_{t} &= \theta_{t-1} - g_{t} \, a_{t-1} \, b_{t}"
    assert Symbol(Kind.TENSOR_SLOT, "a") in rule.stores


def test_a_rule_that_changes_nothing_is_no_empty_block() -> None:
    nothing = Rule("nothing", lambda p, g: {p: p})
    assert explain(nothing, form="latex") == "% nothing changes"
    assert explain(nothing, form="rule") == "(nothing changes)"


def test_a_deep_rule_is_typeset_without_recursion() -> None:
    def deep(p: Expr, g: Expr, h: Names) -> dict[Expr, Expr]:
        for _ in range(3000):
            g = g * h.learning_rate + p
        return {p: g}

    assert explain(Rule("deep", deep), form="latex").count("&=") > 1000


def formulas(line: str) -> Iterator[str]:
    """The parts of a line that have no environment in them, since mathtext knows none."""
    left, right = re.sub(r" \\\\$", "", line).split(" &= ", 1)
    cases = re.compile(r"\\left\(\\begin\{cases\} (.*?) \\end\{cases\}\\right\)|\\begin\{cases\} (.*?) \\end\{cases\}")
    for found in cases.finditer(right):
        for row in (found[1] or found[2]).split(r" \\ "):
            yield row.replace(" & ", r"\quad ")
    yield f"{left} = {cases.sub('C', right)}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_can_be_typeset(rule: Rule) -> None:
    mathtext = pytest.importorskip("matplotlib.mathtext")
    parser = mathtext.MathTextParser("path")
    text = explain(rule, form="latex")
    shown = [line for line in text.splitlines() if line[0] != "%"]
    ends = [i for i, line in enumerate(shown) if line == r"\end{align*}"]
    assert len(ends) == 1 + (rule.averages is not None)
    assert ends[-1] == len(shown) - 1
    for first, last in itertools.pairwise([-1, *ends]):
        begin, *lines = shown[first + 1 : last]
        assert begin == r"\begin{align*}"
        assert [line[-2:] == r"\\" for line in lines] == [True] * (len(lines) - 1) + [False]
        for line in lines:
            for formula in formulas(line):
                assert parser.parse(f"${formula}$").width > 0
