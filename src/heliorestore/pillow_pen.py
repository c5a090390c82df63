"""Charts into a PNG with Pillow, an optional dependency: drawn three times as large and averaged, so that lines are smooth."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from heliorestore.charts import Anchor, Chart, Points, draw

_FINER = 3
_INK, _PAPER = "#222222", "#ffffff"
_DASH = 6.0  # px
_FONT_PX = 14


def paint(charts: Sequence[Chart], path: Path, size: tuple[int, int] = (900, 560)) -> None:
    """Draw charts, each of `size` (width, height), one under the other into a PNG."""
    width, height = size
    whole = Image.new("RGB", (width, height * len(charts)), _PAPER)
    for number, chart in enumerate(charts):
        pen = PillowPen(width, height)
        draw(chart, pen, width, height)
        whole.paste(pen.image.resize(size, Image.Resampling.BOX), (0, number * height))
    whole.save(path, format="PNG")


class PillowPen:
    """The `Pen` of a white sheet."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (_FINER * width, _FINER * height), _PAPER)
        self._draw = ImageDraw.Draw(self.image)
        self._font = ImageFont.load_default(_FINER * _FONT_PX)
        self.text_height = _FONT_PX * 1.35

    def text_width(self, text: str) -> float:
        return self._draw.textlength(text, font=self._font) / _FINER

    def line(self, points: Points, colour: str | None, width: float, dashed: bool) -> None:
        for part in _dashes(points) if dashed else [points]:
            if len(part) > 1:
                self._draw.line(_finer(part), fill=colour or _INK, width=round(_FINER * width), joint="curve")

    def dots(self, points: Points, colour: str | None, radius: float, filled: bool) -> None:
        reach = _FINER * radius
        for x, y in _finer(points):
            box = (x - reach, y - reach, x + reach, y + reach)
            self._draw.ellipse(box, fill=(colour or _INK) if filled else None, outline=colour or _INK, width=1 if filled else 2 * _FINER)

    def text(self, x: float, y: float, text: str, anchor: Anchor, colour: str | None) -> None:
        place = {"left": "lm", "middle": "mm", "right": "rm"}[anchor]
        self._draw.text((_FINER * x, _FINER * y), text, fill=colour or _INK, font=self._font, anchor=place)

    def turned_text(self, x: float, y: float, text: str) -> None:
        length, height = math.ceil(_FINER * self.text_width(text)) + 2, math.ceil(_FINER * self.text_height)
        label = Image.new("RGB", (length, height), _PAPER)
        ImageDraw.Draw(label).text((length / 2, height / 2), text, fill=_INK, font=self._font, anchor="mm")
        self.image.paste(label.rotate(90, expand=True), (round(_FINER * x - height / 2), round(_FINER * y - length / 2)))


def _finer(points: Points) -> Points:
    return [(_FINER * x, _FINER * y) for x, y in points]


def _dashes(points: Points) -> list[Points]:
    """A line cut into dashes, each as long as the gap after it."""
    found: list[Points] = []
    walked, inked = 0.0, True
    part: Points = points[:1]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        length, done = math.hypot(x1 - x0, y1 - y0), 0.0
        while length - done > _DASH - walked:
            done += _DASH - walked
            corner = (x0 + (x1 - x0) * done / length, y0 + (y1 - y0) * done / length)
            if inked:
                found.append([*part, corner])
            part, walked, inked = [corner], 0.0, not inked
        walked += length - done
        part.append((x1, y1))
    return [*found, part] if inked else found
