"""The sentences of the window."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import heliorestore
from heliorestore import presets
from heliorestore.errors import SettingsError
from heliorestore.methods import METHODS
from window import HAS_DISPLAY

pytestmark = pytest.mark.skipif(not HAS_DISPLAY, reason="the plugin needs Qt and a display")

SOURCE = Path(heliorestore.__file__).parent
TERMINAL = {
    "commands",
    "cli.py",
    "train",
    "simulate",
    "settings.py",
}  # they speak in a terminal, or ask for labels


def test_an_error_names_settings_and_not_flags():
    from heliorestore.plugin.viewer.failure import explain

    importlib.import_module("heliorestore.methods.momfbd")  # only a method that is loaded speaks
    error = SettingsError("The state cannot be written; choose --forward filter-flow or another --r0-cm.")
    assert explain(error) == "The state cannot be written; choose forward filter-flow or another r0 [cm]."
    assert explain(SettingsError("a--b - c -- d")) == "a--b - c -- d"
    with pytest.raises(SettingsError) as raised:
        presets.find_preset("harsh", "sv-momfbd")
    assert explain(raised.value).endswith(" (see docs/comparing.md#presets).")


def test_names_of_code_become_labels_but_not_in_files_and_commands():
    from heliorestore.plugin.viewer.words import in_words

    importlib.import_module("heliorestore.methods.sv_momfbd")
    assert (
        in_words("r0_cm is -1; it must be at least 0.5 cm.") == "r0 [cm] is -1; it must be at least 0.5 cm."
    )
    assert in_words("correct the scale with --instrument pixel_arcsec=0.059 or") == (
        "correct the scale with pixel [arcsec] 0.059 or"
    )
    for same in (
        "/data/lambda_object.fits is damaged.",
        "lambda_object-2 is a layer, small_burst another.",
        "train one (heliorestore train mfbd --recipe crisp) first",
    ):
        assert in_words(same) == same
    assert (
        in_words("(--no-align leaves it; --lambda-object 0.1)") == "(align off leaves it; lambda object 0.1)"
    )


def test_no_sentence_reaches_the_window_with_a_flag_or_a_name_of_code():
    from heliorestore.plugin.viewer.words import in_words
    from heliorestore.settings import options

    names = {"pixel_arcsec", "diameter_m", "wavelength_nm"}
    for entry in METHODS.values():
        module, attribute = entry.target.split(":")
        method = getattr(importlib.import_module(module), attribute)
        names |= {each.name for each in options(method.settings) if "_" in each.name}
    code = re.compile(rf"(?<![\w-])--[a-z]|(?<![\w./-])(?:{'|'.join(names)})\b")
    for path in SOURCE.rglob("*.py"):
        if path.relative_to(SOURCE).parts[0] in TERMINAL:
            continue
        for text in _sentences(path):
            shown = re.sub(r"heliorestore [^`),;]*", "", in_words(text))
            assert not code.search(shown), (path.name, text)


def test_no_error_is_shown_but_in_words():
    shows = re.compile(r"(?<!_)(?:setText|show_error|show_warning|show_info)\(.*\bstr\(error\)")
    for path in (SOURCE / "plugin").rglob("*.py"):
        assert all("in_words(" in line for line in path.read_text().splitlines() if shows.search(line)), path


def _sentences(path: Path) -> list[str]:
    """The texts of a module with at least four words, with what is put into them left out; no docstrings."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        texts = [
            each.value for each in parts if isinstance(each, ast.Constant) and isinstance(each.value, str)
        ]
        found.append("N".join(texts))
    return [text for text in found if len(text.split()) > 3 and '"""' + text not in path.read_text()]
