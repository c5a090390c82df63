"""Editors of numbers: a box that shows and keeps any float exactly, and a slider beside such a box."""

from __future__ import annotations

import math

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QValidator
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QHBoxLayout,
    QSizePolicy,
    QSlider,
    QSpinBox,
    QStyle,
    QStyleOptionSpinBox,
    QWidget,
)

_DECIMALS = 15
_WIDEST = "0.00123456"
_AROUND = 8  # px around a text: the cursor, and the margins of the line
_TICKS = 1000  # positions of a logarithmic slider
_INT_LIMIT = 2**31 - 1  # of a QSpinBox


class IntBox(QSpinBox):
    """A whole number."""

    def __init__(self, minimum: float | None = None, maximum: float | None = None) -> None:
        super().__init__()
        low = -_INT_LIMIT if minimum is None else int(minimum)
        high = _INT_LIMIT if maximum is None else int(maximum)
        self.setRange(low, high)
        # A value counts when it is complete, not at every key.
        self.setKeyboardTracking(False)
        self.setStepType(QSpinBox.StepType.AdaptiveDecimalStepType)


class FloatBox(QDoubleSpinBox):
    """A float written as short as possible, also as 1e-3; it keeps every bit of what was set."""

    def __init__(self, minimum: float | None = None, maximum: float | None = None) -> None:
        super().__init__()
        self._exact = self._shown = 0.0
        self.setDecimals(_DECIMALS)
        self.setRange(-1e12 if minimum is None else minimum, 1e12 if maximum is None else maximum)
        self.setKeyboardTracking(False)
        self.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)

    def setValue(self, value: float) -> None:
        super().setValue(value)
        self._exact, self._shown = value, super().value()

    def value(self) -> float:
        rounded = super().value()
        # Qt rounds to its decimals; without an edit the value read is exactly the value set.
        return (
            self._exact
            if rounded == self._shown and math.isclose(rounded, self._exact, abs_tol=1e-12)
            else rounded
        )

    def sizeHint(self) -> QSize:
        """As wide as six digits, or its ends, need between the buttons; Qt counts fifteen decimals."""
        metrics, option = self.fontMetrics(), QStyleOptionSpinBox()
        self.initStyleOption(option)
        texts = _WIDEST, self.textFromValue(self.minimum()), self.textFromValue(self.maximum())
        inside = QSize(max(map(metrics.horizontalAdvance, texts)) + _AROUND, metrics.height())
        kind = QStyle.ContentsType.CT_SpinBox
        style = self.style()
        assert style is not None
        return QSize(style.sizeFromContents(kind, option, inside, self).width(), super().sizeHint().height())

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def textFromValue(self, value: float) -> str:
        return f"{value:.6g}"

    def valueFromText(self, text: str | None) -> float:
        try:
            # A comma is a decimal point too, in every locale.
            value = float((text or "").replace(",", "."))
        except ValueError:
            return super().value()
        # The text is rounded to six digits; reading it back must not change a value that was not edited.
        return super().value() if self.textFromValue(super().value()) == text else value

    def validate(self, text: str | None, position: int) -> tuple[QValidator.State, str, int]:
        entered = text or ""
        try:
            value = float(entered.replace(",", "."))
        except ValueError:
            possible = set(entered) <= set("0123456789.,eE+-")
            return (
                (QValidator.State.Intermediate if possible else QValidator.State.Invalid),
                entered,
                position,
            )
        inside = self.minimum() <= value <= self.maximum()
        return (QValidator.State.Acceptable if inside else QValidator.State.Intermediate), entered, position


class SlideNumber(QWidget):
    """A slider, logarithmic by default, and a number that may also lie beyond the slider."""

    valueChanged = Signal(float)

    def __init__(
        self,
        minimum: float | None,
        maximum: float | None,
        default: float,
        *,
        whole: bool = False,
        log: bool = True,
    ) -> None:
        super().__init__()
        self.box: FloatBox | IntBox = IntBox(minimum, maximum) if whole else FloatBox(minimum, maximum)
        self._log = log
        middle = abs(default) or 1.0
        low = minimum if minimum is not None and (minimum > 0 or not log) else middle * 1e-3
        high = maximum if maximum is not None and maximum > low else middle * 1e3
        self._ends = self._place_of(max(low, 1.0) if whole and log else low), self._place_of(high)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, _TICKS)
        self.slider.setMinimumWidth(60)
        self.box.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.slider, 1)
        layout.addWidget(self.box)
        self.slider.valueChanged.connect(self._slide)
        self.box.valueChanged.connect(self._follow)

    def value(self) -> float:
        return self.box.value()

    def setValue(self, value: float) -> None:
        self._write(value)
        self._place(value)

    def setToolTip(self, text: str | None) -> None:
        for part in (self.slider, self.box):
            part.setToolTip(text)

    def _slide(self, tick: int) -> None:
        low, high = self._ends
        place = low + (high - low) * tick / _TICKS
        # three digits: a hand is not more precise
        value = float(f"{math.exp(place) if self._log else place:.3g}")
        value = min(max(value, self.box.minimum()), self.box.maximum())
        with QSignalBlocker(self.box):
            self._write(value)
        self.valueChanged.emit(float(self.box.value()))

    def _follow(self, value: float) -> None:
        self._place(value)
        self.valueChanged.emit(float(value))

    def _write(self, value: float) -> None:
        if isinstance(self.box, IntBox):
            self.box.setValue(round(value))
        else:
            self.box.setValue(value)

    def _place(self, value: float) -> None:
        low, high = self._ends
        with QSignalBlocker(self.slider):
            part = (self._place_of(value) - low) / (high - low)
            self.slider.setValue(round(_TICKS * min(max(part, 0.0), 1.0)))

    def _place_of(self, value: float) -> float:
        if not self._log:
            return value
        return math.log(value) if value > 0 else -math.inf
