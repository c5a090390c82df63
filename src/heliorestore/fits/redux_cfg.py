"""The configuration of a run of redux or of the older momfbd program: its objects, cameras, files, numbers.

Blocks object { ... channel { ... } } hold KEYWORD=VALUE or KEYWORD alone; what a block does not say, the one
around it says. A `;` or `#` begins a comment. Relative paths begin at the folder of the file.
"""

from __future__ import annotations

import math
import re
from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from heliorestore.errors import BurstError, SettingsError
from heliorestore.instrument import RADIAN_ARCSEC, Instrument
from heliorestore.preparation import Preparation
from heliorestore.settings import Option, Settings, options

SUFFIX = ".cfg"

_WORDS = re.compile(
    r"(?P<block>\w+)\s*\{|(?P<end>\})|(?P<key>\w+)(?:[ \t]*[= \t][ \t]*(?P<value>[^\n}]*))?|(?P<odd>\S)"
)
_RANGE = re.compile(r"\s*[ZKzk]?(\d+)\s*(?:-\s*(\d+)\s*)?")
_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?)\s*([A-Za-z]*)\s*")
_METRE = {"": 1.0, "m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "nm": 1e-9, "a": 1e-10}
_MOST = 1_000_000  # numbers in a list, such as those of frames
_TEMPLATE = re.compile(r"%0?\d*[di]")
_FILES = (
    "IMAGE_NUM", "IMAGE_NUMS", "IMAGE_DATA_DIR", "FILENAME_TEMPLATE", "DT", "INCOMPLETE",
    "DARK_TEMPLATE", "DARK_NUM", "GAIN_FILE", "ALIGN_MAP",
)  # fmt: skip
_INSTRUMENT = ("TELESCOPE_D", "TELESCOPE_CO", "ARCSECPERPIX", "WAVELENGTH")
_SETTINGS = {
    "modes": ("MODES",),
    "patch": ("NUM_POINTS",),
    "patch_step": ("SIM_X", "SIM_Y"),
    "object_weights": ("WEIGHT",),
    "diversity": ("DIVERSITY", "TELESCOPE_F", "PIXELSIZE"),
}
_REASONS = {
    "ALIGN_CLIP": "make a map with `heliorestore register` and give it with --register",
    "OUTPUT_FILE": "-o names the file",
    "OUTPUT_FILES": "-o names the file",
    "DATE_OBS": "times are those of the images' headers",
    "MAX_ITER": "iterations of the methods here are others: --iterations",
    "BASIS": "modes are Karhunen-Loeve",
    "OVERWRITE": "give --overwrite",
    "DISCARD": "choose frames with --frames",
}


@dataclass(frozen=True)
class Block:
    """A block of the file: its keywords, in capitals, and the blocks in it."""

    values: dict[str, str] = field(default_factory=dict)
    blocks: list[tuple[str, Block]] = field(default_factory=list)


@dataclass(frozen=True)
class Channel:
    """A camera of an object: what is said about it, nearest first, and the folder where paths begin."""

    name: str
    values: Mapping[str, str]
    folder: Path

    def images(self) -> list[Path]:
        """The image files; INCOMPLETE leaves out those that are missing, else that is a BurstError."""
        template = self.values.get("FILENAME_TEMPLATE", "")
        if not template:
            raise BurstError(f"{self.name} names no images: FILENAME_TEMPLATE is missing.")
        folder = self.folder / self.values.get("IMAGE_DATA_DIR", "")
        numbers = [n + self._whole("DT") for n in whole_numbers(self._numbers())]
        files = [folder / _filled(template, n) for n in numbers or [0]]
        missing = [path for path in files if not path.is_file()]
        if missing and not ("INCOMPLETE" in self.values and len(missing) < len(files)):
            raise BurstError(
                f"{missing[0]} of {self.name} does not exist"
                + (
                    f", nor do {len(missing) - 1} more of its {len(files)} files."
                    if len(missing) > 1
                    else "."
                )
            )
        return [path for path in files if path not in missing]

    def facts(self) -> dict[str, Any]:
        """What is known of it, ready for JSON."""
        try:
            files, note = self.images(), ""
        except BurstError as error:
            files, note = [], str(error)
        prepared = self.preparation()
        return {
            "name": self.name,
            "instrument": str(self.instrument(Instrument())),
            "frames": len(files),
            "first": str(files[0]) if files else "",
            "dark": prepared.dark,
            "gain": prepared.gain,
            "align_map": ",".join(f"{number:g}" for number in self.align_map),
            "missing": note,
        }

    def _numbers(self) -> str:
        return self.values.get("IMAGE_NUM") or self.values.get("IMAGE_NUMS") or ""

    def _whole(self, key: str) -> int:
        return round(quantity(self.values[key])[0]) if key in self.values else 0

    def preparation(self) -> Preparation:
        """Its dark and gain."""
        dark, gain = self.values.get("DARK_TEMPLATE", ""), self.values.get("GAIN_FILE", "")
        number = whole_numbers(self.values.get("DARK_NUM", ""))[:1]
        return Preparation(
            dark=str(self.folder / _filled(dark, number[0] if number else 0)) if dark else "",
            gain=str(self.folder / gain) if gain else "",
        )

    def instrument(self, known: Instrument) -> Instrument:
        """The instrument by the header, with the numbers of the configuration."""
        parts = [
            f"{name}={number * factor:.9g}"
            for key, name, factor in (
                ("TELESCOPE_D", "diameter_m", 1),
                ("TELESCOPE_CO", "obscuration_m", 1),
                ("ARCSECPERPIX", "pixel_arcsec", 1),
                ("WAVELENGTH", "wavelength_nm", 1e9),
            )
            if key in self.values and (number := quantity(self.values[key])[0])
        ]
        return Instrument.parse(",".join(parts), known) if parts else known

    @property
    def align_map(self) -> tuple[float, ...]:
        """The nine numbers of the map from the reference camera's pixels to its own, none if it has none."""
        text = self.values.get("ALIGN_MAP", "")
        numbers = tuple(quantity(part)[0] for part in text.split(",") if part.strip())
        if len(numbers) not in (0, 9):
            raise BurstError(f"ALIGN_MAP of {self.name} has {len(numbers)} numbers; a map has nine.")
        return numbers

    @property
    def defocus_waves(self) -> float | None:
        """The known defocus in waves from peak to valley, by a displacement along the beam in mm; None if it
        is given otherwise.
        """
        value, unit = quantity(self.values.get("DIVERSITY", "0"))
        if value == 0:
            return 0.0
        if unit != "mm" or not {"TELESCOPE_D", "WAVELENGTH"} <= set(self.values):
            return None
        focal = quantity(self.values.get("TELESCOPE_F", "0"))[0]
        if not focal and {"PIXELSIZE", "ARCSECPERPIX"} <= set(self.values):
            scale = quantity(self.values["ARCSECPERPIX"])[0] / RADIAN_ARCSEC
            focal = quantity(self.values["PIXELSIZE"])[0] / scale
        if not focal:
            return None
        ratio = focal / quantity(self.values["TELESCOPE_D"])[0]
        # Path difference at the edge of the pupil: displacement / (8 F^2).
        return value / (8 * ratio**2) / quantity(self.values["WAVELENGTH"])[0]


@dataclass(frozen=True)
class Config:
    """A configuration: the blocks of its file, and the channels of all objects in their order."""

    path: Path
    root: Block

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        return tuple(self._channels())

    def _channels(self) -> Iterator[Channel]:
        objects = [block for name, block in self.root.blocks if name == "object"]
        for number, block in enumerate(objects):
            inner = [each for name, each in block.blocks if name == "channel"] or [Block()]
            for place, channel in enumerate(inner):
                name = f"object {number}" + (f", channel {place}" if len(inner) > 1 else "")
                values = ChainMap(channel.values, block.values, self.root.values)
                yield Channel(name, values, self.path.absolute().parent)

    def settings(self, cls: type[Settings]) -> dict[str, Any]:
        """The settings of a method that the configuration gives, by name."""
        known = {option.name: option for option in options(cls)}
        return {
            name: _within(known[name], value) for name, value in self._settings().items() if name in known
        }

    def _settings(self) -> dict[str, Any]:
        first, found = self.channels[0].values, dict[str, Any]()
        if modes := whole_numbers(first.get("MODES", "")):
            found["modes"] = len(modes)
        if "NUM_POINTS" in first:
            found["patch"] = self.channels[0]._whole("NUM_POINTS")
        places = [np.diff(sorted(set(whole_numbers(first.get(key, ""))))) for key in ("SIM_X", "SIM_Y")]
        if any(len(steps) for steps in places):
            found["patch_step"] = int(np.median(np.concatenate(places)))
        weights = [quantity(channel.values.get("WEIGHT", "1"))[0] for channel in self.channels]
        if len(set(weights)) > 1:
            found["object_weights"] = ",".join(f"{weight:g}" for weight in weights)
        waves = [channel.defocus_waves for channel in self.channels]
        if any(waves) and None not in waves:
            found["diversity"] = ",".join(f"{wave:.6g}" for wave in waves)
        return found

    def unused(self, cls: type[Settings] | None = None) -> dict[str, str]:
        """The keywords that have no effect, with the reason, for a method or for any."""
        known = None if cls is None else {option.name for option in options(cls)}
        used = {*_FILES, *_INSTRUMENT}
        for name in self._settings():
            if known is None or name in known:
                used |= set(_SETTINGS[name])
        found: dict[str, str] = {}
        for option in () if cls is None else options(cls):
            value = self._settings().get(option.name)
            if value is not None and (limit := _within(option, value)) != value:
                found[_SETTINGS[option.name][0]] = f"{value} {option.name}; {limit} are possible"
        for values in [self.root.values, *(dict(channel.values) for channel in self.channels)]:
            for key in values:
                if key not in used and not _as_here(key, values[key]):
                    found[key] = _REASONS.get(key, "no counterpart")
        return found


def _as_here(key: str, value: str) -> bool:
    """Whether a keyword says what is done here anyway."""
    return (key == "BASIS" and value.lower().startswith("k")) or (
        key in ("WEIGHT", "DIVERSITY") and quantity(value)[0] == (key == "WEIGHT")
    )


def _within(option: Option, value: Any) -> Any:
    """The value, or the limit of its setting that it exceeds."""
    if isinstance(value, int):
        low, high = option.minimum, option.maximum
        return int(min(max(value, low if low is not None else value), high if high is not None else value))
    return value


def is_config(path: Path) -> bool:
    """Whether a file's name says that it is a configuration."""
    return path.suffix.lower() == SUFFIX


def read_config(path: Path) -> Config:
    """Read a configuration; what is none is a BurstError."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BurstError(f"{path} cannot be read: {error.strerror or error}.") from error
    root = _parsed(re.sub(r"[;#][^\n]*", "", text), path)
    # redux allows a block around everything.
    while len(root.blocks) == 1 and root.blocks[0][0] not in ("object", "channel"):
        inner = root.blocks[0][1]
        root = Block(root.values | inner.values, inner.blocks)
    if not any(name == "object" for name, _ in root.blocks):
        raise BurstError(f"{path} is no configuration of redux or momfbd: it has no block object {{ ... }}.")
    return Config(path, root)


def _parsed(text: str, path: Path) -> Block:
    stack = [Block()]
    for found in _WORDS.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        if found["block"]:
            block = Block()
            stack[-1].blocks.append((found["block"].lower(), block))
            stack.append(block)
        elif found["end"]:
            stack.pop()
            if not stack:
                raise BurstError(f"{path}, line {line}: there is a }} too many.")
        elif found["key"]:
            stack[-1].values[found["key"].upper()] = (found["value"] or "").strip()
        else:
            raise BurstError(f"{path}, line {line}: {found['odd']!r} is no keyword, block or comment.")
    if len(stack) > 1:
        raise BurstError(f"{path}: {len(stack) - 1} blocks are not closed by }}.")
    return stack[0]


def whole_numbers(text: str) -> list[int]:
    """The numbers of a list such as 2-45,50."""
    found: list[int] = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise SettingsError(f"{text!r} is no list of whole numbers such as 2-45,50.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last - first >= _MOST or len(found) >= _MOST:
            raise SettingsError(f"{text!r} are more than {_MOST:,} numbers.")
        found += range(first, last + 1)
    return found


def quantity(text: str) -> tuple[float, str]:
    """A number, in metres if its unit is a length other than mm, and that unit; of several the first."""
    match = _NUMBER.fullmatch(text.partition(",")[0])
    if match is None:
        raise SettingsError(f"{text!r} is no number.")
    if not math.isfinite(float(match[1].lower().replace("d", "e"))):
        raise SettingsError(f"{text!r} is too large.")
    number, unit = float(match[1].lower().replace("d", "e")), match[2].lower()
    return (number * 1e-3, "mm") if unit == "mm" else (number * _METRE.get(unit, 1.0), unit)


def _filled(template: str, number: int) -> str:
    """A file name with the number in the place of %07d; one without such a place stays as it is."""
    return _TEMPLATE.sub(lambda found: found[0] % number, template, count=1)
