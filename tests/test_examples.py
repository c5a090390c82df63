"""The examples run as a user runs them, and are what the gallery shows: short, with a title and a picture."""

import ast
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_runs(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plt.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    with plt.rc_context({"figure.dpi": 30}):  # the fewer pixels, the quicker
        runpy.run_path(str(example), run_name="__main__")  # a process of its own would mostly load torch
    (figure,) = map(plt.figure, plt.get_fignums())
    plt.close("all")
    assert all(axes.has_data() for axes in figure.axes)
    assert [path.name for path in tmp_path.iterdir()] == [f"{example.stem}.png"]
    assert capsys.readouterr().out


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_is_short_and_says_what_it_shows(example: Path) -> None:
    code = example.read_text()
    title, _, sentence = (ast.get_docstring(ast.parse(code)) or "").partition(".\n\n")
    assert 0 < len(title) < 60
    assert sentence.endswith(".")
    assert len([line for line in code.splitlines() if line]) <= 25
