"""The map between the pixels of two cameras of one telescope: a record, and its file.

`narrow = matrix (x, y, 1)` of the wide camera, in pixels whose centres are whole numbers, the first 0: the
convention of ALIGN_MAP in redux, whose nine numbers are read too.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heliorestore.burst import Source
from heliorestore.errors import SettingsError
from heliorestore.storage import atomic_write, toml_text

Floats = npt.NDArray[np.float64]

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_MOUNTS = {
    "": [[1, 0], [0, 1]],
    "mirrored in x, ": [[-1, 0], [0, 1]],
    "mirrored in y, ": [[1, 0], [0, -1]],
    "turned by 180 degrees, ": [[-1, 0], [0, -1]],
    "with x and y exchanged, ": [[0, 1], [1, 0]],
    "with x and y exchanged and turned by 180 degrees, ": [[0, -1], [-1, 0]],
    "turned by 90 degrees, ": [[0, -1], [1, 0]],
    "turned by -90 degrees, ": [[0, 1], [-1, 0]],
}
_ABOUT = """\
# Map between the pixels of two cameras: [x, y, 1] of the narrow camera = matrix [x, y, 1] of the wide one,
# divided by its third number. Centres of pixels are whole numbers, the first is 0; x runs along a row.
# This is ALIGN_MAP of redux.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class CameraMap:
    """Where a place of the wide camera is on the narrow one.

    `matrix` (3, 3) takes (x, y, 1) of the wide camera to the narrow one. `residual_px` is the rms distance of
    places that were not used for the fit, in pixels of the narrow camera, and `points` their number; None and
    0 where unknown. Shapes are (y, x). `applies_to` names labels or cameras; if empty, it is all objects but
    the first. `files` are the images of the wide and the narrow camera.
    """

    matrix: Floats
    kind: str = "projective"
    residual_px: float | None = None
    points: int = 0
    method: str = ""
    wide_shape: tuple[int, int] | None = None
    narrow_shape: tuple[int, int] | None = None
    applies_to: tuple[str, ...] = ()
    files: tuple[Source, ...] = ()

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
            raise SettingsError("A map between cameras is a matrix of 3 x 3 numbers that can be inverted.")
        object.__setattr__(self, "matrix", matrix / matrix[2, 2])

    def __call__(self, places: npt.ArrayLike) -> Floats:
        """Places (..., [x, y]) of the wide camera on the narrow one."""
        return projected(self.matrix, np.asarray(places, np.float64))

    @property
    def inverse(self) -> CameraMap:
        """From the narrow camera to the wide one."""
        return replace(
            self,
            matrix=np.asarray(np.linalg.inv(self.matrix), np.float64),
            wide_shape=self.narrow_shape,
            narrow_shape=self.wide_shape,
            files=self.files[::-1],
        )

    def after(self, first: CameraMap) -> CameraMap:
        """The map that goes through `first`, and then through this one."""
        return CameraMap(
            matrix=self.matrix @ first.matrix, wide_shape=first.wide_shape, narrow_shape=self.narrow_shape
        )

    def slope(self, place: npt.ArrayLike) -> Floats:
        """How the narrow place [x, y] changes with the wide one [x, y], (2, 2), at a wide place."""
        x, y, w = self.matrix @ [*np.asarray(place, np.float64), 1.0]
        slope: Floats = (self.matrix[:2, :2] - np.outer([x / w, y / w], self.matrix[2, :2])) / w
        return slope

    def in_words(self, shape: tuple[int, int]) -> str:
        """Offset in the middle of a field (y, x), turn and scale, for a reader."""
        middle = np.array([shape[1] - 1, shape[0] - 1]) / 2
        slope, (x, y) = self.slope(middle), self(middle) - middle
        # The nearest of the eight orientations first: what is left is a small rotation and a scale.
        name, mount = max(_MOUNTS.items(), key=lambda each: float((slope * np.array(each[1])).sum()))
        turned = slope @ np.linalg.inv(mount)
        angle = np.degrees(np.arctan2(turned[1, 0] - turned[0, 1], turned[0, 0] + turned[1, 1]))
        scale = np.sqrt(abs(np.linalg.det(slope)))
        return (
            f"displaced by {y:+.2f} / {x:+.2f} px (y / x) in the middle, "
            f"{name}rotated by {round(angle, 2) + 0.0:.2f} degrees, scale {scale:.4f}"
        )


def projected(matrix: Floats, places: Floats) -> Floats:
    """Places (..., [x, y]) under a projective map (3, 3)."""
    found = places @ matrix[:, :2].T + matrix[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(found[..., :2] / found[..., 2:])


# -- files ---------------------------------------------------------------------------------------------------


def write_map(found: CameraMap, path: Path) -> None:
    """Write a map as TOML."""
    rows = ",\n".join("  [" + ", ".join(f"{value:.12g}" for value in row) + "]" for row in found.matrix)
    lines = [_ABOUT + f'kind = "{found.kind}"', f"matrix = [\n{rows},\n]"]
    if found.residual_px is not None:
        lines.append(f"residual_px = {found.residual_px:.4g}  # rms of places that were not used for the fit")
        lines.append(f"points = {found.points}")
    lines.append(f'method = "{found.method}"')
    labels = ", ".join(map(toml_text, found.applies_to))
    lines.append(f"applies_to = [{labels}]  # labels or cameras; empty: all but the first")
    shapes = (found.wide_shape, found.narrow_shape)
    for number, (name, shape) in enumerate(zip(("wide", "narrow"), shapes, strict=True)):
        if shape is not None:
            lines += ["", f"[{name}]", f"shape = [{shape[0]}, {shape[1]}]  # y, x"]
            if number < len(found.files):
                source = found.files[number]
                # a name of another encoding is escaped: it is a record, by which nothing is opened
                written = str(source.path).encode(errors="backslashreplace").decode()
                lines += [f"file = {toml_text(written)}", f'sha256 = "{source.sha256}"']
    try:
        with atomic_write(path) as file:
            file.write(("\n".join(lines) + "\n").encode())
    except OSError as error:
        raise SettingsError(f"The map {path} cannot be written ({error}): choose another folder.") from error


def read_map(path: Path, camera: str = "") -> CameraMap:
    """A map from its TOML file, from the ALIGN_MAP of a redux configuration, or from nine numbers in a text.

    `camera` chooses among several ALIGN_MAPs by a part of the channel's file names.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path} is no map: give a file of `heliorestore register`, a configuration of redux, or a text "
            "with nine numbers."
        ) from error
    except (OSError, ValueError) as error:  # the latter of characters that no name has
        raise SettingsError(
            f"The map {path} cannot be read: {getattr(error, 'strerror', None) or error}."
        ) from error
    if path.suffix.lower() == ".toml":
        return _from_toml(text, path)
    text = re.sub(r"[#;].*", "", text)
    if "align_map" in text.lower():
        return CameraMap(matrix=_of_redux(text, path, camera), method="ALIGN_MAP")
    return CameraMap(matrix=_nine(text, path), method="nine numbers")


def _from_toml(text: str, path: Path) -> CameraMap:
    try:
        table = tomllib.loads(text)
        sides: list[dict[str, Any]] = [table.get(name, {}) for name in ("wide", "narrow")]
        shapes = [_shape(side["shape"]) if "shape" in side else None for side in sides]
        return CameraMap(
            matrix=np.array(table["matrix"], np.float64),
            kind=str(table.get("kind", "projective")),
            residual_px=float(table["residual_px"]) if "residual_px" in table else None,
            points=int(table.get("points", 0)),
            method=str(table.get("method", "")),
            wide_shape=shapes[0],
            narrow_shape=shapes[1],
            applies_to=tuple(str(name) for name in table.get("applies_to", ())),
        )
    except (
        KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError, SettingsError
    ) as error:  # fmt: skip
        raise SettingsError(
            f"{path} is not a map of `heliorestore register` ({type(error).__name__}: {error})."
        ) from error


def _shape(numbers: Sequence[int]) -> tuple[int, int]:
    rows, columns = (int(number) for number in numbers)
    if min(rows, columns) < 1:
        raise ValueError(f"a camera of {columns} x {rows} pixels")
    return rows, columns


def _of_redux(text: str, path: Path, camera: str) -> Floats:
    """The ALIGN_MAP of a channel; in the file a channel is `channel{ ... }` without blocks inside."""
    blocks = re.findall(r"channel\s*\{([^{}]*)\}", text, re.IGNORECASE)
    found = []
    for block in blocks:
        entry = re.search(r"^\s*ALIGN_MAP\s*=(.*)$", block, re.IGNORECASE | re.MULTILINE)
        if entry and camera.lower() in block.lower():
            name = re.search(r"^\s*FILENAME_TEMPLATE\s*=(.*)$", block, re.IGNORECASE | re.MULTILINE)
            found.append((tuple(_nine(entry[1], path).ravel()), name[1].strip() if name else "?"))
    if not found:
        raise SettingsError(f"{path} has no ALIGN_MAP in a channel{f' of {camera}' if camera else ''}.")
    if len({numbers for numbers, _ in found}) > 1:
        raise SettingsError(
            f"{path} has several ALIGN_MAPs, for {', '.join(name for _, name in found)}: choose one with "
            f"`heliorestore register {path.name} CAMERA -o map.toml`, CAMERA being a part of such a name."
        )
    return np.array(found[0][0]).reshape(3, 3)


def _nine(text: str, path: Path) -> Floats:
    numbers = [float(number) for number in _NUMBER.findall(text)]
    if len(numbers) != 9:
        raise SettingsError(f"{path} has {len(numbers)} numbers where a map between cameras has nine.")
    return np.array(numbers).reshape(3, 3)
