"""The doctor: what is here in words and as JSON, and what it says when something is missing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from heliorestore.cli import main
from heliorestore.commands import doctor


def found(monkeypatch: pytest.MonkeyPatch, said: str, error: str = "", code: int = 0) -> dict:
    """The facts where Qt's process says this; the weights are checked elsewhere."""
    monkeypatch.setattr(doctor, "_weights", lambda: {"weights": "12, all whole"})
    monkeypatch.setattr(
        subprocess, "run", lambda asked, **_: subprocess.CompletedProcess(asked, code, said, error)
    )
    return doctor.facts()


def test_a_whole_installation_has_no_trouble(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    facts = json.loads(last)
    assert facts["trouble"] == []
    assert f"python        {sys.version.split()[0]}" in "\n".join(lines)
    assert "torch" in facts["packages"]
    assert "cores" in facts["threads"]
    assert facts["platform"] == "xcb"
    assert facts["opengl"]
    assert facts["weights"].endswith("all whole")


@pytest.mark.parametrize(
    ("said", "error", "expected"),
    [
        ("", "qt.qpa.xcb: could not connect to display :9\nmore", "could not connect to display :9"),
        ("", "", "it ended with -11"),
        ("", "Traceback (most recent call last):\n  File\nNo module named 'qtpy'", "No module named 'qtpy'"),
        ('{"qt": "6.9", "platform": "offscreen", "opengl": ""}', "", "unset QT_QPA_PLATFORM"),
        ('{"qt": "6.9", "platform": "xcb", "opengl": ""}', "", "There is no OpenGL"),
        ('{"qt": "6.11.1 (PyQt6)", "platform": "xcb", "opengl": "Mesa"}', "", "6.10 or 6.11.2"),
        ('{"qt": "6.12.0 (PySide6 6.12.0)", "platform": "xcb", "opengl": "Mesa"}', "", "PySide6 6.11.3"),
    ],
    ids=["no display", "crash", "no Qt", "offscreen", "no OpenGL", "broken Qt", "broken binding"],
)
def test_what_the_window_lacks_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, said: str, error: str, expected: str
) -> None:
    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.11.7")
    (sentence,) = found(monkeypatch, said, error, -11)["trouble"]
    assert expected in sentence


def test_missing_packages_and_damaged_weights_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: "not installed" if package == "napari" else "1")
    facts = found(monkeypatch, "")
    assert "[napari]" in facts["missing"]
    assert facts["trouble"] == ['There is no window: pip install "heliorestore[all]" adds napari and Qt.']
    monkeypatch.undo()
    monkeypatch.setattr("heliorestore.nets.weights.folders", lambda: (tmp_path, tmp_path))
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    assert doctor._weights() == {"weights": "1, damaged: bad"}
