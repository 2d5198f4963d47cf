"""The examples: each runs, in a narrow terminal too, and shows what it says that it shows."""

import importlib
import sys
from pathlib import Path

import pytest

from rmsprop_jit import cli, examples
from rmsprop_jit.examples import EXAMPLES, beside_torch, groups, inverse, own_rule, resume

FOLDER = Path(examples.__file__).parent


def narrow(capsys: pytest.CaptureFixture[str], columns: int = 40) -> str:
    """What was printed, none of which is wider than that."""
    shown = capsys.readouterr().out
    assert shown
    assert "\x1b" not in shown
    assert all(len(line) <= columns for line in shown.splitlines())
    return " ".join(shown.split())


@pytest.fixture(autouse=True)
def columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")


def test_every_script_is_named_and_documented() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} - {"__init__"} == EXAMPLES.keys()
    for name in EXAMPLES:
        path = FOLDER / f"{name}.py"
        assert len(path.read_text().splitlines()) <= 120
        assert f"`rmsprop-jit demo {name}`" in (importlib.import_module(f"rmsprop_jit.examples.{name}").__doc__ or "")


def test_a_training_goes_on_with_the_same_bits(capsys: pytest.CaptureFixture[str]) -> None:
    found = resume.main(count=1000)
    assert found.same_bits
    assert found.accuracy > 0.6  # of a third of the usual pictures
    assert "the same bits" in narrow(capsys)


def test_a_bias_that_does_not_decay_is_where_it_should_be(capsys: pytest.CaptureFixture[str]) -> None:
    found = groups.main()
    whole, decayed, excluded, grouped, slow, quick = found.values()
    assert excluded.error < min(whole.error, decayed.error)
    assert abs(excluded.bias[0] - groups.BIAS) < 0.5 < groups.BIAS - decayed.bias[0]
    assert grouped.kernel.tobytes() == excluded.kernel.tobytes()
    assert grouped.bias.tobytes() == excluded.bias.tobytes()
    assert quick.error < 0.2 * slow.error
    assert "a quicker bias" in narrow(capsys)


def test_a_number_of_a_law_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("autograd")
    found = inverse.main(steps=800)
    assert found.last_loss < 0.05 * found.first_loss
    assert abs(found.k - inverse.WANTED) < 0.5
    assert "found k = " in narrow(capsys)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "autograd.numpy", None)
    assert cli.main(["demo", "inverse"]) == 2
    assert "pip install autograd" in " ".join(capsys.readouterr().err.split())


def test_a_model_of_torchs_is_trained_as_by_torch(capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    try:
        found = beside_torch.main(steps=60)
    finally:
        torch.set_num_threads(threads)
    assert found.difference < 1e-9
    assert max(found.last_loss, found.bounded_loss, found.averaged_loss) < 0.68
    assert "beside torch.optim.RMSprop" in narrow(capsys)


def test_a_missing_torch_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cli.main(["demo", "beside_torch"]) == 2
    assert "pip install torch" in " ".join(capsys.readouterr().err.split())


def test_a_rule_of_ones_own_is_the_one_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    found = own_rule.main(steps=300)
    assert found.same_bits
    assert found.last_loss < 1e-3 * found.first_loss
    assert "s.largest <- maximum" in narrow(capsys)


def test_the_command_runs_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(groups, "main", lambda: print("it ran"))
    assert cli.main(["demo", "groups"]) == 0
    assert capsys.readouterr().out == "it ran\n"


def test_the_command_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--list"]) == 0
    shown = narrow(capsys)
    assert all(name in shown for name in EXAMPLES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resumed",), "Received: 'resumed'. Did you mean 'resume'?"),
        (("resume", "--rule", "lion"), "its own rule and rates. Received: resume with --rule"),
        (("resume", "--learning-rate", "1"), "Received: resume with --learning-rate"),
    ],
)
def test_what_it_does_not_take_is_refused(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
