"""Keras's files: its optimizers and ours read what the other has put into an open h5py group."""

import io
import json
import os
import zipfile

os.environ.setdefault("KERAS_BACKEND", "numpy")

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from compare import Array
from keras.src.saving import saving_lib

import rmsprop_jit
from rmsprop_jit import ArrayError, Optimizer

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own

h5py = pytest.importorskip("h5py")

PAIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "rmsprop": ("RMSprop", {"momentum": 0.9, "centered": True}),
    "ema": ("RMSprop", {"use_ema": True, "ema_momentum": 0.5}),
    "accumulating": ("RMSprop", {"gradient_accumulation_steps": 2}),
    "adam": ("Adam", {"amsgrad": True}),
    "ftrl": ("Ftrl", {}),
}
pairs = pytest.mark.parametrize(("name", "options"), PAIRS.values(), ids=PAIRS)


class Both:
    """One training by Keras's optimizer and by ours."""

    def __init__(self, name: str, options: dict[str, Any], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.values = [rng.normal(size=shape).astype(np.float32) for shape in ((2, 3), (3,))]
        self.gradients = [np.ones_like(v) * (seed + 1) for v in self.values]
        self.variables = [keras.Variable(v.copy(), name=f"v{i}") for i, v in enumerate(self.values)]
        self.judge = getattr(keras.optimizers, name)(learning_rate=0.1 / (seed + 1), **options)
        self.ours: Optimizer = getattr(rmsprop_jit, name)(learning_rate=0.1 / (seed + 1), **options)
        self.judge.build(self.variables)
        self.ours.build(self.values)
        for _ in range(3 + seed):
            self.judge.apply([keras.ops.convert_to_tensor(g) for g in self.gradients], self.variables)
            self.ours.apply(self.gradients)

    def seen(self) -> tuple[list[Array], list[Array]]:
        ours = [one.numpy() for one in self.ours.variables]
        return ours, [np.asarray(one.value) for one in self.judge.variables]


def calls(judge: Any) -> int:
    """Updates made so far; while it adds gradients up, Keras has no variable for that."""
    return int(getattr(judge.iterations, "value", judge.iterations))


def assert_near(ours: list[Array], theirs: list[Array]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pairs
def test_what_keras_has_saved_is_read(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    first, second = Both(name, options, 0), Both(name, options, 1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        first.judge.save_own_variables(file.create_group("vars"))
    with h5py.File(tmp_path / "a.h5", "r") as file:
        second.ours.load_own_variables(file["vars"])
    assert_near(second.seen()[0], first.seen()[1])
    assert second.ours.iterations == calls(first.judge)


@pairs
def test_what_is_saved_here_is_read_by_keras(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    first, second = Both(name, options, 0), Both(name, options, 1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        first.ours.save_own_variables(file.create_group("vars"))
    with h5py.File(tmp_path / "a.h5", "r") as file:
        second.judge.load_own_variables(file["vars"])
    ours, theirs = first.seen()[0], second.seen()[1]
    assert_near(ours, theirs)
    assert calls(second.judge) == first.ours.iterations


@pairs
def test_a_store_of_a_keras_file_is_read_and_written(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    """As `model.save` makes it."""
    first, second = Both(name, options, 0), Both(name, options, 1)
    for save, load in ((first.judge, second.ours), (first.ours, second.judge)):
        store = saving_lib.H5IOStore(str(tmp_path / "a.weights.h5"), mode="w")
        save.save_own_variables(store.make("optimizer/vars"))
        store.close()
        store = saving_lib.H5IOStore(str(tmp_path / "a.weights.h5"), mode="r")
        load.load_own_variables(store.get("optimizer/vars"))
        store.close()
    assert_near(second.seen()[0], first.seen()[1])
    assert_near(first.seen()[0], second.seen()[1])


def test_a_group_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    first, second = Both("RMSprop", {"momentum": 0.9}, 0), Both("RMSprop", {}, 1)
    before = [one.tobytes() for one in second.seen()[0]]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        first.ours.save_own_variables(file)
        with pytest.raises(ArrayError, match="Received: a store of 6"):
            second.ours.load_own_variables(file)
    assert [one.tobytes() for one in second.seen()[0]] == before


def test_keras_reads_the_schedule_of_a_config() -> None:
    ours = rmsprop_jit.RMSprop(rmsprop_jit.CosineDecay(0.1, 20, alpha=0.5))
    theirs = keras.optimizers.RMSprop.from_config(ours.get_config())
    assert ours.learning_rate == pytest.approx(float(theirs.learning_rate))
    again = rmsprop_jit.RMSprop.from_config({**theirs.get_config()})
    assert again.get_config() == ours.get_config()


EXACT: dict[str, tuple[str, dict[str, Any]]] = {
    "rmsprop": ("RMSprop", {"momentum": 0.9, "centered": True, "weight_decay": 0.01, "clipvalue": 0.5}),
    "ema": ("RMSprop", {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}),
    "accumulating": ("RMSprop", {"gradient_accumulation_steps": 2, "loss_scale_factor": 8.0}),
    "lion": ("Lion", {"weight_decay": 0.01}),
    "sgd": ("SGD", {"momentum": 0.9, "nesterov": True}),
}


def saved_and_loaded(source: Any, target: Any, path: Path) -> None:
    with h5py.File(path, "w") as file:
        source.save_own_variables(file.create_group("optimizer"))
    with h5py.File(path, "r") as file:
        target.load_own_variables(file["optimizer"])


@pytest.mark.parametrize(("name", "options"), EXACT.values(), ids=EXACT)
def test_a_training_goes_on_here_and_back_with_the_same_bits(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """Keras trains, ours goes on from its file, Keras from ours; beside a Keras that was never interrupted."""
    rng = np.random.default_rng(0)
    steps = [[rng.normal(size=shape).astype(np.float32) for shape in ((2, 3), (3,))] for _ in range(9)]
    start = [rng.normal(size=shape).astype(np.float32) for shape in ((2, 3), (3,))]

    def new_judge(values: list[Array]) -> tuple[Any, list[Any]]:
        judge, variables = getattr(keras.optimizers, name)(0.125, **options), [keras.Variable(one) for one in values]
        judge.build(variables)
        return judge, variables

    def train(judge: Any, variables: list[Any], some: list[list[Array]]) -> list[Array]:
        for gradients in some:
            judge.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
        return [np.array(one.value) for one in variables]

    whole, expected = new_judge(start), []
    for cut in range(0, 9, 3):
        expected.append(train(*whole, steps[cut : cut + 3]))
    first, variables = new_judge(start)
    values = train(first, variables, steps[:3])
    ours: Optimizer = getattr(rmsprop_jit, name)(0.5, **options)
    ours.build(values)
    saved_and_loaded(first, ours, tmp_path / "there.h5")
    for gradients in steps[3:6]:
        ours.apply(gradients)
    assert [one.tobytes() for one in values] == [one.tobytes() for one in expected[1]]
    last, variables = new_judge(values)
    saved_and_loaded(ours, last, tmp_path / "back.h5")
    values = train(last, variables, steps[6:])
    assert [one.tobytes() for one in values] == [one.tobytes() for one in expected[2]]
    assert calls(last) == calls(whole[0])
    for one, other in zip(last.variables, whole[0].variables, strict=True):
        np.testing.assert_array_equal(np.asarray(one.value), np.asarray(other.value))


def new_model() -> Any:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="dense")])
    model.compile(loss="mse", optimizer=keras.optimizers.AdamW(0.125))
    return model


def steps_of(model: Any, seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=one.shape).astype(np.float32) for one in model.trainable_variables]


def test_the_optimizer_in_a_model_s_file_goes_on_here_and_back(tmp_path: Path) -> None:
    """A whole `.keras` file: ours is made from its config, reads its state, and writes its own in its place."""
    model = new_model()
    for seed in range(3):
        model.optimizer.apply(steps_of(model, seed), model.trainable_variables)
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    config = json.loads(parts["config.json"])["compile_config"]["optimizer"]
    ours = getattr(rmsprop_jit, config["class_name"]).from_config(config["config"])
    values = {one.path: np.array(one.value) for one in model.trainable_variables}
    ours.build(values)
    weights = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(weights, "a") as file:
        ours.load_own_variables(file["optimizer/vars"])
        ours.apply(dict(zip(values, steps_of(model, 3), strict=True)))
        del file["optimizer/vars"]
        ours.save_own_variables(file.create_group("optimizer/vars"))
    with zipfile.ZipFile(tmp_path / "again.keras", "w") as whole:
        for name, content in {**parts, "model.weights.h5": weights.getvalue()}.items():
            whole.writestr(name, content)
    again = keras.models.load_model(tmp_path / "again.keras")
    for one, value in zip(again.trainable_variables, values.values(), strict=True):
        one.assign(value)
    for seed in (3, 4):
        model.optimizer.apply(steps_of(model, seed), model.trainable_variables)
    again.optimizer.apply(steps_of(model, 4), again.trainable_variables)
    seen = [
        [np.asarray(v.value) for v in (*one.trainable_variables, *one.optimizer.variables)] for one in (again, model)
    ]
    assert_near(*seen)
    assert calls(again.optimizer) == 5
