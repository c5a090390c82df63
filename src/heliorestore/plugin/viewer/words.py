"""Sentences that the command says too, in the words of the window: labels for flags and names of settings."""

from __future__ import annotations

import re

from heliorestore.settings import Settings, options

_INSTRUMENT = {
    "diameter_m": "aperture D [m]",
    "obscuration_m": "obscuration [m]",
    "pixel_arcsec": "pixel [arcsec]",
    "wavelength_nm": "λ [nm]",
}
# A whole command keeps its flags.
_FLAG = re.compile(r"(heliorestore [^`),;]*)|(?<![\w-])--(no-)?([a-z][\w-]*)")
_ENTERED = re.compile(rf"\binstrument (?=(?:{'|'.join(_INSTRUMENT)})=)")
# Not in the name of a file or a folder.
_NAME = re.compile(r"(?<![\w./\\-])([a-z]\w*_\w+)(?:(=)|(?![\w/\\]|\.\w|-\w))")


def in_words(text: str) -> str:
    """A sentence with settings by their labels in the window, not by flags or by their names in code."""
    if "--" not in text and "_" not in text:
        return text
    text = _FLAG.sub(_without_flag, text)
    labels = _labels()

    def word(name: re.Match[str]) -> str:
        return f"{labels[name[1]]}{' ' * bool(name[2])}" if name[1] in labels else name[0]

    return _NAME.sub(word, _ENTERED.sub("", text))


def _without_flag(found: re.Match[str]) -> str:
    if found[1]:
        return found[1]
    name = found[3].replace("-", "_")
    label = _labels().get(name, name.replace("_", " "))
    return f"{label} off" if found[2] else label


def _labels() -> dict[str, str]:
    """The labels of all settings that are loaded, whose methods alone can speak of them."""
    found, classes = dict(_INSTRUMENT), [*Settings.__subclasses__()]
    while classes:
        each = classes.pop()
        classes += each.__subclasses__()
        for option in options(each):
            found.setdefault(option.name, option.label)
    return found
