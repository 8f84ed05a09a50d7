from pathlib import Path
from typing import Any

import pytest
import torch

from unblur.errors import UnblurError
from unblur.models.registry import network_class
from unblur.training.recipe import read_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
SMALL = """
network: {name: path_film, arguments: {restorer: {widths: [8, 8], blocks: [1, 1]}}}
exposures: {size: 32, motion: {length: [2, 10]}}
optimizer: {lr: 1e-3}
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(path: Path) -> None:
    recipe = read_recipe(path)
    with torch.device("meta"):
        network_class(recipe.network.name)(**vars(recipe.network.arguments))
    assert not Path(recipe.data.train).is_absolute()
    assert not Path(recipe.data.val).is_absolute()


def test_there_are_recipes() -> None:
    names = {path.stem for path in RECIPES}
    assert {"film-small", "cfmd", "mimo-unet"} <= names
    assert {f"blur-space-{data}" for data in ("reds", "gopro", "gopro-variational", "mix")} <= names


@pytest.mark.parametrize(
    ("name", "batch", "eta_min", "kl", "sets"),
    [
        ("reds", 13, 1e-6, 0, {"data/REDS": 1}),
        ("gopro", 16, 1e-8, 0, {"data/GOPRO_Large": 1}),
        ("gopro-variational", 8, 1e-8, 10, {"data/GOPRO_Large": 1}),
        ("mix", 16, 1e-8, 0, {"data/REDS": 1, "data/GOPRO_Large": 10}),
    ],
)
def test_the_released_numbers_of_blur_kernel_space(
    name: str, batch: int, eta_min: float, kl: float, sets: dict[str, float]
) -> None:
    recipe = read_recipe(Path(__file__).parents[2] / "recipes" / f"blur-space-{name}.yaml")
    assert (recipe.pairs.batch_size, recipe.pairs.size, recipe.trainer.max_steps) == (batch, 256, 600_000)
    assert recipe.optimizer.lr * recipe.schedule.floor == pytest.approx(eta_min)
    assert (recipe.optimizer.lr, recipe.optimizer.betas, recipe.optimizer.weight_decay) == (1e-4, (0.9, 0.99), 0)
    assert (recipe.loss.kl, recipe.loss.eps, recipe.seed, recipe.ema) == (kl, 1e-3, 0, 0)
    assert recipe.trainer.gradient_clip_val is None
    assert {one.path: one.weight for one in recipe.pairs.train} == sets
    assert all(one.split == "train" for one in recipe.pairs.train)
    assert all(one.split == "val" for one in recipe.pairs.val)
    assert (not recipe.strict_weights) == (name == "gopro-variational") == recipe.network.arguments.variational
    lr = {step: recipe.optimizer.lr * recipe.schedule.factor(step - 1, 600_000) for step in LEARNING_RATES}
    for step, expected in LEARNING_RATES.items():
        assert lr[step] == pytest.approx(expected or eta_min, rel=0.011, abs=5e-9)


# Of step n, counted from 1; None is about eta_min. As measured on the released program.
LEARNING_RATES = {
    25_000: 5.0e-5,
    50_000: None,
    50_001: 1e-4,
    100_000: 5.0e-5,
    150_001: 1e-4,
    300_001: 1e-4,
    450_001: 1e-4,
    525_000: 5.0e-5,
    600_000: None,
}


BLUR = """
network: {name: blur_kernel_space, arguments: {features: 8}}
pairs: {train: [{path: a, weight: 2}]}
"""


@pytest.fixture
def blur(tmp_path: Path) -> Path:
    path = tmp_path / "blur.yaml"
    path.write_text(BLUR)
    return path


def test_a_blur_space_has_its_own_fields(blur: Path, small: Path) -> None:
    recipe = read_recipe(blur, ["--loss.kl", "0.5", "--loss.kl_form=released", "--schedule.shape", "restarts"])
    assert (recipe.loss.kl, recipe.loss.kl_form, recipe.pairs.train[0].weight) == (0.5, "released", 2.0)
    assert recipe.schedule.periods == [50_000, 100_000, 150_000, 150_000, 150_000]
    (blur.parent / "again.yaml").write_text(recipe.record)
    assert read_recipe(blur.parent / "again.yaml").pairs == recipe.pairs
    with pytest.raises(UnblurError, match=r"loss\.scales: no such key"):
        read_recipe(blur, ["--loss.scales", "3"])
    with pytest.raises(UnblurError, match=r"pairs\.size: no such key"):
        read_recipe(small, ["--pairs.size", "3"])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("pairs: {train: [{path: a, wieght: 2}]}", "pairs.train, number 1: wieght: no such key in a recipe; .* weight"),
        ("pairs: {val: [{path: a}, {pth: a}]}", "pairs.val, number 2: pth: no such key .* path"),
        ("pairs: {batchsize: 2}", r"pairs\.batchsize: no such key .* pairs\.batch_size"),
        ("pairs: {train: [{path: a, weight: much}]}", "weight"),
        ("pairs: {train: [{path: a, layout: godpro}]}", "layout"),
        ("pairs: {train: [{weight: 1}]}", "path"),
        ("schedule: {shape: restarts, periods: []}", "schedule.periods"),
        ("schedule: {shape: restarts, periods: [10, 0]}", "schedule.periods"),
        ("loss: {kl_form: relaesed}", "kl_form"),
    ],
)
def test_mistakes_in_a_blur_recipe_are_one_line(blur: Path, line: str, told: str) -> None:
    blur.write_text("\n".join([*(s for s in BLUR.splitlines() if not line.startswith(s[:5] or "-")), line]))
    with pytest.raises(UnblurError, match=told) as caught:
        read_recipe(blur)
    assert "\n" not in str(caught.value)


def test_values_are_typed_and_overrides_win(small: Path) -> None:
    recipe = read_recipe(small, ["--trainer.max_steps", "7", "--exposures.motion.layer=0.25", "--max_minutes", "3"])
    assert recipe.trainer.max_steps == 7
    assert recipe.exposures.motion.length == (2, 10)
    assert recipe.exposures.motion.layer == 0.25
    assert recipe.optimizer.lr == 1e-3
    assert recipe.max_minutes == 3
    assert recipe.network.arguments.restorer == {"widths": [8, 8], "blocks": [1, 1]}


@pytest.mark.parametrize(
    ("line", "wrong", "nearest"),
    [
        ("optimiser: {lr: 1}", "optimiser", "optimizer"),
        ("trainer: {max_step: 1}", "trainer.max_step", "trainer.max_steps"),
        ("data: {motion: {length: [1, 2]}}", "data.motion", "exposures.motion"),
        ("loss: {reblurr: 1.0}", "loss.reblurr", "loss.reblur"),
        ("learning_rate: 1", "learning_rate", "optimizer.lr"),
        ("max_steps: 3", "max_steps", "trainer.max_steps"),
    ],
)
def test_an_unknown_key_names_the_nearest(small: Path, line: str, wrong: str, nearest: str) -> None:
    small.write_text("\n".join([*(s for s in SMALL.splitlines() if line.split(":")[0] not in s), line]))
    with pytest.raises(UnblurError) as caught:
        read_recipe(small)
    assert caught.value.subject.startswith(wrong)
    if wrong != "learning_rate":
        assert f"the nearest is {nearest}" in str(caught.value)


def test_unknown_keys_on_the_command_line(small: Path) -> None:
    for words in (["--optimizer.lrr", "1"], ["--optimizer.lrr=1"]):
        with pytest.raises(UnblurError, match=r"optimizer\.lrr: .* the nearest is optimizer\.lr"):
            read_recipe(small, words)


@pytest.mark.parametrize(
    "words",
    [
        ["--trainer.max_steps", "many"],
        ["--schedule.shape", "zigzag"],
        ["--exposures.motion.length", "[1]"],
        ["--trainer.max_steps"],
        ["low_frequency_drift"],
    ],
)
def test_a_wrong_value_is_one_line(small: Path, words: list[str]) -> None:
    with pytest.raises(UnblurError) as caught:
        read_recipe(small, words)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert words[0].removeprefix("--") in str(caught.value)


def test_network_arguments_are_checked_too(small: Path) -> None:
    with pytest.raises(UnblurError, match=r"the nearest is network\.arguments\.iterations"):
        read_recipe(small, ["--network.arguments.iteration", "1"])


def test_unknown_network(small: Path) -> None:
    with pytest.raises(UnblurError, match=r"network\.name cfmdd: no such network; the nearest is cfmd"):
        read_recipe(small, ["--network.name=cfmdd"])


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "a: {lr: 1}"])
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UnblurError) as caught:
        read_recipe(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)


def test_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(UnblurError, match=r"none.yaml: cannot be read"):
        read_recipe(tmp_path / "none.yaml")


def test_the_same_values_come_back_for_the_record(small: Path) -> None:
    recipe: Any = read_recipe(small)
    assert recipe.schedule.shape == "cosine"


def test_lists_in_overrides_replace_those_of_the_recipe(tmp_path: Path) -> None:
    """An entry of an override has nothing of the entry of the recipe that stood in its place."""
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "network: {name: blur_kernel_space, arguments: {features: 8}}\n"
        "pairs: {train: [{path: old, layout: gopro, weight: 7}], batch_size: 3}\n"
    )
    recipe = read_recipe(path, ["--pairs.train", "[{path: a}, {path: b, weight: 2}]"])
    assert [(one.path, one.layout, one.weight) for one in recipe.pairs.train] == [
        ("a", "auto", 1.0),
        ("b", "auto", 2.0),
    ]
    assert recipe.pairs.batch_size == 3
    again = read_recipe(path, ["--pairs.train=[{path: c}]"])
    assert [(one.path, one.layout, one.weight) for one in again.pairs.train] == [("c", "auto", 1.0)]
    assert [(one.path, one.layout) for one in read_recipe(path).pairs.train] == [("old", "gopro")]
