"""Scenes to train on: the simulator's, and cut-outs of images and simulations that the recipe names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from heliorestore.errors import BurstError, SettingsError
from heliorestore.train.recipe import Recipe

Kind = Literal["continuum", "magnetogram"]
VALIDATION_SEED = 100_000  # the simulator's validation scenes begin here, far from the training scenes' seeds
FIELD_ARCSEC = (56.0, 40.0, 28.0)  # a spot fills its field: so there are three sizes of spots
_PIXEL_ARCSEC = 0.084
_GAUSS_PER_KILOGAUSS = 1000.0


@dataclass(frozen=True)
class SceneFile:
    """A cut-out of a FITS image: intensities relative to the mean are raised to `power` (1 for a continuum
    near 600 nm).

    A power above 1 converts infrared intensities to 617 nm and compensates the contrast that the telescope
    has lost.
    """

    file: str
    pixel_arcsec: float
    rows: tuple[int, int] = (0, -1)
    columns: tuple[int, int] = (0, -1)
    power: float = 1.0


Scene = tuple[str, npt.NDArray[np.float64], float]
"""Name, image (y, x) and its pixel in arcsec; continuum in units of the quiet Sun, magnetograms in kG."""


def simulated(kind: Kind, count: int, seed: int) -> Iterator[Scene]:
    """`count` scenes of the simulator, every other one with a sunspot, of three sizes in turn."""
    from heliorestore.simulate.magnetic import magnetic_field
    from heliorestore.simulate.patch import Patch, SceneName
    from heliorestore.simulate.photosphere import photosphere

    names: tuple[SceneName, SceneName] = ("sunspot", "granulation")
    for number in range(count):
        side = round(FIELD_ARCSEC[number // 2 % len(FIELD_ARCSEC)] / _PIXEL_ARCSEC)
        patch = Patch(
            shape=(side, side), pixel_arcsec=_PIXEL_ARCSEC, scene=names[number % 2], seed=seed + number
        )
        image = (
            photosphere(patch, 617.3)
            if kind == "continuum"
            else magnetic_field(patch)[2] / _GAUSS_PER_KILOGAUSS
        )
        yield f"{patch.scene} {patch.seed}", np.asarray(image, np.float64), _PIXEL_ARCSEC


def read(scene: SceneFile, folder: Path) -> Scene:
    """Read a cut-out; the mean of its brighter pixels serves as the quiet Sun."""
    from astropy.io import fits

    path = folder / scene.file
    try:
        data: Any = fits.getdata(path)
    except OSError as error:
        raise BurstError(
            f"The scene {path} cannot be read ({error}): --data is the folder of the recipe's files."
        ) from error
    image = np.asarray(data, np.float64)[_cut(scene.rows), _cut(scene.columns)]
    if image.ndim != 2 or min(image.shape) < 16:
        raise SettingsError(
            f"The cut-out {scene} of {path} has the shape {image.shape}; it must be an image "
            "of at least 16 pixels."
        )
    # Without umbrae and pores.
    quiet = image[image > np.median(image) * 0.8].mean()
    return path.stem, (image / quiet) ** scene.power, scene.pixel_arcsec


def field_of_darkness(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A line-of-sight field (y, x) in kG for a continuum image: places darker than granulation are magnetic.

    Proportional to the darkness below 0.85, up to 3 kG without light; not physics, but the shapes of a real
    spot.
    """
    return np.asarray(3.0 * np.clip(0.85 - image, 0, None) / 0.85)


def scene_file(table: Mapping[str, Any] | SceneFile) -> SceneFile:
    """The cut-out that a table of a recipe describes."""
    if isinstance(table, SceneFile):
        return table
    known = [field.name for field in dataclasses.fields(SceneFile)]
    if not set(table) <= set(known) or not {"file", "pixel_arcsec"} <= set(table):
        raise SettingsError(
            f"A scene file of the recipe has {', '.join(table)}; it needs file and pixel_arcsec, and may "
            f"have {', '.join(known)}."
        )
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in table.items()
    }
    return SceneFile(**values)


@dataclass(frozen=True, kw_only=True)
class SceneRecipe(Recipe):
    """A recipe with scenes of the simulator and of files, tables with the fields of SceneFile."""

    scenes: int = 24
    validation_scenes: int = 4
    files: tuple[Any, ...] = ()
    validation_files: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("files", "validation_files"):
            object.__setattr__(self, name, tuple(scene_file(table) for table in getattr(self, name)))
        if self.validation_scenes + len(self.validation_files) < 1 or self.scenes + len(self.files) < 1:
            raise SettingsError("The recipe needs scenes to train on, and others to validate with.")

    def part(self, *, validation: bool) -> tuple[int, int, tuple[SceneFile, ...]]:
        """For training or validation: the number of simulated scenes, the seed of the first, the files."""
        if validation:
            return self.validation_scenes, VALIDATION_SEED, self.validation_files
        return self.scenes, 1 + 10_000 * self.seed, self.files


def _cut(ends: tuple[int, int]) -> slice:
    return slice(ends[0], None if ends[1] == -1 else ends[1])
