from pathlib import Path
from typing import Any

import pytest

from unblur.errors import UnblurError
from unblur.training.recipe import read_recipe
from unblur.zoo.table import network_class

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
SMALL = """
network: {name: film, arguments: {restorer: {widths: [8, 8], blocks: [1, 1]}}}
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
    network_class(recipe.network.name)(**vars(recipe.network.arguments))
    assert not Path(recipe.data.train).is_absolute()
    assert not Path(recipe.data.val).is_absolute()


def test_there_are_recipes() -> None:
    assert {"film-small", "moments", "mimo-unet"} <= {path.stem for path in RECIPES}


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
        ["stray"],
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
    with pytest.raises(UnblurError, match=r"network\.name momets: no such network; the nearest is moments"):
        read_recipe(small, ["--network.name=momets"])


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
