from pathlib import Path

import numpy as np
import pytest

from heliorestore.errors import SettingsError
from heliorestore.nets.weights import build
from heliorestore.train.enhance import EnhanceRecipe
from heliorestore.train.recipe import Recipe, bundled, from_table, read_table
from heliorestore.train.scenes import SceneFile
from heliorestore.train.trainer import _trainer

MINIMAL = {"name": "r", "architecture": "enhance-small"}


def test_the_rate_rises_stays_and_falls() -> None:
    recipe = Recipe(**MINIMAL, steps=1000, learning_rate=1e-3, warmup=100, cooldown=0.3)
    assert recipe.rate(0) == pytest.approx(1e-5)
    assert recipe.rate(100) == recipe.rate(699) == 1e-3
    assert recipe.rate(850) == pytest.approx(5e-4)
    assert 0 < recipe.rate(999) < 1e-5


@pytest.mark.parametrize("path", bundled().values(), ids=bundled().keys())
def test_every_recipe_of_the_package_can_be_followed(path: Path) -> None:
    recipe = from_table(_trainer(path.stem.partition("-")[0]).recipe, read_table(path.stem))
    assert recipe.name in (path.stem, recipe.start)  # who trains weights further may keep their name
    assert recipe.description
    build(recipe.architecture)


def test_a_recipe_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        'architecture = "enhance-small"\nlearning_rate = 1\nsteps = 7\n[[files]]\nfile = '
        '"a.fits"\npixel_arcsec = 0.1\nrows = [0, 5]\n'
    )
    recipe = from_table(EnhanceRecipe, read_table(path))
    assert (recipe.name, recipe.steps, recipe.learning_rate) == ("own", 7, 1.0)
    assert recipe.files == (SceneFile("a.fits", 0.1, rows=(0, 5)),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stepps": 5}, "no 'stepps'; did you mean steps"),
        ({"steps": "many"}, "steps is 'many'; it must be of type int"),
        ({"steps": 0}, "steps is 0"),
        ({"learning_rate": 0.0}, "the rate must be positive"),
        ({"precision": "float8"}, "possible are 'float32' and 'bfloat16'"),
        ({"kind": "dopplergram"}, "possible are 'continuum' and 'magnetogram'"),
        ({"validation_scenes": 0}, "others to validate with"),
        ({"files": [{"file": "a.fits"}]}, "needs file and pixel_arcsec"),
    ],
)
def test_mistakes_are_said(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        from_table(EnhanceRecipe, MINIMAL | changes)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="recipe lacks architecture"):
        from_table(EnhanceRecipe, {"name": "r"})
    with pytest.raises(SettingsError, match=r"no recipe .*give a TOML file or one of .*enhance-continuum"):
        read_table(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("steps = = 3")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_table(tmp_path / "bad.toml")


def test_a_recipe_is_like_another_but_for_what_it_says(tmp_path: Path) -> None:
    base = read_table("mfbd-crisp-quarter")
    # a user's own of the same name
    (tmp_path / "mfbd-crisp-quarter.toml").write_text('like = "mfbd-crisp-quarter"\nsteps = 7\n')
    assert read_table(tmp_path / "mfbd-crisp-quarter.toml") == base | {"steps": 7}
    (tmp_path / "second.toml").write_text('like = "mfbd-crisp-quarter.toml"\nseed = 5\n')
    assert read_table(tmp_path / "second.toml") == read_table(tmp_path / "mfbd-crisp-quarter.toml") | {
        "name": "second",
        "seed": 5,
    }
    (tmp_path / "round.toml").write_text('like = "about.toml"\n')
    (tmp_path / "about.toml").write_text('like = "round.toml"\n')
    with pytest.raises(SettingsError, match=r"round\.toml is `like` itself"):
        read_table(tmp_path / "round.toml")
    (tmp_path / "lost.toml").write_text('like = "nothing"\n')
    with pytest.raises(SettingsError, match="There is no recipe"):
        read_table(tmp_path / "lost.toml")


def test_rates_never_rise_after_the_warm_up() -> None:
    recipe = Recipe(**MINIMAL, steps=50, warmup=10, cooldown=1.0)
    rates = np.array([recipe.rate(n) for n in range(50)])
    assert (np.diff(rates[10:]) <= 0).all()
    assert (rates > 0).all()


def test_a_recipe_that_is_no_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(SettingsError, match=r"mine\.toml cannot be read: .*can't decode byte"):
        read_table(tmp_path / "mine.toml")
